//! Arrow data across the boundary: one copy each way, as Arrow IPC.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use crate::bindings::capabilities::dativo::connector::data as wit;
use crate::error::{Error, Result};

/// Hands a batch over to the host.
pub fn batch_to_host(batch: &RecordBatch) -> Result<wit::RecordBatch> {
    // Bodies are padded to 8 bytes a buffer; a little more than the data avoids a second allocation.
    let room = batch.get_array_memory_size() + 4096;
    let ipc = encode(&batch.schema(), Some(batch), room).map_err(bug)?;
    Ok(wit::RecordBatch::from_ipc(&ipc)?)
}

/// Copies a batch out of the host.
pub fn batch_from_host(batch: &wit::RecordBatch) -> Result<RecordBatch> {
    let ipc = batch.to_ipc();
    let mut reader = StreamReader::try_new(ipc.as_slice(), None).map_err(bug)?;
    match reader.next() {
        Some(batch) => batch.map_err(bug),
        None => Err(Error::internal(
            "the host sent an IPC stream without a batch",
        )),
    }
}

/// Hands a schema over to the host.
pub fn schema_to_host(schema: &Schema) -> Result<wit::Schema> {
    let ipc = encode(schema, None, 4096).map_err(bug)?;
    Ok(wit::Schema::from_ipc(&ipc)?)
}

/// Copies a schema out of the host.
pub fn schema_from_host(schema: &wit::Schema) -> Result<SchemaRef> {
    let ipc = schema.to_ipc();
    let reader = StreamReader::try_new(ipc.as_slice(), None).map_err(bug)?;
    Ok(Arc::clone(&reader.schema()))
}

fn encode(
    schema: &Schema,
    batch: Option<&RecordBatch>,
    room: usize,
) -> std::result::Result<Vec<u8>, ArrowError> {
    let mut ipc = Vec::with_capacity(room);
    let mut writer = StreamWriter::try_new(&mut ipc, schema)?;
    if let Some(batch) = batch {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(ipc)
}

/// Arrow refused what it should not: a bug in the connector, or in this crate.
fn bug(error: ArrowError) -> Error {
    Error::internal(format!("Arrow IPC: {error}"))
}
