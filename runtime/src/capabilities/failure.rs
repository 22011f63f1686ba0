//! What a host function answers to a guest when it refuses or fails: the shape of `error` in `wit/types.wit`.
//!
//! Knows no wasm: the host side of each capability turns a [`Failure`] into the WIT record. A failure goes back
//! to the guest, which may go on; an [`Error`] ends the run.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::seal::SealError;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// One answer to a guest. The message is one lowercase line without a final period, literals in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub message: String,
    /// What the user can do about it, as one line that can be pasted.
    pub hint: Option<String>,
    /// The earliest useful retry, from now, where the other side said so.
    pub retry_after: Option<Duration>,
}

/// The variants of `error-kind` in `wit/types.wit`, where each is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidConfig,
    Denied,
    NotFound,
    Unavailable,
    Rejected,
    InvalidData,
    LimitExceeded,
    Internal,
}

impl Failure {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            retry_after: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn after(self, wait: Option<Duration>) -> Self {
        Self {
            retry_after: wait,
            ..self
        }
    }

    /// A hint that there may be, from a layer that knows no failures.
    #[must_use]
    pub fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// For what the host does on behalf of a user, with no guest in between.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            ErrorKind::InvalidConfig => Kind::JobInvalid,
            ErrorKind::Denied => Kind::Denied,
            ErrorKind::NotFound | ErrorKind::Rejected => Kind::Rejected,
            ErrorKind::Unavailable => Kind::Unavailable,
            ErrorKind::InvalidData => Kind::DataInvalid,
            ErrorKind::LimitExceeded => Kind::LimitExceeded,
            ErrorKind::Internal => Kind::Internal,
        };
        let error = Error::new(kind, failure.message);
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// For sealed files and their keys, which know nothing of guests.
impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        let kind = match error {
            SealError::TooLong(_) => ErrorKind::LimitExceeded,
            SealError::Context(_) => ErrorKind::InvalidConfig,
            SealError::Library => ErrorKind::Internal,
            SealError::Changed => ErrorKind::Unavailable,
            _ => ErrorKind::Rejected,
        };
        Failure::new(kind, error.to_string()).hint(error.hint())
    }
}

/// For errors of the data layer, which know nothing of guests.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            Kind::JobInvalid => ErrorKind::InvalidConfig,
            Kind::GrantMissing | Kind::Denied => ErrorKind::Denied,
            Kind::LimitExceeded => ErrorKind::LimitExceeded,
            Kind::DataInvalid | Kind::ContractBroken => ErrorKind::InvalidData,
            Kind::Rejected => ErrorKind::Rejected,
            Kind::Unavailable => ErrorKind::Unavailable,
            Kind::ComponentInvalid
            | Kind::GuestFailed
            | Kind::GuestTrapped
            | Kind::StateConflict
            | Kind::CommitUnknown
            | Kind::Cancelled
            | Kind::Internal => ErrorKind::Internal,
        };
        let hint = error.hint_text().map(str::to_owned);
        Failure::new(kind, error.to_string()).with_hint(hint)
    }
}
