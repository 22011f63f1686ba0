//! The run store: history, pending commits, leases and resets. A cache of what targets hold, but for
//! what is on its way: nothing that was committed is lost with it.
//!
//! What a store does is said in `backend.rs`; `sqlite.rs` and `postgres.rs` do it. No other module knows their SQL.

mod backend;
mod history;
mod holder;
mod lease;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::blocking::blocking;
use crate::error::{Error, Kind, Result};
use backend::Backend;
use holder::Holder;

pub use backend::{Beginning, Due, Unsettled};
pub use history::{Filter, Listed};
pub use lease::Lease;

/// A run store. Calls are short; they block, and let other tasks of the thread go on elsewhere.
#[derive(Clone)]
pub struct RunStore(Arc<dyn Backend>);

impl RunStore {
    /// Opens `sqlite://PATH` (relative to the working directory, or `sqlite:///PATH`) or `postgresql://…`; its tables are made where absent.
    pub fn open(url: &str) -> Result<Self> {
        if let Some(("postgres" | "postgresql", _)) = url.split_once("://") {
            let store = blocking(|| postgres::Postgres::open(url))?;
            return Ok(Self(Arc::new(store)));
        }
        Ok(Self(Arc::new(sqlite::Sqlite::open(url)?)))
    }

    /// Takes the lease of a job and records that the run began. Fails as `state_conflict` where
    /// another run is active, or `beginning` says that there is nothing to do any more.
    pub fn begin(&self, key: &JobKey, run: &str, beginning: Option<&Beginning>) -> Result<Lease> {
        self.begin_as(key, run, beginning, &Holder::this())
    }

    fn begin_as(
        &self,
        key: &JobKey,
        run: &str,
        beginning: Option<&Beginning>,
        holder: &Holder,
    ) -> Result<Lease> {
        blocking(|| self.0.begin(key, run, beginning, holder))?;
        Ok(Lease {
            store: self.0.clone(),
            key: key.clone(),
            run: run.to_owned(),
        })
    }

    /// Whether what a run is to begin for is still to be done: by no other process, meanwhile.
    pub fn is_due(&self, key: &JobKey, beginning: &Beginning) -> Result<bool> {
        blocking(|| self.0.is_due(key, beginning))
    }

    /// Fails as `state_conflict` where a run of the job is active, in whichever process.
    pub fn check_free(&self, key: &JobKey) -> Result<()> {
        blocking(|| self.0.check_free(key))
    }

    /// Asks the process that holds a run to stop it. False where the run is not active.
    pub fn request_cancel(&self, run: &str) -> Result<bool> {
        blocking(|| self.0.request_cancel(run))
    }

    /// Runs of the job without an end, but for `except`, in the order in which they began. Whoever
    /// holds the lease knows that none of them is active.
    pub fn unfinished(&self, key: &JobKey, except: &str) -> Result<Vec<Unfinished>> {
        blocking(|| self.0.unfinished(key, except))
    }

    /// Remembers a commit before it is sent: durable when this returns. Fails as `state_conflict`
    /// where the run lost its lease, since another may be removing what it staged.
    pub fn record_pending(&self, run: &str, pending: &Pending) -> Result<()> {
        blocking(|| self.0.record_pending(run, pending))
    }

    /// Forgets a commit before what it would publish is removed: half of it is nothing to commit again.
    pub fn withdraw(&self, run: &str) -> Result<()> {
        blocking(|| self.0.withdraw(run))
    }

    /// Remembers how a run ended. The first end stays: a run that lost its lease does not overwrite
    /// what its successor found out about it.
    pub fn finish(&self, run: &str, outcome: &Outcome) -> Result<()> {
        let (status, detail) = outcome.row();
        blocking(|| self.0.finish(run, status, detail.as_deref()))
    }

    /// Whether the run ended, and what it wrote is visible.
    pub fn is_committed(&self, run: &str) -> Result<bool> {
        blocking(|| self.0.is_committed(run))
    }

    /// Whether this job's `run` has ended; none where it is not known here.
    pub fn has_ended(&self, key: &JobKey, run: &str) -> Result<Option<bool>> {
        blocking(|| self.0.has_ended(key, run))
    }

    /// The next run after the target's last commit `target_run` starts without a state. Fails as
    /// `state_conflict` while a run is active: its commit would carry the old state on.
    pub fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        blocking(|| self.0.reset(key, target_run))
    }

    /// Whether the job was reset and the target's last commit is still `target_run`.
    pub fn is_reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<bool> {
        blocking(|| self.0.is_reset(key, target_run))
    }
}

/// The answer to a run that goes on after another took its job.
fn lost(run: &str) -> Error {
    Error::new(
        Kind::StateConflict,
        format!("run {run} lost the lease of its job to another run"),
    )
    .hint("run the job again: it starts from the last commit, and nothing arrives twice")
}

/// The answer to a run that would begin for what is done.
fn not_due() -> Error {
    Error::new(
        Kind::StateConflict,
        "another process did what this run was to begin for",
    )
    .hint("there is nothing to do")
}

/// The answer to a run of a job that another has, which began `age` ago.
fn active(key: &JobKey, run: &str, pid: u32, age: Duration) -> Error {
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    Error::new(
        Kind::StateConflict,
        format!("another run of job `{}` is active", key.job),
    )
    .with("run", run)
    .with("process", pid)
    .with("since", format!("{age} ago"))
    .hint("wait for it to end, or stop it")
}

/// What a job is called: state, history and leases are kept under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    pub tenant: String,
    pub job: String,
}

/// A commit that was about to be sent: plain text that any process with the same job can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What each split's `writer.prepare` said, in order.
    pub prepared: Vec<String>,
    /// What `reader.state` said.
    pub state: Option<String>,
    /// The run of the target's last commit when this one started.
    pub base: Option<String>,
}

/// A run that was begun and has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub run: String,
    /// Where it got as far as its commit.
    pub pending: Option<Pending>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What it wrote is visible.
    Committed {
        /// The JSON of its summary's outputs.
        receipt: String,
    },
    /// There was nothing new to read.
    Empty,
    /// Nothing is visible and what it staged was removed.
    Failed {
        kind: String,
        message: String,
    },
    Cancelled,
    /// A later run removed what it had staged.
    Removed,
}

impl Outcome {
    /// As the store keeps it: a status and a detail.
    fn row(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Committed { receipt } => ("committed", Some(receipt.clone())),
            Self::Empty => ("empty", None),
            Self::Failed { kind, message } => ("failed", Some(format!("{kind}: {message}"))),
            Self::Cancelled => ("cancelled", None),
            Self::Removed => ("removed", None),
        }
    }

    /// The end of a run that failed with `error`.
    pub fn failed(error: &Error) -> Self {
        match error.kind() {
            Kind::Cancelled => Self::Cancelled,
            kind => Self::Failed {
                kind: kind.name().to_owned(),
                message: error.message().to_owned(),
            },
        }
    }
}

/// One run, as `state show` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    pub run_id: String,
    pub tenant: String,
    pub job: String,
    /// `running`, `pending`, `committed`, `empty`, `failed`, `cancelled`, `removed`.
    pub status: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub started_at: i64,
    pub ended_at: Option<i64>,
    pub detail: Option<String>,
}
