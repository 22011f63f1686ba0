//! The `json` interface: decode, count the memory.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::decode::{self, Columns, Options, Refusal, RefusalKind, Tape, Value};
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::component::State;
use crate::component::bindings::imports::json as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBatch, HostBlob, HostSchema};

/// Longest value that `get` hands over, in bytes.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// A parsed body behind a handle.
pub struct HostDocument(Tape);

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    /// Asks the array at `pointer`.
    fn records<T>(
        &self,
        handle: &Resource<HostDocument>,
        pointer: &str,
        ask: impl FnOnce(Value<'_>) -> decode::Result<T>,
    ) -> Answer<T> {
        let tape = &self.get(handle)?.0;
        let document = tape.document();
        let answer = decode::array(document.root(), pointer).and_then(ask);
        Ok(answer.map_err(refused))
    }

    /// The value at `pointer`, if there is one.
    fn value<T>(
        &self,
        handle: &Resource<HostDocument>,
        pointer: &str,
        ask: impl FnOnce(Value<'_>) -> decode::Result<T>,
    ) -> Answer<Option<T>> {
        let tape = &self.get(handle)?.0;
        let document = tape.document();
        let found = decode::find(document.root(), pointer);
        let answer = found.and_then(|found| found.map(ask).transpose());
        Ok(answer.map_err(refused))
    }
}

impl wit::Host for State {
    async fn schema_of(
        &mut self,
        columns: String,
        constants: Vec<String>,
    ) -> Answer<Resource<HostSchema>> {
        let schema = Columns::parse(&columns)
            .and_then(|columns| decode::schema(&columns, constants.iter().map(String::as_str)));
        Ok(match schema {
            Ok(schema) => self.hold_schema(Arc::new(schema)),
            Err(refusal) => Err(refused(refusal)),
        })
    }
}

impl wit::HostDocument for State {
    async fn parse(
        &mut self,
        body: Resource<HostBlob>,
        has_lines: bool,
    ) -> Answer<Resource<HostDocument>> {
        let body = self.blob(&body)?;
        Ok(match Tape::parse(&body, has_lines, self.budget.left()) {
            Ok(tape) => {
                let bytes = tape.memory_bytes();
                self.hold(HostDocument(tape), bytes)
            }
            Err(refusal) => Err(refused(refusal)),
        })
    }

    async fn get(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
    ) -> Answer<Option<String>> {
        self.value(&handle, &pointer, |value| {
            if value.raw_len() > MAX_VALUE_BYTES {
                let problem =
                    format!("the value at `{pointer}` is longer than {MAX_VALUE_BYTES} bytes");
                return Err(Refusal::limit(problem));
            }
            Ok(value.raw().into_owned())
        })
    }

    async fn length(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
    ) -> wasmtime::Result<Option<u64>> {
        let length = self.records(&handle, &pointer, |records| Ok(u64::from(records.count())))?;
        Ok(length.ok())
    }

    async fn infer(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
        known: Option<String>,
    ) -> Answer<String> {
        self.records(&handle, &pointer, |records| {
            let known = known.as_deref().map(Columns::parse).transpose()?;
            let columns = decode::infer(records, known.as_ref())?;
            Ok(columns.to_string())
        })
    }

    async fn rows(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
        columns: String,
        options: String,
    ) -> Answer<Resource<HostBatch>> {
        let left = self.budget.left();
        let batch = self.records(&handle, &pointer, |records| {
            let (columns, options) = (Columns::parse(&columns)?, Options::parse(&options)?);
            decode::rows(records, &columns, &options, left)
        })?;
        Ok(match batch {
            Ok(batch) => self.hold_batch(batch),
            Err(error) => Err(error),
        })
    }

    async fn values(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
        field: String,
    ) -> Answer<Vec<String>> {
        self.records(&handle, &pointer, |records| decode::values(records, &field))
    }

    async fn greatest(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
        field: String,
        so_far: Option<String>,
    ) -> Answer<Option<String>> {
        self.records(&handle, &pointer, |records| {
            decode::greatest(records, &field, so_far.as_deref())
        })
    }

    async fn digest(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
    ) -> wasmtime::Result<Option<String>> {
        let digest = self.value(&handle, &pointer, |value| Ok(decode::digest(value)))?;
        Ok(digest.ok().flatten())
    }

    async fn digests(
        &mut self,
        handle: Resource<HostDocument>,
        pointer: String,
        equal: Option<(String, String)>,
    ) -> Answer<Vec<String>> {
        self.records(&handle, &pointer, |records| {
            let equal = equal
                .as_ref()
                .map(|(field, value)| (field.as_str(), value.as_str()));
            decode::digests(records, equal)
        })
    }

    async fn drop(&mut self, handle: Resource<HostDocument>) -> wasmtime::Result<()> {
        self.release(handle, |held| held.0.memory_bytes()).map(drop)
    }
}

fn refused(refusal: Refusal) -> WitError {
    let kind = match refusal.kind {
        RefusalKind::Config => ErrorKind::InvalidConfig,
        RefusalKind::Data => ErrorKind::InvalidData,
        RefusalKind::Limit => ErrorKind::LimitExceeded,
    };
    Failure::new(kind, refusal.message)
        .with_hint(refusal.hint)
        .into()
}
