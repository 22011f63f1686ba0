//! Writers: the trait, and what makes a component of it.

use std::cell::RefCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::capabilities::dativo::connector::data;
use crate::bindings::capabilities::dativo::connector::types;
use crate::bindings::writer::exports::dativo::connector::writer as wit;
use crate::error::Result;
use crate::reader::parse_config;

pub use wit::{CommitRecord, ComponentRef, Output, Receipt, Run};

/// A target of rows. Nothing that it writes is visible before `commit`.
pub trait Writer: Sized + 'static {
    /// What the connector is called in messages.
    const NAME: &'static str;
    /// Of the component: usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// The `config` block of the job.
    type Config: DeserializeOwned;

    /// JSON Schema of the `config` block; see [`Reader::config_schema`](crate::Reader::config_schema).
    fn config_schema() -> String;

    /// Makes a writer for one attempt at a split of a run. Where the source is lost, it is dropped, and another one
    /// writes the split from its start.
    fn open(config: Self::Config, schema: &data::Schema, run: Run, split: u32) -> Result<Self>;

    /// Takes a batch. It is a handle: [`crate::arrow::batch_from_host`] copies its rows.
    fn write(&mut self, batch: data::RecordBatch) -> Result<()>;

    /// Makes all that was written durable, and returns text that `commit` and `abort` understand.
    fn prepare(&mut self) -> Result<String>;

    /// Publishes what every split prepared, with the reader's state, in one step. For a run that is
    /// committed already, its first answer. Removes what else the run staged: by attempts that were given up.
    fn commit(
        config: Self::Config,
        run: Run,
        prepared: Vec<String>,
        state: Option<String>,
    ) -> Result<Receipt>;

    /// Removes all that the run staged, prepared or not.
    fn abort(config: Self::Config, run: Run, prepared: Vec<String>) -> Result<()>;

    /// The last committed run of a job, as the target knows it.
    fn last_commit(
        config: Self::Config,
        tenant: String,
        job: String,
    ) -> Result<Option<CommitRecord>>;
}

/// The component made of a writer. Named by [`export_writer!`](crate::export_writer).
pub struct Component<W>(PhantomData<W>);

impl<W: Writer> wit::Guest for Component<W> {
    type Writer = Open<W>;

    fn describe() -> types::Description {
        types::Description {
            name: W::NAME.to_owned(),
            version: W::VERSION.to_owned(),
            config_schema: W::config_schema(),
        }
    }

    fn commit(
        config: String,
        run: Run,
        prepared: Vec<String>,
        state: Option<String>,
    ) -> Result<Receipt, types::Error> {
        Ok(W::commit(parse_config(&config)?, run, prepared, state)?)
    }

    fn abort(config: String, run: Run, prepared: Vec<String>) -> Result<(), types::Error> {
        Ok(W::abort(parse_config(&config)?, run, prepared)?)
    }

    fn last_commit(
        config: String,
        tenant: String,
        job: String,
    ) -> Result<Option<CommitRecord>, types::Error> {
        Ok(W::last_commit(parse_config(&config)?, tenant, job)?)
    }
}

/// An open writer, as the component exports it.
pub struct Open<W>(RefCell<W>);

impl<W: Writer> wit::GuestWriter for Open<W> {
    fn open(
        config: String,
        schema: &data::Schema,
        run: Run,
        split: u32,
    ) -> Result<wit::Writer, types::Error> {
        let writer = W::open(parse_config(&config)?, schema, run, split)?;
        Ok(wit::Writer::new(Self(RefCell::new(writer))))
    }

    fn write(&self, batch: data::RecordBatch) -> Result<(), types::Error> {
        Ok(self.0.borrow_mut().write(batch)?)
    }

    fn prepare(&self) -> Result<String, types::Error> {
        Ok(self.0.borrow_mut().prepare()?)
    }
}

/// Makes the component of a [`Writer`]. Once in a crate of type `cdylib`.
#[macro_export]
macro_rules! export_writer {
    ($writer:ty) => {
        const _: () = {
            type Exported = $crate::writer::Component<$writer>;
    $crate::bindings::writer::export!(Exported with_types_in $crate::bindings::writer);
        };
    };
}
