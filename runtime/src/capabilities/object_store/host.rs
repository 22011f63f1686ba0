//! The `object-store` interface: check the grant, do it on a thread that may block, translate.

use std::sync::{Arc, PoisonError};

use arrow::buffer::Buffer;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use wasmtime::component::Resource;

use super::Access as Granted;
use super::backends::{self, Attributes, ByteStream, MAX_GET_BYTES, Owner, Upload, Verb};
use super::grant::{Access, Place};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::State;
use crate::component::bindings::imports::object_store as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::HostBlob;
use crate::pipeline::crash;
use crate::staging::Portion;

/// What an upload costs the host beside its handle: a descriptor and buffers.
const UPLOAD_BYTES: u64 = 256 << 10;

/// Longest block that is read ahead. It is memory of the host for each open stream.
const MAX_AHEAD_BYTES: u32 = 1 << 20;

/// An upload behind a handle.
pub struct HostUpload {
    /// None once it is staged.
    upload: Arc<Mutex<Option<Upload>>>,
    /// Memory of parts on their way that was counted for it.
    counted_bytes: u64,
    staged: Portion,
}

/// A stream behind a handle.
pub struct HostByteStream {
    stream: Arc<std::sync::Mutex<ByteStream>>,
    /// The block after the last one, being read while the guest is busy with that.
    ahead: Option<JoinHandle<Result<Option<Vec<u8>>>>>,
    /// Bytes that were read and that the guest had no room for.
    rest: Vec<u8>,
    memory_bytes: u64,
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    fn store(&self) -> wasmtime::Result<Arc<Granted>> {
        let granted = self.granted.object_store.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`object-store` is not granted"))
    }

    fn object(&self, access: Access, name: &str) -> wasmtime::Result<Result<Place>> {
        Ok(self.store()?.grant.object(access, name))
    }

    fn folder(&self, access: Access, prefix: &str) -> wasmtime::Result<Result<Place>> {
        Ok(self.store()?.grant.folder(access, prefix))
    }

    async fn each(&mut self, verb: Verb, tokens: Vec<String>, done: fn()) -> Answer<()> {
        let store = self.store()?;
        let all = backends::each(verb, &store.aws, &store.grant, tokens, done).await;
        Ok(all.map_err(WitError::from))
    }
}

