//! The `kms` interface: check the grant, seal on a thread that may be busy, count the memory.

use std::sync::Arc;

use arrow::buffer::Buffer;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use wasmtime::component::Resource;

use super::Access;
use super::grant::KeyId;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::parquet::{Encoder, Encryption, FileKey, HostEncoder};
use crate::component::State;
use crate::component::bindings::imports::kms as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBlob, HostSchema};
use crate::seal::{Context, v0, v1};

/// What a sealer takes in the host beside its handle, in bytes: less than a chunk, its head, and the states of ciphers.
const SEALER_BYTES: u64 = (1 << 20) + (64 << 10);

/// A file being sealed, behind a handle.
pub struct HostSealer {
    key_id: String,
    stage: Stage,
}

/// Which calls may follow.
enum Stage {
    V0(Box<v0::Sealer>),
    /// With the header, which is known from the start.
    V1(Box<v1::Sealer>, Vec<u8>),
    /// Of the head.
    Finished(Vec<u8>),
    /// The head was taken too.
    Over,
    /// An error came before, or the call did not end.
    Failed,
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl Stage {
    /// Adds what is ready to `out`.
    fn update(&mut self, plain: &[Buffer], out: &mut Vec<u8>) -> Result<()> {
        for bytes in plain {
            match self {
                Self::V0(sealer) => sealer.update(bytes, out)?,
                Self::V1(sealer, _) => sealer.update(bytes, out)?,
                _ => return Err(self.refusal("update")),
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<Self> {
        match self {
            Self::V0(sealer) => Ok(Self::Finished(sealer.finish())),
            Self::V1(sealer, header) => {
                sealer.finish(out)?;
                Ok(Self::Finished(header))
            }
            other => Err(other.refusal("finish")),
        }
    }

    /// Whether there is more to seal.
    fn is_open(&self) -> bool {
        matches!(self, Self::V0(_) | Self::V1(..))
    }

    /// Why `call` may not come now.
    fn refusal(&self, call: &str) -> Failure {
        let why = match self {
            Self::V0(_) | Self::V1(..) => "comes before `finish`",
            Self::Finished(_) => "comes after `finish`",
            Self::Over => "comes after `head`",
            Self::Failed => "comes after an error",
        };
        Failure::new(ErrorKind::Rejected, format!("`{call}` of a sealer {why}"))
            .hint("call `update` as often as there are bytes, then `finish`, then `head` once")
    }
}

impl State {
    fn keys(&self) -> wasmtime::Result<Arc<Access>> {
        let granted = self.granted.kms.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`kms` is not granted"))
    }

    async fn seal(
        &mut self,
        key_id: &str,
        format: wit::Format,
    ) -> wasmtime::Result<Result<HostSealer>> {
        let access = self.keys()?;
        let is_file = match access.grant.allows(key_id) {
            Ok(key) => matches!(key, KeyId::File(_)),
            Err(denied) => return Ok(Err(denied.failure(key_id))),
        };
        // Whom it is sealed for says the run, and never the guest.
        let (scope, service) = (&self.scope, &access.service);
        let context = match format {
            wit::Format::V0 => Ok(None),
            wit::Format::V1 => Context::of_run(&scope.tenant, &scope.job, &scope.run_id).map(Some),
        };
        let begin = async {
            let context = context?;
            let (key, name) = service.generate(key_id, context.as_ref()).await?;
            let stage = match context {
                None => Stage::V0(Box::new(v0::Sealer::new(key)?)),
                Some(context) => {
                    let (sealer, header) =
                        v1::Sealer::new(key, &context, v1::ChunkSize::default())?;
                    Stage::V1(Box::new(sealer), header)
                }
            };
            Ok(HostSealer {
                key_id: name,
                stage,
            })
        };
        let begun = begin.await;
        if is_file && begun.is_ok() && access.is_to_warn() {
            tracing::warn!(
                run_id = scope.run_id,
                tenant = scope.tenant,
                instance = scope.instance,
                key = key_id,
                "files are sealed under a key file, which is for development: whoever can read it can open them"
            );
        }
        Ok(begun)
    }

    /// Lets `work` take the stage of a sealer further, and hands over what it adds, which has at most `bytes`.
    async fn advance(
        &mut self,
        handle: &Resource<HostSealer>,
        bytes: u64,
        work: impl FnOnce(Stage, &mut Vec<u8>) -> Result<Stage> + Send + 'static,
    ) -> Answer<Resource<HostBlob>> {
        // A guest can name one blob many times: the room is taken before anything is made.
        if let Err(error) = self.budget.take(bytes) {
            return Ok(Err(error));
        }
        let stage = std::mem::replace(&mut self.get_mut(handle)?.stage, Stage::Failed);
        let room = usize::try_from(bytes).unwrap_or(usize::MAX);
        let sealing = tokio::task::spawn_blocking(move || {
            let mut out = Vec::with_capacity(room);
            let stage = work(stage, &mut out)?;
            out.shrink_to_fit();
            Ok((stage, out))
        });
        let sealed: Result<_> = sealing
            .await
            .unwrap_or_else(|error| Err(Failure::new(ErrorKind::Internal, error.to_string())));
        self.budget.give(bytes);
        Ok(match sealed {
            Ok((stage, out)) => {
                self.get_mut(handle)?.stage = stage;
                self.hold_blob(Buffer::from_vec(out))
            }
            Err(failure) => Err(failure.into()),
        })
    }
}

/// New data keys for one Parquet file, and the name of the footer's master key.
async fn parquet_keys(
    access: &Access,
    asked: wit::ParquetEncryption,
) -> Result<(Encryption, String)> {
    let generate = async |key_id: &str| {
        let granted = access.grant.allows(key_id);
        granted.map_err(|denied| denied.failure(key_id))?;
        let (key, name) = access.service.generate(key_id, None).await?;
        let (plain, wrapped) = key.into_parts();
        Ok::<_, Failure>(FileKey {
            plain,
            wrapped: BASE64.encode(wrapped),
            master: name,
        })
    };
    let footer = generate(&asked.footer_key_id).await?;
    let name = footer.master.clone();
    let mut columns = Vec::with_capacity(asked.columns.len());
    for group in &asked.columns {
        columns.push((group.columns.clone(), generate(&group.key_id).await?));
    }
    let others = match columns.is_empty() {
        true => None,
        false => Some(generate(&asked.footer_key_id).await?),
    };
    let encryption = Encryption {
        footer,
        columns,
        others,
        plaintext_footer: asked.plaintext_footer,
    };
    Ok((encryption, name))
}

/// The most that sealing adds for `bytes` of plaintext: what was held back, and a tag for each chunk.
fn sealed_bytes_at_most(bytes: u64) -> u64 {
    let chunk = v1::ChunkSize::default().bytes() as u64;
    let tags = 16 * (bytes / chunk + 2);
    bytes.saturating_add(chunk).saturating_add(tags)
}

impl wit::Host for State {
    async fn parquet_encoder(
        &mut self,
        schema: Resource<HostSchema>,
        options: String,
        encryption: wit::ParquetEncryption,
    ) -> Answer<(Resource<HostEncoder>, String)> {
        let schema = self.schema(&schema)?;
        let access = self.keys()?;
        let (encryption, key) = match parquet_keys(&access, encryption).await {
            Ok(keys) => keys,
            Err(failure) => return Ok(Err(failure.into())),
        };
        Ok(
            match Encoder::create_encrypted(schema, &options, encryption) {
                Ok(encoder) => self
                    .hold(HostEncoder::new(encoder), 0)
                    .map(|encoder| (encoder, key)),
                Err(failure) => Err(failure.into()),
            },
        )
    }
}

impl wit::HostSealer for State {
    async fn create(
        &mut self,
        key_id: String,
        format: wit::Format,
    ) -> Answer<Resource<HostSealer>> {
        Ok(match self.seal(&key_id, format).await? {
            Ok(sealer) => self.hold(sealer, SEALER_BYTES),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn key_id(&mut self, handle: Resource<HostSealer>) -> wasmtime::Result<String> {
        Ok(self.get(&handle)?.key_id.clone())
    }

    async fn update(
        &mut self,
        handle: Resource<HostSealer>,
        plain: Vec<Resource<HostBlob>>,
    ) -> Answer<Resource<HostBlob>> {
        let stage = &self.get(&handle)?.stage;
        if !stage.is_open() {
            return Ok(Err(stage.refusal("update").into()));
        }
        let plain = plain
            .iter()
            .map(|blob| self.blob(blob))
            .collect::<wasmtime::Result<Vec<Buffer>>>()?;
        let lengths = plain.iter().map(|bytes| bytes.len() as u64);
        let bytes = lengths.fold(0, u64::saturating_add);
        self.advance(
            &handle,
            sealed_bytes_at_most(bytes),
            move |mut stage, out| {
                stage.update(&plain, out)?;
                Ok(stage)
            },
        )
        .await
    }

    async fn finish(&mut self, handle: Resource<HostSealer>) -> Answer<Resource<HostBlob>> {
        let stage = &self.get(&handle)?.stage;
        if !stage.is_open() {
            return Ok(Err(stage.refusal("finish").into()));
        }
        self.advance(&handle, sealed_bytes_at_most(0), Stage::finish)
            .await
    }

    async fn head(&mut self, handle: Resource<HostSealer>) -> Answer<Resource<HostBlob>> {
        let stage = &mut self.get_mut(&handle)?.stage;
        Ok(match std::mem::replace(stage, Stage::Over) {
            Stage::Finished(head) => self.hold_blob(Buffer::from_vec(head)),
            other => {
                let failure = other.refusal("head");
                *stage = other;
                Err(failure.into())
            }
        })
    }

    async fn drop(&mut self, handle: Resource<HostSealer>) -> wasmtime::Result<()> {
        self.release(handle, |_| SEALER_BYTES).map(drop)
    }
}
