//! Arrow IPC in and out: the only place that decodes bytes of a guest into schemas and batches.
//!
//! A decoded batch is sound whatever the bytes were. Three layers see to that: `frames` walks the messages and
//! refuses every number that the bytes do not justify, before anything is allocated for it; arrow validates offsets,
//! UTF-8, null counts and dictionary keys while it decodes; `sound` adds what arrow leaves out. Knows no wasm.
//!
//! Types without a column form in any target (unions, run-end encoding) and types whose values may all point to the
//! same bytes (views) are refused: a few bytes of theirs can stand for terabytes.

mod frames;
mod quiet;
mod sound;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use crate::error::{Error, Kind, Result};

/// Largest IPC stream accepted for a batch, in bytes.
///
/// A batch in flight is held once per direction, so peak memory grows by twice this; above it a hostile guest could
/// stall other runs with one call.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Largest IPC stream accepted for a schema, in bytes: 16,384 fields with a kilobyte of metadata each.
pub const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// Decodes and validates a stream of exactly one batch.
pub fn decode_batch(bytes: Vec<u8>) -> Result<RecordBatch> {
    refuse_longer(bytes.len(), MAX_BATCH_BYTES, "batch")?;
    decode(bytes, "batch", frames::read_batch)
}

/// Decodes a stream that holds a schema and no batch.
pub fn decode_schema(bytes: Vec<u8>) -> Result<Schema> {
    refuse_longer(bytes.len(), MAX_SCHEMA_BYTES, "schema")?;
    decode(bytes, "schema", frames::read_schema)
}

fn decode<T>(bytes: Vec<u8>, what: &str, read: fn(&Buffer) -> Result<T, Unsound>) -> Result<T> {
    let stream = Buffer::from_vec(bytes);
    quiet::catch(|| read(&stream))
        .unwrap_or_else(|panic| Err(Unsound(panic)))
        .map_err(|Unsound(reason)| {
            Error::new(
                Kind::DataInvalid,
                format!("the {what} is not valid Arrow IPC"),
            )
            .caused_by(one_line(&reason))
        })
}

/// Why bytes are not a sound batch.
struct Unsound(String);

impl From<ArrowError> for Unsound {
    fn from(error: ArrowError) -> Self {
        Unsound(error.to_string())
    }
}

fn unsound<T>(reason: impl Into<String>) -> Result<T, Unsound> {
    Err(Unsound(reason.into()))
}

/// Reasons quote names and values of the guest: 400 characters name the place, and no control character survives.
fn one_line(reason: &str) -> String {
    reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(400)
        .collect()
}

/// A stream of this one batch.
pub fn encode_batch(batch: &RecordBatch) -> Result<Vec<u8>> {
    let body: usize = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    // Messages and padding: a KiB and 400 bytes a column cover flat schemas, so that the stream is written once.
    let room = body + 1024 + 400 * batch.num_columns();
    encode(&batch.schema(), Some(batch), room)
}

/// A stream of this schema and no batch.
pub fn encode_schema(schema: &Schema) -> Result<Vec<u8>> {
    encode(schema, None, 1024 + 200 * schema.fields().len())
}

fn encode(schema: &Schema, batch: Option<&RecordBatch>, room: usize) -> Result<Vec<u8>> {
    let write = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::with_capacity(room), schema)?;
        if let Some(batch) = batch {
            writer.write(batch)?;
        }
        writer.finish()?;
        writer.into_inner()
    };
    write().map_err(|error| {
        Error::new(Kind::DataInvalid, "the batch has no Arrow IPC form").caused_by(error)
    })
}

fn refuse_longer(length: usize, limit: usize, what: &str) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(Error::new(
        Kind::LimitExceeded,
        format!("a {what} of {length} bytes; the limit is {limit} bytes"),
    )
    .hint(match what {
        "batch" => "hand over fewer rows in each batch",
        _ => "use fewer columns or less metadata",
    }))
}
