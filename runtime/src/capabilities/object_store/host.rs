//! The `object-store` interface: check the grant, do it on a thread that may block, translate.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::buffer::Buffer;
use tokio::task::JoinHandle;
use wasmtime::component::Resource;

use super::Access as Granted;
use super::backends::local::{self, ByteStream, Upload};
use super::grant::{Access, Place};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::State;
use crate::component::bindings::imports::object_store as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::HostBlob;
use crate::pipeline::crash;

/// The most bytes that `get` returns.
const MAX_GET_BYTES: u32 = 64 << 20;

/// What an upload costs the host beside its handle: a descriptor and buffers.
const UPLOAD_BYTES: u64 = 256 << 10;

/// Longest block that is read ahead. It is memory of the host for each open stream.
const MAX_AHEAD_BYTES: u32 = 1 << 20;

/// An upload behind a handle; none once it is staged.
pub struct HostUpload(Arc<Mutex<Option<Upload>>>);

/// A stream behind a handle.
pub struct HostByteStream {
    stream: Arc<Mutex<ByteStream>>,
    /// The block after the last one, being read while the guest is busy with that.
    ahead: Option<JoinHandle<Result<Option<Vec<u8>>>>>,
    /// Bytes that were read and that the guest had no room for.
    rest: Vec<u8>,
    memory_bytes: u64,
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

/// Runs file I/O where it does not hold up other instances.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T, WitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(WitError::from),
        Err(error) => Err(Failure::new(ErrorKind::Internal, error.to_string()).into()),
    }
}

impl State {
    fn store(&self) -> wasmtime::Result<Arc<Granted>> {
        let granted = self.granted.object_store.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`object-store` is not granted"))
    }

    fn object(&self, access: Access, name: &str) -> wasmtime::Result<Result<Place>> {
        Ok(self.store()?.0.object(access, name))
    }

    fn folder(&self, access: Access, prefix: &str) -> wasmtime::Result<Result<Place>> {
        Ok(self.store()?.0.folder(access, prefix))
    }
}

/// Returns a refusal to the guest.
macro_rules! granted {
    ($checked:expr) => {
        match $checked? {
            Ok(place) => place,
            Err(failure) => return Ok(Err(failure.into())),
        }
    };
}

impl wit::HostUpload for State {
    async fn create(&mut self, url: String, run: String) -> Answer<Resource<HostUpload>> {
        let place = granted!(self.object(Access::Write, &url));
        Ok(match blocking(move || Upload::create(&place, &run)).await {
            Ok(upload) => self.hold(HostUpload(Arc::new(Mutex::new(Some(upload)))), UPLOAD_BYTES),
            Err(error) => Err(error),
        })
    }

    async fn put(
        &mut self,
        handle: Resource<HostUpload>,
        part: u32,
        bytes: Vec<Resource<HostBlob>>,
    ) -> Answer<()> {
        let upload = self.get(&handle)?.0.clone();
        let chunks = bytes
            .iter()
            .map(|blob| self.blob(blob))
            .collect::<Result<Vec<Buffer>, _>>()?;
        Ok(blocking(move || {
            let mut upload = upload.lock().unwrap_or_else(PoisonError::into_inner);
            let upload = upload.as_mut().ok_or_else(already_staged)?;
            let chunks: Vec<&[u8]> = chunks.iter().map(Buffer::as_slice).collect();
            upload.put(part, &chunks)?;
            crash::point("part-put");
            Ok(())
        })
        .await)
    }

    async fn stage(&mut self, handle: Resource<HostUpload>) -> Answer<wit::Staged> {
        let upload = self.get(&handle)?.0.clone();
        Ok(blocking(move || {
            let upload = upload.lock().unwrap_or_else(PoisonError::into_inner).take();
            let staged = upload.ok_or_else(already_staged)?.stage()?;
            crash::point("staged");
            Ok(wit::Staged {
                token: staged.token,
                url: staged.url,
                bytes: staged.bytes,
                sha256: staged.sha256,
            })
        })
        .await)
    }

    async fn drop(&mut self, handle: Resource<HostUpload>) -> wasmtime::Result<()> {
        self.release(handle, |_| UPLOAD_BYTES).map(drop)
    }
}

fn already_staged() -> Failure {
    Failure::new(ErrorKind::Rejected, "the upload is staged already")
}

