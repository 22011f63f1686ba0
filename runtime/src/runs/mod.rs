//! The run store: history, pending commits, leases and resets. A cache of what targets hold, but for
//! what is on its way: nothing that was committed is lost with it.
//!
//! The only module that knows SQL. SQLite now; other databases would stand beside `sqlite.rs`.

mod history;
mod holder;
mod lease;
mod sqlite;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::error::{Error, Kind};

pub use history::{Beginning, Filter, Listed};
pub use lease::Lease;
pub use sqlite::RunStore;

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
