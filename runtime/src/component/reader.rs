//! A reader instance: the calls of the `reader` interface, typed and limited.

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::Sandbox;
use super::bindings::reader::ReaderComponent;
pub use super::bindings::reader::exports::dativo::connector::reader::{Column, Dataset};
use super::call::{Stop, outcome, trapped, within};
use super::loaded::{Exports, Linked};
use super::state::State;
use crate::data::Batch;
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;

/// An open reader. Dropped, it ends the instance; after an error it answers nothing more.
pub struct ReaderInstance {
    store: Store<State>,
    exports: ReaderComponent,
    reader: Option<ResourceAny>,
    who: String,
    timeout: std::time::Duration,
    stop: Stop,
}

/// One piece being read by an instance.
#[derive(Clone, Copy)]
pub struct Batches(ResourceAny);

/// Runs one call of the guest: start the clock, wait within the limits, translate the end.
macro_rules! call {
    ($self:ident, $function:literal, |$store:ident, $reader:ident| $call:expr) => {{
        let Some($reader) = $self.reader else {
            return Err(gone(&$self.who, $function));
        };
        $self.store.data_mut().start_call();
        let answer = {
            let $store = &mut $self.store;
            within($self.timeout, $self.stop.clone(), $call).await
        };
        let result = outcome(&mut $self.store, &$self.who, $function, answer);
        if result.is_err() {
            $self.reader = None;
        }
        result
    }};
}

impl ReaderInstance {
    /// Makes an instance and opens the reader with `config` (JSON) and the last committed `state`.
    pub async fn open(
        linked: &Linked,
        sandbox: Sandbox,
        config: &str,
        state: Option<&str>,
    ) -> Result<Self> {
        let (timeout, stop) = (sandbox.limits.call_timeout, sandbox.stop.clone());
        let who = linked.who.clone();
        let (mut store, exports) = start(linked, sandbox).await?;
        let guest = exports.dativo_connector_reader().reader();
        let call = guest.call_open(&mut store, config, state);
        let answer = within(timeout, stop.clone(), call).await;
        let reader = Some(outcome(&mut store, &who, "reader.open", answer)?);
        Ok(Self {
            store,
            exports,
            reader,
            who,
            timeout,
            stop,
        })
    }

    /// What the source of `config` (JSON) holds, as an instance that opens no reader says.
    pub async fn discover(linked: &Linked, sandbox: Sandbox, config: &str) -> Result<Vec<Dataset>> {
        let (timeout, stop) = (sandbox.limits.call_timeout, sandbox.stop.clone());
        let (mut store, exports) = start(linked, sandbox).await?;
        let guest = exports.dativo_connector_reader();
        let answer = within(timeout, stop, guest.call_discover(&mut store, config)).await;
        outcome(&mut store, &linked.who, "discover", answer)
    }

    pub async fn schema(&mut self) -> Result<SchemaRef> {
        let handle = call!(self, "reader.schema", |store, reader| self
            .exports
            .dativo_connector_reader()
            .reader()
            .call_schema(store, reader))?;
        self.store
            .data_mut()
            .take_schema(handle)
            .map_err(|trap| self.broken("reader.schema", &trap))
    }

    /// The schema as far as one cheap question to the source tells it.
    pub async fn check(&mut self) -> Result<SchemaRef> {
        let handle = call!(self, "reader.check", |store, reader| self
            .exports
            .dativo_connector_reader()
            .reader()
            .call_check(store, reader))?;
        self.store
            .data_mut()
            .take_schema(handle)
            .map_err(|trap| self.broken("reader.check", &trap))
    }

    pub async fn splits(&mut self, max: u32) -> Result<Vec<String>> {
        call!(self, "reader.splits", |store, reader| self
            .exports
            .dativo_connector_reader()
            .reader()
            .call_splits(store, reader, max))
    }

    pub async fn read(&mut self, split: &str) -> Result<Batches> {
        call!(self, "reader.read", |store, reader| self
            .exports
            .dativo_connector_reader()
            .reader()
            .call_read(store, reader, split))
        .map(Batches)
    }

    pub async fn next(&mut self, batches: Batches, max_rows: u32) -> Result<Option<Batch>> {
        let handle = call!(self, "batches.next", |store, _reader| self
            .exports
            .dativo_connector_reader()
            .batches()
            .call_next(store, batches.0, max_rows))?;
        let Some(handle) = handle else {
            return Ok(None);
        };
        let batch = self.store.data_mut().take_batch(handle);
        batch
            .map(Some)
            .map_err(|trap| self.broken("batches.next", &trap))
    }

    /// Share of the piece that was read, from 0 to 1.
    pub async fn progress(&mut self, batches: Batches) -> Result<Option<f32>> {
        call!(self, "batches.progress", |store, _reader| async {
            let guest = self.exports.dativo_connector_reader().batches();
            guest.call_progress(store, batches.0).await.map(Ok)
        })
    }

    pub async fn end(&mut self, batches: Batches) -> Result<String> {
        call!(self, "batches.end", |store, _reader| self
            .exports
            .dativo_connector_reader()
            .batches()
            .call_end(store, batches.0))
    }

    pub async fn state(&mut self, ends: &[String]) -> Result<Option<String>> {
        call!(self, "reader.state", |store, reader| self
            .exports
            .dativo_connector_reader()
            .reader()
            .call_state(store, reader, ends))
    }

    /// The guest returned a handle that is not what its type says.
    fn broken(&mut self, function: &str, trap: &wasmtime::Error) -> Error {
        self.reader = None;
        trapped(&self.store, &self.who, function, trap)
    }
}

/// Makes an instance.
async fn start(linked: &Linked, sandbox: Sandbox) -> Result<(Store<State>, ReaderComponent)> {
    let who = &linked.who;
    let Exports::Reader(component) = &linked.exports else {
        return Err(Error::internal(format!("{who} was opened as a reader")));
    };
    let mut store = linked.store(sandbox)?;
    match component.instantiate_async(&mut store).await {
        Ok(exports) => Ok((store, exports)),
        Err(error) => Err(trapped(&store, who, "start", &error)),
    }
}

/// The answer of an instance that failed before: a bug of the caller, since it must be dropped.
pub(super) fn gone(who: &str, function: &str) -> Error {
    Error::internal(format!("`{function}` of {who} was called after it failed"))
}
