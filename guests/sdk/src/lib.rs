//! Write connectors for dativo-wasm.
//!
//! A connector is a WebAssembly component that runs in a sandbox: it decides what to read, or where
//! to write, and reaches nothing but what its job grants. This crate makes one of a struct and a few
//! methods.
//!
//! # A reader
//!
//! This is a whole reader: it counts.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{Int64Array, RecordBatch};
//! use arrow_schema::{DataType, Field, Schema, SchemaRef};
//! use dativo_connector::{Batches, Error, Reader, Result};
//!
//! /// The `config` block of a job: `config: { to: 1000 }`.
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     to: i64,
//! }
//!
//! struct Counter {
//!     to: i64,
//! }
//!
//! impl Reader for Counter {
//!     const NAME: &'static str = "counter";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     type Config = Config;
//!
//!     // The host checks the job against this before `open`, and shows it in `inspect`.
//!     fn config_schema() -> String {
//!         r#"{ "type": "object", "required": ["to"], "additionalProperties": false,
//!              "properties": { "to": { "type": "integer", "minimum": 0 } } }"#
//!             .to_owned()
//!     }
//!
//!     fn open(config: Config, _state: Option<String>) -> Result<Self> {
//!         Ok(Self { to: config.to })
//!     }
//!
//!     fn schema(&self) -> Result<SchemaRef> {
//!         Ok(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])))
//!     }
//!
//!     fn read(&self, _split: &str) -> Result<Box<dyn Batches>> {
//!         Ok(Box::new(Count { next: 0, to: self.to, schema: self.schema()? }))
//!     }
//! }
//!
//! struct Count {
//!     next: i64,
//!     to: i64,
//!     schema: SchemaRef,
//! }
//!
//! impl Batches for Count {
//!     fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
//!         let end = self.to.min(self.next + max_rows as i64);
//!         if self.next == end {
//!             return Ok(None);
//!         }
//!         let numbers: Int64Array = (self.next..end).collect::<Vec<_>>().into();
//!         self.next = end;
//!         let batch = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(numbers)]);
//!         batch.map(Some).map_err(|error| Error::internal(error.to_string()))
//!     }
//! }
//!
//! // What makes it a component.
//! dativo_connector::export_reader!(Counter);
//! # let counter = Counter::open(Config { to: 5 }, None)?;
//! # let mut batches = counter.read("")?;
//! # assert_eq!(batches.next(3)?.map(|batch| batch.num_rows()), Some(3));
//! # assert_eq!(batches.next(3)?.map(|batch| batch.num_rows()), Some(2));
//! # assert!(batches.next(3)?.is_none());
//! # Ok::<(), Error>(())
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib"]`, and
//! `cargo build --release --target wasm32-wasip2` makes the component. Put `counter.wasm` into the
//! plugins directory and name it in a job:
//!
//! ```yaml
//! tenant_id: acme
//! source: { reader: { type: custom, implementation: counter, config: { to: 1000 } } }
//! target: { writer: { type: custom, implementation: parquet, config: { path: out } } }
//! ```
//!
//! # What comes next
//!
//! - **Splits.** Return several texts from [`Reader::splits`]; each is read by an instance of its own.
//! - **State.** Return text from [`Batches::end`], join it in [`Reader::state`], and get it back in
//!   [`Reader::open`] of the next run. The host commits it with the data: a run that fails leaves it
//!   as it was.
//! - **Storage.** [`object_store`] reads and writes what the job grants; [`ByteReader`] makes a
//!   [`std::io::Read`] of an object. Mark the config key that names the target, and the job's own value
//!   becomes the grant:
//!   `"x-dativo-grants": [{"capability": "object-store", "access": "read", "target": "{file_path}"}]`.
//! - **Sealed files.** [`kms`] seals bytes under a master key that the job grants, before they go to
//!   storage; no key enters the component.
//! - **Tables.** [`iceberg`] writes the data files of an Iceberg table and commits them in one snapshot.
//! - **Databases.** [`postgres`] reads rows straight into memory of the host;
//!   [`Batches::next_from_host`] hands them on without a copy, and [`Reader::discover`] says what
//!   there is to read.
//! - **Writers** implement [`Writer`]: stage in `write` and `prepare`, publish in `commit`.
//! - **Errors** go to the user as they are: say what happened in [`Error::new`] and what to do in
//!   [`Error::hint`]. A panic ends the instance; its message is shown as the cause.

#![warn(missing_docs)]

pub mod arrow;
#[doc(hidden)]
pub mod bindings;
mod error;
#[doc(hidden)]
pub mod reader;
mod stream;
#[doc(hidden)]
pub mod writer;

pub use bindings::capabilities::dativo::connector::data::{Blob, Partition, RecordBatch, Schema};
pub use bindings::capabilities::dativo::connector::{
    http, iceberg, json, kms, log, object_store, parquet, postgres,
};
pub use error::{Error, ErrorKind, Result};
pub use reader::{Batches, Column, Dataset, Reader};
pub use stream::ByteReader;
pub use writer::{CommitRecord, ComponentRef, Output, Receipt, Run, Writer};
