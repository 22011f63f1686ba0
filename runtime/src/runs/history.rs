//! Lists of runs, and what a process that serves keeps beside: why each began, its report, and the times of schedules that were
//! dealt with.

use std::collections::HashMap;

use super::{JobKey, RunRow, RunStore, Unsettled};
use crate::blocking::blocking;
use crate::error::Result;

/// A run as `serve` lists it. `place` goes on in the list from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub place: i64,
    pub row: RunRow,
    pub cause: Option<String>,
    /// JSON.
    pub report: Option<String>,
}

/// Which runs are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    pub tenant: Option<&'a str>,
    pub job: Option<&'a str>,
    pub status: Option<&'a str>,
    pub before: Option<i64>,
}

impl RunStore {
    /// The last time of each schedule that was dealt with, in milliseconds.
    pub fn dealt_with(&self) -> Result<HashMap<JobKey, i64>> {
        blocking(|| self.0.dealt_with())
    }

    /// Jobs with a run that has no end and that nobody holds; several times, where there are several such runs.
    pub fn unsettled(&self) -> Result<Vec<Unsettled>> {
        blocking(|| self.0.unsettled())
    }

    /// Keeps the report of a run that was begun with a cause.
    pub fn record_report(&self, run: &str, report: &str) -> Result<()> {
        blocking(|| self.0.record_report(run, report))
    }

    /// The last runs of a job, the newest first.
    pub fn history(&self, key: &JobKey, limit: u32) -> Result<Vec<RunRow>> {
        let filter = Filter {
            tenant: Some(&key.tenant),
            job: Some(&key.job),
            ..Filter::default()
        };
        let listed = self.list(&filter, limit)?;
        Ok(listed.into_iter().map(|listed| listed.row).collect())
    }

    /// Runs, the newest first.
    pub fn list(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<Listed>> {
        blocking(|| self.0.list(filter, limit))
    }

    pub fn find(&self, run: &str) -> Result<Option<Listed>> {
        blocking(|| self.0.find(run))
    }

    /// Removes runs that ended before a time, in seconds, but for the last of each job that was committed. How many.
    pub fn forget(&self, before: i64) -> Result<u64> {
        blocking(|| self.0.forget(before))
    }
}
