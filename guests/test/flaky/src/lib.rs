//! A reader whose first split is lost some times before it can be read to its end.
//!
//! An instance remembers nothing of those before it: each attempt leaves a file in the folder `memory`, and so knows
//! which one it is.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use dativo_connector::object_store as store;
use dativo_connector::{Batches, Blob, Error, ErrorKind, Reader, Result};

/// Rows of one split.
const ROWS: i64 = 6_000;

/// Rows of one batch.
const BATCH_ROWS: i64 = 500;

/// Most attempts that are told from each other.
const MAX_ATTEMPTS: u32 = 100;

#[derive(Clone, serde::Deserialize)]
struct Config {
    /// A folder, to be granted for writing.
    memory: String,
    /// Attempts at the first split that fail.
    losses: u32,
    /// What fails: `read`, `next` after two thirds of the batches, `end`.
    #[serde(default = "next")]
    at: String,
    /// As what: `unavailable`, `rejected`.
    #[serde(default = "unavailable")]
    kind: String,
    retry_after_ms: Option<u64>,
    /// Rows that an attempt sees only if it is lost: bad ones, in place of all others.
    #[serde(default)]
    bad_if_lost: bool,
}

fn next() -> String {
    "next".to_owned()
}

fn unavailable() -> String {
    "unavailable".to_owned()
}

impl Config {
    fn lose(&self, at: &str) -> Result<()> {
        if self.at != at {
            return Ok(());
        }
        let kind = match self.kind.as_str() {
            "rejected" => ErrorKind::Rejected,
            _ => ErrorKind::Unavailable,
        };
        let mut error = Error::new(kind, "the connection was lost");
        error.retry_after_ms = self.retry_after_ms;
        Err(error)
    }

    /// Counts the attempts at a split, from 0.
    fn attempt(&self, split: &str) -> Result<u32> {
        for attempt in 0..MAX_ATTEMPTS {
            let url = format!("{}/{split}-{attempt}", self.memory);
            match store::put_new(&url, &Blob::from_list(b"x")?) {
                Ok(()) => return Ok(attempt),
                Err(error) if error.kind == ErrorKind::Rejected => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::internal("too many attempts"))
    }
}

struct Flaky {
    config: Config,
    /// A run has read everything and committed that.
    is_done: bool,
}

impl Reader for Flaky {
    const NAME: &'static str = "flaky";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "required": ["memory", "losses"], "additionalProperties": false,
            "properties": {"memory": {"type": "string"}, "losses": {"type": "integer"}, "at": {"type": "string"},
            "kind": {"type": "string"}, "retry_after_ms": {"type": "integer"}, "bad_if_lost": {"type": "boolean"}}}"#
            .to_owned()
    }

    fn open(config: Config, state: Option<String>) -> Result<Self> {
        let is_done = state.is_some();
        Ok(Self { config, is_done })
    }

    /// `id` is different in every row, `pair` the same in two rows of a split, every third `v` is no number, and `filler` does not compress.
    fn schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("pair", DataType::Int64, false),
            Field::new("v", DataType::Utf8, false),
            Field::new("filler", DataType::Utf8, false),
        ])))
    }

    fn splits(&self, max: u32) -> Result<Vec<String>> {
        let max = if self.is_done { 0 } else { max };
        Ok((0..max).map(|split| split.to_string()).collect())
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let attempt = self.config.attempt(split)?;
        let split: i64 = split
            .parse()
            .map_err(|_| Error::internal("not a split of this reader"))?;
        let is_lost = split == 0 && attempt < self.config.losses;
        if is_lost {
            self.config.lose("read")?;
        }
        Ok(Box::new(Piece {
            config: self.config.clone(),
            schema: self.schema()?,
            first: split * ROWS,
            rows: 0,
            is_lost,
        }))
    }

    fn state(&self, ends: Vec<String>) -> Result<Option<String>> {
        Ok(Some(ends.join(" ")))
    }
}

struct Piece {
    config: Config,
    schema: SchemaRef,
    first: i64,
    /// Yielded so far.
    rows: i64,
    is_lost: bool,
}

impl Batches for Piece {
    fn next(&mut self, _: usize) -> Result<Option<RecordBatch>> {
        if self.is_lost && self.rows * 3 >= ROWS * 2 {
            self.config.lose("next")?;
        }
        if self.rows == ROWS {
            return Ok(None);
        }
        let ids = self.first + self.rows..self.first + self.rows + BATCH_ROWS;
        self.rows += BATCH_ROWS;
        let all_bad = self.config.bad_if_lost && self.is_lost;
        let is_bad = |id: i64| all_bad || !self.config.bad_if_lost && id % 3 == 0;
        let values = ids.clone().map(|id| match is_bad(id) {
            true => format!("no number {id}"),
            false => id.to_string(),
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id / 2))),
            Arc::new(StringArray::from_iter_values(values)),
            Arc::new(StringArray::from_iter_values(ids.map(filler))),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
            .map(Some)
            .map_err(|error| Error::internal(error.to_string()))
    }

    fn progress(&self) -> Option<f32> {
        Some(self.rows as f32 / ROWS as f32)
    }

    fn end(&mut self) -> Result<String> {
        if self.is_lost {
            self.config.lose("end")?;
        }
        Ok(self.first.to_string())
    }
}

/// Digits that look random.
fn filler(id: i64) -> String {
    let mut random = id as u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random ^ random >> 32
    };
    (0..6).map(|_| format!("{:016x}", next())).collect()
}

dativo_connector::export_reader!(Flaky);
