//! Values on their way to the server and back, as text.

use super::super::holder::Holder;
use super::super::{JobKey, Listed, Pending, RunRow, Unfinished};
use crate::error::{Error, Kind, Result};

pub type Row = Vec<Option<String>>;

/// A value of a statement, as text.
pub trait Parameter: Sync {
    fn text(&self) -> Option<String>;
}

impl Parameter for String {
    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Parameter for &str {
    fn text(&self) -> Option<String> {
        Some((*self).to_owned())
    }
}

impl Parameter for i64 {
    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<T: Parameter> Parameter for Option<T> {
    fn text(&self) -> Option<String> {
        self.as_ref().and_then(Parameter::text)
    }
}

/// The values of a row, one after the other. Tables that others changed are an error, not a guess.
pub struct Values<'a>(pub std::slice::Iter<'a, Option<String>>);

impl<'a> Values<'a> {
    pub fn new(row: &'a Row) -> Self {
        Self(row.iter())
    }

    pub fn maybe(&mut self) -> Option<String> {
        self.0.next().cloned().flatten()
    }

    pub fn text(&mut self) -> Result<String> {
        self.maybe().ok_or_else(damaged)
    }

    pub fn number(&mut self) -> Result<i64> {
        self.text()?.parse().map_err(|_| damaged())
    }

    pub fn key(&mut self) -> Result<JobKey> {
        let (tenant, job) = (self.text()?, self.text()?);
        Ok(JobKey { tenant, job })
    }

    pub fn holder(&mut self) -> Result<Holder> {
        Ok(Holder {
            boot: self.text()?,
            pid: u32::try_from(self.number()?).map_err(|_| damaged())?,
            started: self.number()?.cast_unsigned(),
        })
    }

    pub fn unfinished(&mut self) -> Result<Unfinished> {
        let run = self.text()?;
        let pending = match self.maybe() {
            None => None,
            Some(list) => Some(Pending {
                prepared: serde_json::from_str(&list).map_err(|_| damaged())?,
                state: self.maybe(),
                base: self.maybe(),
            }),
        };
        Ok(Unfinished { run, pending })
    }

    pub fn listed(&mut self) -> Result<Listed> {
        Ok(Listed {
            place: self.number()?,
            row: RunRow {
                run_id: self.text()?,
                tenant: self.text()?,
                job: self.text()?,
                status: self.text()?,
                started_at: self.number()?,
                ended_at: self
                    .maybe()
                    .map(|text| text.parse().map_err(|_| damaged()))
                    .transpose()?,
                detail: self.maybe(),
            },
            cause: self.maybe(),
            report: self.maybe(),
        })
    }
}

fn damaged() -> Error {
    Error::new(
        Kind::JobInvalid,
        "the tables `dativo_*` of the run store are not as this program wrote them",
    )
    .hint("drop them: targets hold the state of their jobs, and a new run store finds it there")
}
