//! The `json` interface: check, decode, count the memory.

use wasmtime::component::Resource;

use crate::component::State;
use crate::component::bindings::imports::json as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBatch, HostBlob, HostSchema};

/// A parsed body behind a handle.
pub struct HostDocument;

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

fn missing<T>() -> Answer<T> {
    Err(wasmtime::Error::msg("`json` is not built yet"))
}

impl wit::Host for State {
    async fn schema_of(&mut self, _: String, _: Vec<String>) -> Answer<Resource<HostSchema>> {
        missing()
    }
}

impl wit::HostDocument for State {
    async fn parse(&mut self, _: Resource<HostBlob>, _: bool) -> Answer<Resource<HostDocument>> {
        missing()
    }

    async fn get(&mut self, _: Resource<HostDocument>, _: String) -> Answer<Option<String>> {
        missing()
    }

    async fn length(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
    ) -> wasmtime::Result<Option<u64>> {
        Err(wasmtime::Error::msg("`json` is not built yet"))
    }

    async fn infer(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
        _: Option<String>,
    ) -> Answer<String> {
        missing()
    }

    async fn rows(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
        _: String,
        _: String,
    ) -> Answer<Resource<HostBatch>> {
        missing()
    }

    async fn values(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
        _: String,
    ) -> Answer<Vec<String>> {
        missing()
    }

    async fn greatest(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
        _: String,
        _: Option<String>,
    ) -> Answer<Option<String>> {
        missing()
    }

    async fn digest(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
    ) -> wasmtime::Result<Option<String>> {
        Err(wasmtime::Error::msg("`json` is not built yet"))
    }

    async fn digests(
        &mut self,
        _: Resource<HostDocument>,
        _: String,
        _: Option<(String, String)>,
    ) -> Answer<Vec<String>> {
        missing()
    }

    async fn drop(&mut self, handle: Resource<HostDocument>) -> wasmtime::Result<()> {
        self.release(handle, |_| 0).map(drop)
    }
}
