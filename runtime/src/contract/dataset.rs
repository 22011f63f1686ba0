//! Rules about all rows of a run together: how many there are, and how new the newest is.
//!
//! Each split counts for itself; the verdict is passed once over all of them, before anything is committed.
//! The clock is the caller's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;

use super::types::{Type, per_second};
use super::{Contract, Dataset};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// What the good rows of a split, or of a run, add up to.
#[derive(Default)]
pub struct Facts {
    rows: u64,
    /// The newest value of the freshness column, in its own unit.
    newest: Option<i64>,
}

impl Facts {
    pub fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Takes the good values of the freshness column.
    pub fn add_times(&mut self, values: &ArrayRef) -> Result<(), ArrowError> {
        let numbers = match values.data_type() {
            DataType::Date32 => cast(&cast(values, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(values, &DataType::Int64)?,
        };
        // No value is less than any.
        self.newest = self.newest.max(max(numbers.as_primitive::<Int64Type>()));
        Ok(())
    }

    /// Adds what another split counted.
    pub fn add(&mut self, other: Facts) {
        self.rows += other.rows;
        self.newest = self.newest.max(other.newest);
    }

    /// Every rule about the whole that is broken, as a sentence.
    pub fn broken(&self, contract: &Contract, now: SystemTime) -> Vec<String> {
        let Dataset {
            min_rows, max_rows, ..
        } = contract.dataset;
        let (name, rows) = (&contract.name, self.rows);
        let mut broken = Vec::new();
        if let Some(min) = min_rows.filter(|min| rows < *min) {
            broken.push(format!(
                "the run has {rows} good rows, and contract `{name}` wants at least {min}"
            ));
        }
        if let Some(max) = max_rows.filter(|max| rows > *max) {
            broken.push(format!(
                "the run has {rows} good rows, and contract `{name}` wants at most {max}"
            ));
        }
        broken.extend(self.stale(contract, now));
        broken
    }

    fn stale(&self, contract: &Contract, now: SystemTime) -> Option<String> {
        let freshness = contract.dataset.freshness.as_ref()?;
        let column = contract
            .columns
            .iter()
            .find(|column| column.name == freshness.column)?;
        let wanted = humantime::format_duration(freshness.max_age);
        let newest = match self.newest {
            None => {
                return Some(format!(
                    "column `{}` of contract `{}` has no value, and its newest must not be older than {wanted}",
                    column.name, contract.name
                ));
            }
            Some(newest) => seconds(newest, &column.kind),
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let age = i64::try_from(now)
            .unwrap_or(i64::MAX)
            .saturating_sub(newest);
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        // The age of a masked value would tell the value.
        let is = match column.mask {
            Some(_) => "is too old".to_owned(),
            None => format!("is {} old", humantime::format_duration(age)),
        };
        (age > freshness.max_age).then(|| {
            format!(
                "the newest `{}` of contract `{}` {is}, and must not be older than {wanted}",
                column.name, contract.name,
            )
        })
    }
}

/// Seconds since 1970, of a value of a date or timestamp; without a zone it is taken for UTC.
fn seconds(value: i64, kind: &Type) -> i64 {
    match kind {
        Type::Timestamp { unit, .. } => value.div_euclid(per_second(*unit)),
        _ => value.saturating_mul(SECONDS_PER_DAY),
    }
}
