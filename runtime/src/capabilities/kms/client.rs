//! Data keys from a key service, or from a key file: new ones, and those that stand wrapped in a file. Knows no wasm.
//!
//! A plain key goes from the SDK's answer into memory that is overwritten. What the SDK needs to read that answer, it
//! gives back to the system as it was.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use zeroize::Zeroizing;

use super::grant::KeyId;
use super::key_file;
use super::refusal::{Asked, refusal};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::seal::{Context, DataKey, FreshKey, LocalKey};

/// Where data keys come from.
#[derive(Clone)]
pub struct KeyService(Arc<Aws>);

impl KeyService {
    pub fn new(aws: Arc<Aws>) -> Self {
        Self(aws)
    }

    /// A new data key under the master key `key_id`, for `context` alone, and the ARN of that master key. The context of a
    /// v1 file is whom it is sealed for; a v0 file has none.
    pub async fn generate(
        &self,
        key_id: &str,
        context: Option<&Context>,
    ) -> Result<(FreshKey, String)> {
        let key = match parse(key_id)? {
            KeyId::File(path) => {
                let context = context.cloned();
                let make = move || Ok(key_file::read(&path)?.generate(context.as_ref())?);
                return Ok((blocking(make).await?, key_id.to_owned()));
            }
            KeyId::Service(key) => key,
        };
        let request = self.0.kms().await.generate_data_key();
        let answer = request
            .key_id(&key)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(context.map(pairs))
            .send()
            .await
            .map_err(|error| failure(Asked::Generate, Some(&key), &error))?;
        let plain = plain(key_id, answer.plaintext)?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner);
        let fresh = FreshKey::new(plain, wrapped.unwrap_or_default())?;
        Ok((fresh, answer.key_id.unwrap_or(key)))
    }

    /// The data key that `wrapped` is. `key_id` names the master key that must have wrapped it; where it is left out, the
    /// service finds its own by what stands in `wrapped`. A key file is always named.
    pub async fn decrypt(
        &self,
        wrapped: &[u8],
        context: Option<&Context>,
        key_id: Option<&str>,
    ) -> Result<DataKey> {
        let is_local = LocalKey::has_wrapped(wrapped);
        let key = match (key_id.map(parse).transpose()?, is_local) {
            (Some(KeyId::File(path)), true) => {
                let (wrapped, context) = (wrapped.to_vec(), context.cloned());
                let open = move || Ok(key_file::read(&path)?.unwrap(&wrapped, context.as_ref())?);
                return blocking(open).await;
            }
            (Some(KeyId::File(_)), false) => {
                let message =
                    "the key of the file was wrapped by a key service and not with a key file";
                return Err(Failure::new(ErrorKind::Rejected, message)
                    .hint("leave out the key file; the service finds its key"));
            }
            (_, true) => {
                let message =
                    "the key of the file was wrapped with a key file and not by a key service";
                return Err(Failure::new(ErrorKind::Rejected, message)
                    .hint("name the key file that the file was sealed with"));
            }
            (Some(KeyId::Service(key)), false) => Some(key),
            (None, false) => None,
        };
        let request = self.0.kms().await.decrypt();
        let answer = request
            .set_key_id(key.clone())
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(context.map(pairs))
            .send()
            .await
            .map_err(|error| failure(Asked::Decrypt, key.as_deref(), &error))?;
        plain(key.as_deref().unwrap_or("kms:Decrypt"), answer.plaintext)
    }
}

fn parse(key_id: &str) -> Result<KeyId> {
    KeyId::parse(key_id).map_err(|why| {
        let message = format!("`{}` names a key that {why}", key_id.escape_debug());
        Failure::new(ErrorKind::InvalidConfig, message)
            .hint("name a key by its id, its ARN, `alias/NAME` or `file:PATH`")
    })
}

fn pairs(context: &Context) -> HashMap<String, String> {
    let pairs = context.pairs();
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The plain key of an answer. It is wrapped before anything else is asked.
fn plain(key: &str, answered: Option<Blob>) -> Result<DataKey> {
    let bytes = answered.map(|blob| Zeroizing::new(blob.into_inner()));
    let bytes = bytes.ok_or_else(|| {
        let message = format!("`{key}` was answered without a data key");
        Failure::new(ErrorKind::Rejected, message).hint("check the endpoint of the key service")
    })?;
    Ok(DataKey::new(bytes)?)
}

/// A failed request. What KMS alone answers has texts of its own.
fn failure<E>(
    asked: Asked,
    key: Option<&str>,
    error: &SdkError<E, aws_sdk_kms::config::http::HttpResponse>,
) -> Failure
where
    E: ProvideErrorMetadata + RequestId + std::error::Error + 'static,
{
    let (code, _) = aws::answer(error);
    let service = error.as_service_error();
    let message = service.and_then(ProvideErrorMetadata::message);
    let id = service.and_then(RequestId::request_id);
    refusal(asked, key, code, message.unwrap_or_default(), id)
        .unwrap_or_else(|| aws::failure(key.unwrap_or("kms:Decrypt"), error))
}
