//! Asset contracts: what a data set must look like, checked before and while it moves.
//!
//! Knows Arrow. Knows no YAML (`job/` reads the asset file), no wasm, no files and no clock: a contract,
//! schemas and batches in; what is good, what is refused and why out.

mod check;
mod convert;
mod dataset;
mod hmac;
mod mapping;
mod mask;
mod refused;
mod types;
mod unique;

use std::time::Duration;

pub use check::{Bad, Checked, Enforcement};
pub use hmac::MaskKey;
pub use mapping::{Line, Mapping};
pub use mask::mask_batch;
pub use refused::Tally;
pub use types::{Type, TypeProblem};
pub use unique::{MAX_ATTEMPTS, MIN_MEMORY_BYTES};

use crate::error::Location;

/// The column of the dead letter that says why a row is there.
pub const REASON_COLUMN: &str = "_dativo_reason";

/// Longest part of a value that a message repeats, in characters.
const MAX_SHOWN: usize = 60;

/// A valid contract.
#[derive(Debug, Clone)]
pub struct Contract {
    pub name: String,
    pub version: String,
    /// The asset file, as the job names it.
    pub file: String,
    pub mode: Mode,
    pub columns: Vec<Column>,
    pub dataset: Dataset,
}

/// What a broken rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It ends the run.
    Strict,
    /// The row goes to the dead letter.
    Warn,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Strict => "strict",
            Mode::Warn => "warn",
        }
    }
}

/// One column of the contract.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub kind: Type,
    /// Null is refused.
    pub required: bool,
    pub classification: Option<String>,
    pub mask: Option<Mask>,
    /// Its line in the asset file.
    pub at: Option<Location>,
}

/// What stands in place of a value that must not be seen.
#[derive(Debug, Clone)]
pub enum Mask {
    /// 64 hex digits: HMAC-SHA-256 under the key, SHA-256 without one.
    Hash(Option<MaskKey>),
    Null,
    /// A fixed text in text columns, null in others.
    Redact,
}

impl Mask {
    /// For people: what is done.
    pub fn describe(&self) -> &'static str {
        match self {
            Mask::Hash(Some(_)) => "hash with a key",
            Mask::Hash(None) => "hash without a key: guessable values can be found by trying",
            Mask::Null => "null",
            Mask::Redact => "redact",
        }
    }
}

/// Rules about the data set as a whole.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Columns that the source must have, whether or not their values may be null.
    pub required_columns: Vec<String>,
    pub unknown_columns: Unknown,
    pub unique: Option<Unique>,
    pub min_rows: Option<u64>,
    pub max_rows: Option<u64>,
    pub freshness: Option<Freshness>,
}

/// What happens to a column that only the source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    #[default]
    Strict,
    Add,
    Ignore,
}

impl Unknown {
    pub fn name(self) -> &'static str {
        match self {
            Unknown::Strict => "strict",
            Unknown::Add => "add",
            Unknown::Ignore => "ignore",
        }
    }
}

/// Columns whose values together are there once in a run.
#[derive(Debug, Clone)]
pub struct Unique {
    pub columns: Vec<String>,
    /// Most memory that the keys of a run may take.
    pub memory_bytes: u64,
}

/// How old the newest value of a column may be.
#[derive(Debug, Clone)]
pub struct Freshness {
    pub column: String,
    pub max_age: Duration,
}

/// The beginning of a value, for messages.
fn shorten(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
