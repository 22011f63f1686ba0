//! Errors as the host and the user see them.

use crate::bindings::capabilities::dativo::connector::types as wit;

pub use wit::ErrorKind;

/// What a connector's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure: a kind, one line for the user, and what to do about it.
///
/// Messages are lowercase without a final period, with literals in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Decides whether the host retries and with which exit code it ends.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
    /// The next step, as a line that can be pasted.
    pub hint: Option<String>,
    /// Earliest useful retry, in milliseconds from now, where the other side said so.
    pub retry_after_ms: Option<u64>,
}

impl Error {
    /// An error of any kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            retry_after_ms: None,
        }
    }

    /// The job file is wrong.
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidConfig, message)
    }

    /// Data that cannot be decoded, or breaks its schema.
    pub fn invalid_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidData, message)
    }

    /// The other side understood and refused.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }

    /// The other side cannot answer now, or its answer was lost.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A bug in the connector.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds the next step for the user.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        Self {
            kind: error.kind,
            message: error.message,
            hint: error.hint,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind,
            message: error.message,
            hint: error.hint,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_said_reaches_the_user_whole() {
        let said = || wit::Error {
            kind: ErrorKind::Unavailable,
            message: "busy".to_owned(),
            hint: Some("wait".to_owned()),
            retry_after_ms: Some(1500),
        };
        let passed_on = wit::Error::from(Error::from(said()));
        assert_eq!(format!("{passed_on:?}"), format!("{:?}", said()));
    }
}
