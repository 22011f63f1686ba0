//! JSON, from bytes to Arrow.
//!
//! Pure: no socket, no clock, no wasm. A body becomes a [`Tape`] once; what is asked of it later reads the tape. Neither
//! the bytes nor the columns are trusted: not a length, not a depth, not a count.

mod columns;
mod extract;
#[cfg(test)]
mod fuzz_tests;
mod infer;
mod keys;
mod nested;
mod number;
mod parse;
mod pointer;
mod rows;
mod scalars;
mod tape;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub use columns::{Columns, schema};
pub use extract::{digest, digests, greatest, values};
pub use infer::infer;
pub use pointer::{array, find};
pub use rows::{Options, rows};
pub use tape::{Tape, Value};

/// What is answered where something cannot be done. The message is one lowercase line, as in `wit/types.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The columns or options cannot be used.
    Config,
    Data,
    Limit,
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Config, message)
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Data, message)
    }

    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Limit, message)
    }

    fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
