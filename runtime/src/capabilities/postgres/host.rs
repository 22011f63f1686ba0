//! The `postgres` interface: check the grant, do it, count the memory.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::Access;
use super::client::{Connection, Reading};
use crate::component::State;
use crate::component::bindings::imports::postgres as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBatch, HostSchema};

/// What a connection takes in the host beside its handle, in bytes: the input buffer and TLS.
const CONNECTION_BYTES: u64 = 512 << 10;

/// A connection behind a handle.
pub struct HostConnection(Connection);

/// Rows behind a handle, with the memory that was counted for them.
pub struct HostRows {
    reading: Reading,
    counted_bytes: u64,
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    fn servers(&self) -> wasmtime::Result<Arc<Access>> {
        let granted = self.granted.postgres.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`postgres` is not granted"))
    }
}

impl wit::Host for State {}

impl wit::HostConnection for State {
    async fn open(
        &mut self,
        url: String,
        snapshot: Option<String>,
    ) -> Answer<Resource<HostConnection>> {
        let access = self.servers()?;
        Ok(
            match Connection::open(&access, &url, snapshot.as_deref()).await {
                Ok(connection) => self.hold(HostConnection(connection), CONNECTION_BYTES),
                Err(failure) => Err(failure.into()),
            },
        )
    }

    async fn export_snapshot(&mut self, handle: Resource<HostConnection>) -> Answer<String> {
        let connection = &mut self.get_mut(&handle)?.0;
        Ok(connection.export_snapshot().await.map_err(WitError::from))
    }

    async fn query(
        &mut self,
        handle: Resource<HostConnection>,
        statement: String,
        parameters: Vec<Option<String>>,
    ) -> Answer<Vec<Vec<Option<String>>>> {
        let connection = &mut self.get_mut(&handle)?.0;
        let rows = connection.query(&statement, &parameters).await;
        Ok(rows.map_err(WitError::from))
    }

    async fn describe(
        &mut self,
        handle: Resource<HostConnection>,
        statement: String,
        decoding: String,
    ) -> Answer<Resource<HostSchema>> {
        let connection = &mut self.get_mut(&handle)?.0;
        Ok(match connection.describe(&statement, &decoding).await {
            Ok(schema) => self.hold_schema(schema),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn read(
        &mut self,
        handle: Resource<HostConnection>,
        statement: String,
        parameters: Vec<Option<String>>,
        decoding: String,
    ) -> Answer<Resource<HostRows>> {
        let connection = &mut self.get_mut(&handle)?.0;
        let reading = connection.read(&statement, &parameters, &decoding).await;
        Ok(match reading {
            Ok(reading) => self.hold(
                HostRows {
                    reading,
                    counted_bytes: 0,
                },
                0,
            ),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn drop(&mut self, handle: Resource<HostConnection>) -> wasmtime::Result<()> {
        self.release(handle, |_| CONNECTION_BYTES).map(drop)
    }
}

impl wit::HostRows for State {
    async fn schema(
        &mut self,
        handle: Resource<HostRows>,
    ) -> wasmtime::Result<Resource<HostSchema>> {
        let schema = self.get(&handle)?.reading.schema();
        // The contract has no error here: an instance without room for a schema ends.
        self.hold_schema(schema)
            .map_err(|error| wasmtime::Error::msg(error.message))
    }

    async fn next(
        &mut self,
        handle: Resource<HostRows>,
        max_rows: u32,
    ) -> Answer<Option<Resource<HostBatch>>> {
        let held = self.get_mut(&handle)?;
        let max_rows = usize::try_from(max_rows).unwrap_or(usize::MAX).max(1);
        let batch = match held.reading.next(max_rows).await {
            Ok(batch) => batch,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let (before, now) = (held.counted_bytes, held.reading.memory_bytes() as u64);
        held.counted_bytes = now;
        self.budget.give(before);
        if let Err(error) = self.budget.take(now) {
            // A refused amount is not counted, so it must not be given back later.
            self.get_mut(&handle)?.counted_bytes = 0;
            return Ok(Err(error));
        }
        Ok(batch.map(|batch| self.hold_batch(batch)).transpose())
    }

    async fn drop(&mut self, handle: Resource<HostRows>) -> wasmtime::Result<()> {
        self.release(handle, |held| held.counted_bytes).map(drop)
    }
}
