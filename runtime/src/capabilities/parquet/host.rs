//! The `parquet` interface: check, encode, count the memory.

use wasmtime::component::Resource;

use super::client::Encoder;
use crate::component::State;
use crate::component::bindings::imports::parquet as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBatch, HostBlob, HostSchema};

/// An encoder behind a handle, with the memory that was counted for it.
pub struct HostEncoder {
    encoder: Encoder,
    counted_bytes: u64,
}

impl HostEncoder {
    pub fn new(encoder: Encoder) -> Self {
        Self {
            encoder,
            counted_bytes: 0,
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    /// Counts what the encoder buffers now instead of what it buffered before.
    fn recount(&mut self, handle: &Resource<HostEncoder>) -> Answer<()> {
        let held = self.get_mut(handle)?;
        let (before, now) = (held.counted_bytes, held.encoder.memory_bytes() as u64);
        held.counted_bytes = now;
        self.budget.give(before);
        // A refused amount is not counted, so it must not be given back later.
        let counted = self.budget.take(now);
        if counted.is_err() {
            self.get_mut(handle)?.counted_bytes = 0;
        }
        Ok(counted)
    }
}

impl wit::Host for State {}

impl wit::HostEncoder for State {
    async fn create(
        &mut self,
        schema: Resource<HostSchema>,
        options: String,
    ) -> Answer<Resource<HostEncoder>> {
        let schema = self.schema(&schema)?;
        Ok(match Encoder::create(schema, &options) {
            Ok(encoder) => self.hold(HostEncoder::new(encoder), 0),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn write(
        &mut self,
        handle: Resource<HostEncoder>,
        batch: Resource<HostBatch>,
    ) -> Answer<()> {
        let batch = self.take_batch(batch)?;
        if let Err(failure) = self.get_mut(&handle)?.encoder.write(&batch) {
            return Ok(Err(failure.into()));
        }
        self.recount(&handle)
    }

    async fn take(&mut self, handle: Resource<HostEncoder>) -> Answer<Resource<HostBlob>> {
        let bytes = self.get_mut(&handle)?.encoder.take();
        if let Err(error) = self.recount(&handle)? {
            return Ok(Err(error));
        }
        Ok(self.hold_blob(bytes.into()))
    }

    async fn size(&mut self, handle: Resource<HostEncoder>) -> wasmtime::Result<u64> {
        Ok(self.get(&handle)?.encoder.size())
    }

    async fn memory(&mut self, handle: Resource<HostEncoder>) -> wasmtime::Result<u64> {
        Ok(self.get(&handle)?.encoder.memory_bytes() as u64)
    }

    async fn finish(&mut self, handle: Resource<HostEncoder>) -> Answer<()> {
        if let Err(failure) = self.get_mut(&handle)?.encoder.finish() {
            return Ok(Err(failure.into()));
        }
        self.recount(&handle)
    }

    async fn rows(&mut self, handle: Resource<HostEncoder>) -> wasmtime::Result<u64> {
        Ok(self.get(&handle)?.encoder.rows())
    }

    async fn drop(&mut self, handle: Resource<HostEncoder>) -> wasmtime::Result<()> {
        self.release(handle, |held| held.counted_bytes).map(drop)
    }
}
