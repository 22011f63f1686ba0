//! What went wrong, who is to blame, whether trying again helps, and what the user can do.
//!
//! Knows no YAML, no wasm and no terminal: `report.rs` prints an [`Error`], `main.rs` turns its
//! [`Kind`] into an exit code.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure. Messages are one lowercase line without a final period, literals in backticks.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    message: String,
    location: Option<Location>,
    details: Vec<(&'static str, String)>,
    causes: Vec<String>,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

/// The place in a job or asset file that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
    /// The text of that line.
    pub text: String,
}

/// The class of a failure: it decides blame, retry and exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The job file, a flag or a tenant's file is wrong.
    JobInvalid,
    /// A `.wasm` file is not a component of this contract.
    ComponentInvalid,
    /// A component uses a capability that the job does not grant.
    GrantMissing,
    /// A component reached for a target outside its grant.
    Denied,
    /// A component returned an error.
    GuestFailed,
    /// A component trapped.
    GuestTrapped,
    /// A component passed a limit on memory, time, size or count.
    LimitExceeded,
    /// A component handed over bytes that are not what they should be.
    DataInvalid,
    /// Source data no longer fits what was declared.
    ContractBroken,
    /// The other side understood and refused.
    Rejected,
    /// The other side does not answer now.
    Unavailable,
    /// Another run of the job is active, or its state moved.
    StateConflict,
    /// A commit was sent and its outcome could not be read back.
    CommitUnknown,
    /// A signal stopped the run.
    Cancelled,
    /// A bug in the runtime.
    Internal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    User,
    Guest,
    External,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Backoff,
    /// After the target has been asked whether the commit landed.
    AfterCheck,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::JobInvalid,
        Kind::ComponentInvalid,
        Kind::GrantMissing,
        Kind::Denied,
        Kind::GuestFailed,
        Kind::GuestTrapped,
        Kind::LimitExceeded,
        Kind::DataInvalid,
        Kind::ContractBroken,
        Kind::Rejected,
        Kind::Unavailable,
        Kind::StateConflict,
        Kind::CommitUnknown,
        Kind::Cancelled,
        Kind::Internal,
    ];

    /// As in JSON output: `job_invalid`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub fn blame(self) -> Blame {
        self.row().1
    }

    pub fn retry(self) -> Retry {
        self.row().2
    }

    /// Exit code of the process when this is the error of a run.
    pub fn exit_code(self) -> u8 {
        self.row().3
    }

    fn row(self) -> (&'static str, Blame, Retry, u8) {
        match self {
            Kind::JobInvalid => ("job_invalid", Blame::User, Retry::Never, 2),
            Kind::ComponentInvalid => ("component_invalid", Blame::User, Retry::Never, 2),
            Kind::GrantMissing => ("grant_missing", Blame::User, Retry::Never, 2),
            Kind::Denied => ("denied", Blame::Guest, Retry::Never, 1),
            Kind::GuestFailed => ("guest_failed", Blame::Guest, Retry::Never, 1),
            Kind::GuestTrapped => ("guest_trapped", Blame::Guest, Retry::Never, 1),
            Kind::LimitExceeded => ("limit_exceeded", Blame::Guest, Retry::Never, 1),
            Kind::DataInvalid => ("data_invalid", Blame::Guest, Retry::Never, 1),
            Kind::ContractBroken => ("contract_broken", Blame::External, Retry::Never, 1),
            Kind::Rejected => ("rejected", Blame::External, Retry::Never, 1),
            Kind::Unavailable => ("unavailable", Blame::External, Retry::Backoff, 75),
            Kind::StateConflict => ("state_conflict", Blame::Host, Retry::Backoff, 75),
            Kind::CommitUnknown => ("commit_unknown", Blame::External, Retry::AfterCheck, 3),
            Kind::Cancelled => ("cancelled", Blame::User, Retry::Never, 130),
            Kind::Internal => ("internal", Blame::Host, Retry::Never, 70),
        }
    }
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            location: None,
            details: Vec::new(),
            causes: Vec::new(),
            hint: None,
            retry_after: None,
        }))
    }

    /// A bug in the runtime, with the thing that should not have happened.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message).hint(
            "this is a bug in dativo-wasm; please report it with the job file and this output",
        )
    }

    /// Adds a `detail: name = value` line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.details.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub fn at(mut self, location: Option<Location>) -> Self {
        self.0.location = location.or(self.0.location);
        self
    }

    /// Adds what caused it, outermost first. Empty and repeated lines are left out.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        if !cause.is_empty() && self.0.causes.last() != Some(&cause) && self.0.message != cause {
            self.0.causes.push(cause);
        }
        self
    }

    /// Adds the next step, as one line that can be pasted.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds when trying again can help, counted from now, as the other side said.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self.with("retry after", format!("{} ms", wait.as_millis()))
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    pub fn details(&self) -> &[(&'static str, String)] {
        &self.0.details
    }

    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// The earliest useful retry, where the other side said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// The message and its causes on one line. `report.rs` renders the whole.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_a_failing_exit_code() {
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|k| k.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|k| k.exit_code() != 0));
    }
}
