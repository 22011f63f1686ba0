//! Readers: the trait, and what makes a component of it.

use std::cell::RefCell;
use std::marker::PhantomData;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::de::DeserializeOwned;

use crate::arrow::{batch_from_host, batch_to_host, schema_to_host};
use crate::bindings::capabilities::dativo::connector::data;
use crate::bindings::capabilities::dativo::connector::types;
use crate::bindings::reader::exports::dativo::connector::reader as wit;
use crate::error::{Error, Result};

pub use wit::{Column, Dataset};

/// A source of rows. One instance plans, and one reads each split.
pub trait Reader: Sized + 'static {
    /// What the connector is called in messages.
    const NAME: &'static str;
    /// Of the component: usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// The `config` block of the job.
    type Config: DeserializeOwned;

    /// JSON Schema of the `config` block. The host checks the job against it before `open`, and
    /// derives grants from its keyword `x-dativo-grants`.
    fn config_schema() -> String;

    /// What the source holds, for a user who looks for something to read. The config need not name
    /// what to read. By default a source cannot be looked through.
    fn discover(config: Self::Config) -> Result<Vec<Dataset>> {
        let _ = config;
        Err(
            Error::rejected(format!("reader `{}` has nothing to discover", Self::NAME)).hint(
                format!(
                    "see what its config takes with `dativo-wasm inspect {}`",
                    Self::NAME
                ),
            ),
        )
    }

    /// Makes a reader. `state` is what the last committed run returned from [`Reader::state`].
    fn open(config: Self::Config, state: Option<String>) -> Result<Self>;

    /// The schema of every batch.
    fn schema(&self) -> Result<SchemaRef>;

    /// Whether the source answers, found out as cheaply as can be, with the schema as far as that
    /// tells it. By default the same as [`schema`](Reader::schema).
    fn check(&self) -> Result<SchemaRef> {
        self.schema()
    }

    /// Up to `max` pieces that can be read side by side, as text that another instance understands.
    /// One by default. None means that there is nothing new to read.
    fn splits(&self, max: u32) -> Result<Vec<String>> {
        let _ = max;
        Ok(vec![String::new()])
    }

    /// Reads one piece.
    fn read(&self, split: &str) -> Result<Box<dyn Batches>>;

    /// The state that a run which read all pieces commits; `ends` come from [`Batches::end`], in the
    /// order of the splits. None by default: every run reads everything.
    fn state(&self, ends: Vec<String>) -> Result<Option<String>> {
        let _ = ends;
        Ok(None)
    }
}

/// One piece being read.
pub trait Batches {
    /// The next batch, of 1 to `max_rows` rows; none at the end. A longer one is handed on in parts.
    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>>;

    /// The same as a handle of the host, which is what the component calls. By default it copies what
    /// [`next`](Batches::next) yields; where the host has the rows already, handing on its handle
    /// costs nothing.
    fn next_from_host(&mut self, max_rows: usize) -> Result<Option<data::RecordBatch>> {
        self.next(max_rows)?.as_ref().map(batch_to_host).transpose()
    }

    /// Share of the piece that was read, from 0 to 1, where it is known.
    fn progress(&self) -> Option<f32> {
        None
    }

    /// What this piece saw, for [`Reader::state`]. Called once, after the last batch.
    fn end(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

/// The component made of a reader. Named by [`export_reader!`](crate::export_reader).
pub struct Component<R>(PhantomData<R>);

impl<R: Reader> wit::Guest for Component<R> {
    type Reader = Open<R>;
    type Batches = Piece;

    fn describe() -> types::Description {
        types::Description {
            name: R::NAME.to_owned(),
            version: R::VERSION.to_owned(),
            config_schema: R::config_schema(),
        }
    }

    fn discover(config: String) -> Result<Vec<Dataset>, types::Error> {
        Ok(R::discover(parse_config(&config)?)?)
    }
}

/// An open reader, as the component exports it.
pub struct Open<R>(R);

impl<R: Reader> wit::GuestReader for Open<R> {
    fn open(config: String, state: Option<String>) -> Result<wit::Reader, types::Error> {
        let config = parse_config(&config)?;
        Ok(wit::Reader::new(Self(R::open(config, state)?)))
    }

    fn schema(&self) -> Result<data::Schema, types::Error> {
        Ok(schema_to_host(&*self.0.schema()?)?)
    }

    fn check(&self) -> Result<data::Schema, types::Error> {
        Ok(schema_to_host(&*self.0.check()?)?)
    }

    fn splits(&self, max: u32) -> Result<Vec<String>, types::Error> {
        Ok(self.0.splits(max)?)
    }

    fn read(&self, split: String) -> Result<wit::Batches, types::Error> {
        let batches = self.0.read(&split)?;
        Ok(wit::Batches::new(Piece(RefCell::new(Cut {
            batches,
            rest: None,
        }))))
    }

    fn state(&self, ends: Vec<String>) -> Result<Option<String>, types::Error> {
        Ok(self.0.state(ends)?)
    }
}

/// A piece, as the component exports it.
pub struct Piece(RefCell<Cut>);

/// Batches, and what the host had no room for of the last one.
struct Cut {
    batches: Box<dyn Batches>,
    rest: Option<RecordBatch>,
}

impl Cut {
    fn next(&mut self, max_rows: usize) -> Result<Option<data::RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.batches.next_from_host(max_rows)? {
                Some(batch) if batch.rows() > max_rows as u64 => batch_from_host(&batch)?,
                fits => return Ok(fits),
            },
        };
        let (first, rest) = cut(batch, max_rows);
        self.rest = rest;
        batch_to_host(&first).map(Some)
    }
}

/// The first `max_rows` rows, and the others where there are more.
fn cut(batch: RecordBatch, max_rows: usize) -> (RecordBatch, Option<RecordBatch>) {
    if batch.num_rows() <= max_rows {
        return (batch, None);
    }
    let rest = batch.slice(max_rows, batch.num_rows() - max_rows);
    (batch.slice(0, max_rows), Some(rest))
}

impl wit::GuestBatches for Piece {
    fn next(&self, max_rows: u32) -> Result<Option<data::RecordBatch>, types::Error> {
        Ok(self.0.borrow_mut().next(max_rows as usize)?)
    }

    fn progress(&self) -> Option<f32> {
        self.0.borrow().batches.progress()
    }

    fn end(&self) -> Result<String, types::Error> {
        Ok(self.0.borrow_mut().batches.end()?)
    }
}

/// The config as the connector's type. The host has checked it against the schema, so a mismatch is
/// between the schema and the type.
pub(crate) fn parse_config<C: DeserializeOwned>(config: &str) -> Result<C> {
    serde_json::from_str(config)
        .map_err(|error| Error::invalid_config(format!("the config cannot be read: {error}")))
}

/// Makes the component of a [`Reader`]. Once in a crate of type `cdylib`.
#[macro_export]
macro_rules! export_reader {
    ($reader:ty) => {
        const _: () = {
            type Exported = $crate::reader::Component<$reader>;
    $crate::bindings::reader::export!(Exported with_types_in $crate::bindings::reader);
        };
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_batch_longer_than_asked_for_is_handed_on_in_parts() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let (mut at, mut rest) = (0, Some(batch.clone()));
        for (max, rows) in [(3, 3), (2, 2), (5, 2)] {
            let (first, others) = cut(rest.unwrap(), max);
            assert_eq!(first, batch.slice(at, rows));
            (at, rest) = (at + rows, others);
        }
        assert_eq!(rest, None);
    }
}
