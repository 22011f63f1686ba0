//! Host side of the handles that components hold: schemas, batches, blobs.
//!
//! The only module that decodes Arrow IPC, and always with validation: bytes of a guest never meet
//! an unchecked decoder.

mod ipc;
mod memory;
mod partition;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use wasmtime::component::Resource;

use crate::component::bindings::imports::data as wit;
use crate::component::bindings::imports::types::{Error as WitError, ErrorKind};
use crate::component::{State, wit_error};
use crate::error::{Error, Kind};

/// The most bytes that one call copies into a component.
const MAX_READ_BYTES: u64 = 16 << 20;

/// A schema behind a handle.
pub struct HostSchema(SchemaRef);

/// A record batch behind a handle, or on its way from one instance to another.
pub type Batch = RecordBatch;

/// A record batch behind a handle.
pub struct HostBatch(Batch);

/// A run of bytes behind a handle. Cheap to clone.
pub struct HostBlob(Buffer);

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    /// Gives the guest a handle to `schema`.
    pub fn hold_schema(&mut self, schema: SchemaRef) -> Result<Resource<HostSchema>, WitError> {
        let bytes = schema_bytes(&schema);
        self.hold(HostSchema(schema), bytes)
    }

    /// Takes back a schema that the guest returned.
    pub fn take_schema(&mut self, handle: Resource<HostSchema>) -> wasmtime::Result<SchemaRef> {
        Ok(self.release(handle, |schema| schema_bytes(&schema.0))?.0)
    }

    pub fn schema(&self, handle: &Resource<HostSchema>) -> wasmtime::Result<SchemaRef> {
        Ok(self.get(handle)?.0.clone())
    }

    pub fn hold_batch(&mut self, batch: Batch) -> Result<Resource<HostBatch>, WitError> {
        let bytes = batch_bytes(&batch);
        self.hold(HostBatch(batch), bytes)
    }

    pub fn take_batch(&mut self, handle: Resource<HostBatch>) -> wasmtime::Result<Batch> {
        Ok(self.release(handle, |batch| batch_bytes(&batch.0))?.0)
    }

    pub fn hold_blob(&mut self, bytes: Buffer) -> Result<Resource<HostBlob>, WitError> {
        let size = bytes.len() as u64;
        self.hold(HostBlob(bytes), size)
    }

    pub fn blob(&self, handle: &Resource<HostBlob>) -> wasmtime::Result<Buffer> {
        Ok(self.get(handle)?.0.clone())
    }
}

/// Host memory that a batch keeps alive, in bytes.
pub fn batch_bytes(batch: &Batch) -> u64 {
    memory::batch_bytes(batch) as u64
}

/// What a schema takes in the host, roughly: fields are small and their names and metadata are not.
fn schema_bytes(schema: &SchemaRef) -> u64 {
    schema
        .fields()
        .iter()
        .map(|field| field.size() as u64)
        .sum()
}

/// An error of decoding, as the guest sees it.
fn refused(error: &Error) -> WitError {
    let kind = match error.kind() {
        Kind::LimitExceeded => ErrorKind::LimitExceeded,
        Kind::JobInvalid => ErrorKind::InvalidConfig,
        _ => ErrorKind::InvalidData,
    };
    wit_error(kind, error.to_string())
}

impl wit::Host for State {}

impl wit::HostSchema for State {
    async fn from_ipc(&mut self, ipc: Vec<u8>) -> Answer<Resource<HostSchema>> {
        Ok(match ipc::decode_schema(ipc) {
            Ok(schema) => self.hold_schema(schema.into()),
            Err(error) => {
                self.budget.note_invalid(&error);
                Err(refused(&error))
            }
        })
    }

    async fn to_ipc(&mut self, schema: Resource<HostSchema>) -> wasmtime::Result<Vec<u8>> {
        Ok(ipc::encode_schema(&self.get(&schema)?.0)?)
    }

    async fn drop(&mut self, schema: Resource<HostSchema>) -> wasmtime::Result<()> {
        self.take_schema(schema).map(drop)
    }
}

impl wit::HostRecordBatch for State {
    async fn from_ipc(&mut self, ipc: Vec<u8>) -> Answer<Resource<HostBatch>> {
        Ok(match ipc::decode_batch(ipc) {
            Ok(batch) => self.hold_batch(batch),
            Err(error) => {
                self.budget.note_invalid(&error);
                Err(refused(&error))
            }
        })
    }

    async fn to_ipc(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<Vec<u8>> {
        Ok(ipc::encode_batch(&self.get(&batch)?.0)?)
    }

    async fn schema(
        &mut self,
        batch: Resource<HostBatch>,
    ) -> wasmtime::Result<Resource<HostSchema>> {
        let schema = self.get(&batch)?.0.schema();
        self.hold_schema(schema)
            .map_err(|error| wasmtime::Error::msg(error.message))
    }

    async fn rows(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<u64> {
        Ok(self.get(&batch)?.0.num_rows() as u64)
    }

    async fn size(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<u64> {
        Ok(batch_bytes(&self.get(&batch)?.0))
    }

    async fn partition(
        &mut self,
        batch: Resource<HostBatch>,
        columns: Vec<String>,
    ) -> Answer<Vec<wit::Partition>> {
        let batch = self.get(&batch)?.0.clone();
        let parts = match partition::partition(&batch, &columns) {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(refused(&error))),
        };
        let held = parts.into_iter().map(|(path, batch)| {
            Ok(wit::Partition {
                path,
                batch: self.hold_batch(batch)?,
            })
        });
        Ok(held.collect())
    }

    async fn drop(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<()> {
        self.take_batch(batch).map(drop)
    }
}

impl wit::HostBlob for State {
    async fn from_list(&mut self, bytes: Vec<u8>) -> Answer<Resource<HostBlob>> {
        Ok(self.hold_blob(Buffer::from_vec(bytes)))
    }

    async fn read(
        &mut self,
        blob: Resource<HostBlob>,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Vec<u8>> {
        let bytes = &self.get(&blob)?.0;
        let start = offset.min(bytes.len() as u64);
        let end = start
            + u64::from(length)
                .min(MAX_READ_BYTES)
                .min(bytes.len() as u64 - start);
        // Both are within the length of a buffer in memory.
        Ok(bytes[start as usize..end as usize].to_vec())
    }

    async fn size(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<u64> {
        Ok(self.get(&blob)?.0.len() as u64)
    }

    async fn text(&mut self, blob: Resource<HostBlob>) -> Answer<String> {
        let bytes = &self.get(&blob)?.0;
        if bytes.len() as u64 > MAX_READ_BYTES {
            return Ok(Err(wit_error(
                ErrorKind::LimitExceeded,
                format!(
                    "a blob of {} bytes is too long for `text`; read it in parts",
                    bytes.len()
                ),
            )));
        }
        Ok(std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| {
                wit_error(
                    ErrorKind::InvalidData,
                    format!("the bytes are not UTF-8: {error}"),
                )
            }))
    }

    async fn drop(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<()> {
        self.release(blob, |blob| blob.0.len() as u64).map(drop)
    }
}