impl HostByteStream {
    async fn next(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        if max > 0 && !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Ok(Some(self.cut(rest, max)));
        }
        let reading = self.ahead.take().unwrap_or_else(|| self.read(max));
        let read = reading
            .await
            .unwrap_or_else(|error| Err(Failure::new(ErrorKind::Internal, error.to_string())))?;
        let Some(block) = read else {
            return Ok(None);
        };
        let block = self.cut(block, max);
        if self.rest.is_empty() && max <= MAX_AHEAD_BYTES {
            self.ahead = Some(self.read(max));
        }
        Ok(Some(block))
    }

    fn read(&self, max: u32) -> JoinHandle<Result<Option<Vec<u8>>>> {
        let stream = self.stream.clone();
        tokio::task::spawn_blocking(move || {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.next(max)
        })
    }

    /// The first `max` bytes of `block`; the others are kept.
    fn cut(&mut self, mut block: Vec<u8>, max: u32) -> Vec<u8> {
        let length = usize::try_from(max).unwrap_or(usize::MAX).min(block.len());
        self.rest = block.split_off(length);
        block
    }
}

impl wit::HostByteStream for State {
    async fn open(
        &mut self,
        url: String,
        offset: u64,
        compression: String,
    ) -> Answer<Resource<HostByteStream>> {
        let place = granted!(self.object(Access::Read, &url));
        let opened = blocking(move || ByteStream::open(&place, offset, &compression)).await;
        Ok(match opened {
            Ok(stream) => {
                let memory_bytes = stream.memory_bytes() + u64::from(MAX_AHEAD_BYTES);
                let held = HostByteStream {
                    stream: Arc::new(Mutex::new(stream)),
                    ahead: None,
                    rest: Vec::new(),
                    memory_bytes,
                };
                self.hold(held, memory_bytes)
            }
            Err(error) => Err(error),
        })
    }

    async fn next(
        &mut self,
        handle: Resource<HostByteStream>,
        max: u32,
    ) -> Answer<Option<Vec<u8>>> {
        let held = self.get_mut(&handle)?;
        Ok(held.next(max).await.map_err(WitError::from))
    }

    async fn drop(&mut self, handle: Resource<HostByteStream>) -> wasmtime::Result<()> {
        self.release(handle, |held| held.memory_bytes).map(drop)
    }
}

impl wit::Host for State {
    async fn publish(&mut self, token: String) -> Answer<()> {
        let store = self.store()?;
        Ok(blocking(move || {
            local::publish(&store.0, &token)?;
            crash::point("published");
            Ok(())
        })
        .await)
    }

    async fn discard(&mut self, token: String) -> Answer<()> {
        let store = self.store()?;
        Ok(blocking(move || {
            local::discard(&store.0, &token)?;
            crash::point("discarded");
            Ok(())
        })
        .await)
    }

    async fn list_staged(&mut self, prefix: String, run: String) -> Answer<Vec<String>> {
        let place = granted!(self.folder(Access::Write, &prefix));
        let store = self.store()?;
        Ok(blocking(move || local::list_staged(&store.0, &place, &run)).await)
    }

    async fn get(&mut self, url: String, offset: u64, length: u32) -> Answer<Resource<HostBlob>> {
        let place = granted!(self.object(Access::Read, &url));
        let length = length.min(MAX_GET_BYTES);
        Ok(
            match blocking(move || local::get(&place, offset, length)).await {
                Ok(bytes) => self.hold_blob(Buffer::from_vec(bytes)),
                Err(error) => Err(error),
            },
        )
    }

    async fn put_new(&mut self, url: String, bytes: Resource<HostBlob>) -> Answer<()> {
        let place = granted!(self.object(Access::Write, &url));
        let bytes = self.blob(&bytes)?;
        Ok(blocking(move || {
            crash::point("before-object");
            local::put_new(&place, &bytes)?;
            crash::point("object-created");
            Ok(())
        })
        .await)
    }

    async fn head(&mut self, url: String) -> Answer<wit::Object> {
        let place = granted!(self.object(Access::Read, &url));
        Ok(blocking(move || local::head(&place).map(object)).await)
    }

    async fn list(&mut self, prefix: String) -> Answer<Vec<wit::Object>> {
        let place = granted!(self.folder(Access::Read, &prefix));
        let store = self.store()?;
        Ok(blocking(move || {
            let found = local::list(&store.0, &place)?;
            Ok(found.into_iter().map(object).collect())
        })
        .await)
    }
}

fn object(found: local::Object) -> wit::Object {
    wit::Object {
        url: found.url,
        size: found.size_bytes,
        modified_ms: found.modified_ms,
    }
}
