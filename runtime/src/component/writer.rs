//! A writer instance: the calls of the `writer` interface, typed and limited.

use arrow::datatypes::SchemaRef;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::Sandbox;
use super::bindings::writer::WriterComponent;
use super::bindings::writer::exports::dativo::connector::writer as wit;
use super::call::{Stop, outcome, trapped, within};
use super::loaded::{Exports, Linked};
use super::reader::gone;
use super::state::State;
use crate::data::Batch;
use crate::error::{Error, Kind, Result};

/// What a commit published.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Receipt {
    pub outputs: Vec<Output>,
    /// What else the writer reports: the keys of the seed's `finalize`.
    pub details: Option<serde_json::Value>,
}

/// One published object.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Output {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub checksum: Option<String>,
}

/// The last commit of a job, as its target knows it.
#[derive(Clone, Debug)]
pub struct CommitRecord {
    pub run: String,
    pub state: Option<String>,
    pub receipt: Receipt,
}

/// A writer component in its sandbox: open for one split, or for commit and abort.
pub struct WriterInstance {
    store: Store<State>,
    exports: WriterComponent,
    writer: Option<ResourceAny>,
    failed: bool,
    who: String,
    timeout: std::time::Duration,
    stop: Stop,
}

/// The identity of a run, the same for every attempt.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: String,
    pub job: String,
    pub tenant: String,
    /// The run of the target's last commit when this one started.
    pub base: Option<String>,
    pub reader: ComponentRef,
    pub writer: ComponentRef,
}

/// Which component took part in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ComponentRef {
    pub name: String,
    pub version: String,
    /// `sha256:` and lowercase hex.
    pub digest: String,
}

/// Runs one call of the guest: start the clock, wait within the limits, translate the end.
macro_rules! call {
    ($self:ident, $function:literal, |$store:ident| $call:expr) => {{
        if $self.failed {
            return Err(gone(&$self.who, $function));
        }
        $self.store.data_mut().start_call();
        let answer = {
            let $store = &mut $self.store;
            within($self.timeout, $self.stop.clone(), $call).await
        };
        let result = outcome(&mut $self.store, &$self.who, $function, answer);
        $self.failed = result.is_err();
        result
    }};
}

impl WriterInstance {
    /// Makes an instance that can commit, abort and answer for its target.
    pub async fn start(linked: &Linked, sandbox: Sandbox) -> Result<Self> {
        let (timeout, stop) = (sandbox.limits.call_timeout, sandbox.stop.clone());
        let who = linked.who.clone();
        let Exports::Writer(component) = &linked.exports else {
            return Err(Error::internal(format!("{who} was started as a writer")));
        };
        let mut store = linked.store(sandbox)?;
        match component.instantiate_async(&mut store).await {
            Ok(exports) => Ok(Self {
                store,
                exports,
                writer: None,
                failed: false,
                who,
                timeout,
                stop,
            }),
            Err(error) => Err(trapped(&store, &who, "start", &error)),
        }
    }

    /// Opens the writer for one split.
    pub async fn open(
        &mut self,
        config: &str,
        schema: SchemaRef,
        run: &Run,
        split: u32,
    ) -> Result<()> {
        let schema = self.store.data_mut().hold_schema(schema).map_err(|error| {
            Error::new(
                Kind::LimitExceeded,
                format!("{} {}", self.who, error.message),
            )
        })?;
        let run = wit_run(run);
        let borrowed = wasmtime::component::Resource::new_borrow(schema.rep());
        let opened = call!(self, "writer.open", |store| self
            .exports
            .dativo_connector_writer()
            .writer()
            .call_open(store, config, borrowed, &run, split))?;
        self.writer = Some(opened);
        // The guest had it on loan; what it needs of it, it has copied.
        self.store
            .data_mut()
            .take_schema(schema)
            .map_err(|trap| trapped(&self.store, &self.who, "writer.open", &trap))?;
        Ok(())
    }

    pub async fn write(&mut self, batch: Batch) -> Result<()> {
        let writer = self.opened("writer.write")?;
        self.store.data_mut().start_call();
        let handle = self.store.data_mut().hold_batch(batch).map_err(|error| {
            Error::new(
                Kind::LimitExceeded,
                format!("{} cannot take a batch", self.who),
            )
            .caused_by(error.message)
            .hint("raise `limits: { memory: ... }`, or lower `limits: { batch_rows: ... }`")
        })?;
        call!(self, "writer.write", |store| self
            .exports
            .dativo_connector_writer()
            .writer()
            .call_write(store, writer, handle))
    }

    pub async fn prepare(&mut self) -> Result<String> {
        let writer = self.opened("writer.prepare")?;
        call!(self, "writer.prepare", |store| self
            .exports
            .dativo_connector_writer()
            .writer()
            .call_prepare(store, writer))
    }

    pub async fn commit(
        &mut self,
        config: &str,
        run: &Run,
        prepared: &[String],
        state: Option<&str>,
    ) -> Result<Receipt> {
        let run = wit_run(run);
        let receipt = call!(self, "commit", |store| self
            .exports
            .dativo_connector_writer()
            .call_commit(store, config, &run, prepared, state))?;
        self.receipt(receipt)
    }

    pub async fn abort(&mut self, config: &str, run: &Run, prepared: &[String]) -> Result<()> {
        let run = wit_run(run);
        call!(self, "abort", |store| self
            .exports
            .dativo_connector_writer()
            .call_abort(store, config, &run, prepared))
    }

    pub async fn last_commit(
        &mut self,
        config: &str,
        tenant: &str,
        job: &str,
    ) -> Result<Option<CommitRecord>> {
        let record = call!(self, "last-commit", |store| self
            .exports
            .dativo_connector_writer()
            .call_last_commit(store, config, tenant, job))?;
        let Some(record) = record else {
            return Ok(None);
        };
        let receipt = self.receipt(record.receipt)?;
        Ok(Some(CommitRecord {
            run: record.run,
            state: record.state,
            receipt,
        }))
    }

    fn opened(&self, function: &str) -> Result<ResourceAny> {
        self.writer.ok_or_else(|| gone(&self.who, function))
    }

    fn receipt(&mut self, receipt: wit::Receipt) -> Result<Receipt> {
        let details = match receipt
            .details
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
        {
            Ok(details) => details,
            Err(error) => {
                self.failed = true;
                return Err(Error::new(
                    Kind::GuestFailed,
                    format!("{} reported details that are not JSON", self.who),
                )
                .caused_by(error));
            }
        };
        let outputs = receipt.outputs.into_iter().map(|output| Output {
            path: output.path,
            rows: output.rows,
            bytes: output.bytes,
            checksum: output.checksum,
        });
        Ok(Receipt {
            outputs: outputs.collect(),
            details,
        })
    }
}

fn wit_component(component: &ComponentRef) -> wit::ComponentRef {
    wit::ComponentRef {
        name: component.name.clone(),
        version: component.version.clone(),
        digest: component.digest.clone(),
    }
}

fn wit_run(run: &Run) -> wit::Run {
    wit::Run {
        id: run.id.clone(),
        job: run.job.clone(),
        tenant: run.tenant.clone(),
        base: run.base.clone(),
        reader: wit_component(&run.reader),
        writer: wit_component(&run.writer),
    }
}
