//! What a run store does, whatever it is kept in. Each verb is one transaction; those that write are durable when they return.
//!
//! Of writers of one job, whichever the process, one goes first: what a verb reads stays so until it has written.

use std::collections::HashMap;

use super::holder::Holder;
use super::{Filter, JobKey, Listed, Pending, Unfinished};
use crate::error::Result;

/// The verbs of [`super::RunStore`], where they are described.
pub trait Backend: Send + Sync {
    fn begin(
        &self,
        key: &JobKey,
        run: &str,
        beginning: Option<&Beginning>,
        holder: &Holder,
    ) -> Result<()>;
    fn is_due(&self, key: &JobKey, beginning: &Beginning) -> Result<bool>;
    fn check_free(&self, key: &JobKey) -> Result<()>;
    fn request_cancel(&self, run: &str) -> Result<bool>;
    /// Holds the job for another term; fails as `state_conflict` where it was lost. Whether somebody asked for the run to stop.
    fn renew(&self, key: &JobKey, run: &str) -> Result<bool>;
    fn release(&self, key: &JobKey, run: &str) -> Result<()>;
    fn unfinished(&self, key: &JobKey, except: &str) -> Result<Vec<Unfinished>>;
    fn record_pending(&self, run: &str, pending: &Pending) -> Result<()>;
    fn withdraw(&self, run: &str) -> Result<()>;
    fn finish(&self, run: &str, status: &str, detail: Option<&str>) -> Result<()>;
    fn is_committed(&self, run: &str) -> Result<bool>;
    fn has_ended(&self, key: &JobKey, run: &str) -> Result<Option<bool>>;
    fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()>;
    fn is_reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<bool>;

    fn dealt_with(&self) -> Result<HashMap<JobKey, i64>>;
    fn unsettled(&self) -> Result<Vec<Unsettled>>;
    fn record_report(&self, run: &str, report: &str) -> Result<()>;
    fn list(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<Listed>>;
    fn find(&self, run: &str) -> Result<Option<Listed>>;
    fn forget(&self, before: i64) -> Result<u64>;

    /// Runs statements as they are.
    #[cfg(test)]
    fn raw(&self, statements: &str);
}

/// Why a run began, kept in the transaction that begins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub cause: &'static str,
    pub due: Option<Due>,
    /// It begins only where a run of the job has no end.
    pub is_recovery: bool,
}

/// Times of a schedule that a run stands for, in milliseconds since 1970-01-01T00:00:00Z. It does not begin where the first was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub first_ms: i64,
    pub last_ms: i64,
}

/// A job with a run that has no end and that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub key: JobKey,
    /// By the process that held it, which left the rest to the next run. Otherwise it died, or cannot be heard.
    pub is_given_back: bool,
}