impl State {
    /// Counts what the upload holds now instead of what it held before. What there is no room for is sent first.
    async fn recount_upload(&mut self, handle: &Resource<HostUpload>) -> Answer<()> {
        let held = self.get_mut(handle)?;
        let before = std::mem::take(&mut held.counted_bytes);
        let upload = held.upload.clone();
        self.budget.give(before);
        let mut upload = upload.lock().await;
        let Some(upload) = upload.as_mut() else {
            return Ok(Ok(()));
        };
        if upload.held_bytes() > self.budget.left()
            && let Err(failure) = upload.settle().await
        {
            return Ok(Err(failure.into()));
        }
        let now = upload.held_bytes();
        let counted = self.budget.take(now);
        if counted.is_ok() {
            self.get_mut(handle)?.counted_bytes = now;
        }
        Ok(counted)
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
    async fn create(
        &mut self,
        url: String,
        run: String,
        attributes: wit::Attributes,
    ) -> Answer<Resource<HostUpload>> {
        let place = granted!(self.object(Access::Write, &url));
        let owner = Owner {
            tenant: self.scope.tenant.clone(),
            job: self.scope.job.clone(),
            run,
        };
        let attributes = Attributes {
            metadata: attributes.metadata,
            encrypted_at_rest: attributes.encrypted_at_rest,
        };
        let store = self.store()?;
        let creating = store.creating.clone().read_owned().await;
        let aws = store.aws.clone();
        // To its end, also where the call is given up: a request that nobody waits for would be done after the run was tidied up.
        let created = tokio::spawn(async move {
            let created = Upload::create(&aws, place, owner, attributes).await;
            drop(creating);
            created
        });
        let created = created
            .await
            .unwrap_or_else(|error| Err(Failure::new(ErrorKind::Internal, error.to_string())));
        Ok(match created {
            Ok(upload) => {
                let held = HostUpload {
                    upload: Arc::new(Mutex::new(Some(upload))),
                    counted_bytes: 0,
                    staged: store.staged.portion(),
                };
                self.hold(held, UPLOAD_BYTES)
            }
            Err(failure) => Err(failure.into()),
        })
    }

    async fn put(
        &mut self,
        handle: Resource<HostUpload>,
        part: u32,
        bytes: Vec<Resource<HostBlob>>,
    ) -> Answer<()> {
        let upload = self.get(&handle)?.upload.clone();
        let chunks = bytes
            .iter()
            .map(|blob| self.blob(blob))
            .collect::<Result<Vec<Buffer>, _>>()?;
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if let Err(failure) = self.get_mut(&handle)?.staged.add(length) {
            return Ok(Err(failure.into()));
        }
        if let Err(failure) = Upload::put(upload, part, chunks).await {
            return Ok(Err(failure.into()));
        }
        crash::point("part-put");
        self.recount_upload(&handle).await
    }

    async fn stage(&mut self, handle: Resource<HostUpload>) -> Answer<wit::Staged> {
        let held = self.get(&handle)?.upload.lock().await.take();
        let staged = match held {
            Some(upload) => upload.stage().await,
            None => Err(backends::already_staged()),
        };
        let held = self.get_mut(&handle)?;
        if staged.is_ok() {
            held.staged.keep();
        }
        let counted = std::mem::take(&mut held.counted_bytes);
        self.budget.give(counted);
        Ok(staged.map_err(WitError::from).map(|staged| {
            crash::point("staged");
            wit::Staged {
                token: staged.token,
                url: staged.url,
                bytes: staged.bytes,
                sha256: staged.sha256,
            }
        }))
    }

    async fn drop(&mut self, handle: Resource<HostUpload>) -> wasmtime::Result<()> {
        self.release(handle, |held| UPLOAD_BYTES + held.counted_bytes)
            .map(drop)
    }
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
        let aws = self.store()?.aws.clone();
        let opened = blocking(move || ByteStream::open(&aws, &place, offset, &compression)).await;
        Ok(match opened {
            Ok(stream) => {
                let memory_bytes = stream.memory_bytes() + u64::from(MAX_AHEAD_BYTES);
                let held = HostByteStream {
                    stream: Arc::new(std::sync::Mutex::new(stream)),
                    ahead: None,
                    rest: Vec::new(),
                    memory_bytes,
                };
                self.hold(held, memory_bytes)
            }
            Err(failure) => Err(failure.into()),
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
    async fn publish(&mut self, tokens: Vec<String>) -> Answer<()> {
        self.each(Verb::Publish, tokens, || crash::point("published"))
            .await
    }

    async fn check_staged(&mut self, tokens: Vec<String>) -> Answer<()> {
        self.each(Verb::CheckStaged, tokens, || ()).await
    }

    async fn discard(&mut self, tokens: Vec<String>) -> Answer<()> {
        self.each(Verb::Discard, tokens, || crash::point("discarded"))
            .await
    }

    async fn list_staged(&mut self, prefix: String, run: String) -> Answer<Vec<String>> {
        let place = granted!(self.folder(Access::Write, &prefix));
        let store = self.store()?;
        // What is being created is there to be found.
        let _none = store.creating.write().await;
        let tokens = backends::list_staged(&store.aws, &store.grant, place, run).await;
        Ok(tokens.map_err(WitError::from))
    }

    async fn get(&mut self, url: String, offset: u64, length: u32) -> Answer<Resource<HostBlob>> {
        let place = granted!(self.object(Access::Read, &url));
        let length = length.min(MAX_GET_BYTES);
        let store = self.store()?;
        Ok(
            match backends::get(&store.aws, place, offset, length).await {
                Ok(bytes) => self.hold_blob(Buffer::from_vec(bytes)),
                Err(failure) => Err(failure.into()),
            },
        )
    }

    async fn put_new(&mut self, url: String, bytes: Resource<HostBlob>) -> Answer<()> {
        let place = granted!(self.object(Access::Write, &url));
        let bytes = self.blob(&bytes)?;
        let store = self.store()?;
        crash::point("before-object");
        let put = backends::put_new(&store.aws, place, bytes).await;
        Ok(put
            .map_err(WitError::from)
            .map(|()| crash::point("object-created")))
    }

    async fn head(&mut self, url: String) -> Answer<wit::Object> {
        let place = granted!(self.object(Access::Read, &url));
        let store = self.store()?;
        let found = backends::head(&store.aws, place).await;
        Ok(found.map(object).map_err(WitError::from))
    }

    async fn list(&mut self, prefix: String) -> Answer<Vec<wit::Object>> {
        let place = granted!(self.folder(Access::Read, &prefix));
        let store = self.store()?;
        let found = backends::list(&store.aws, &store.grant, place).await;
        Ok(found
            .map(|found| found.into_iter().map(object).collect())
            .map_err(WitError::from))
    }
}

fn object(found: backends::Object) -> wit::Object {
    wit::Object {
        url: found.url,
        size: found.size_bytes,
        modified_ms: found.modified_ms,
    }
}
