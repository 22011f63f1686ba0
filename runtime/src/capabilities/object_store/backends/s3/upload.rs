//! An object on its way: a multipart upload, several of whose parts are sent at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ServerSideEncryption};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ID_NAME;
use super::marker::Marker;
use super::publish;
use super::token::{Content, Part, Token};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{
    Attributes, Owner, Staged, check_part, check_run, hex,
};
use crate::capabilities::object_store::grant::Place;
use crate::pipeline::crash;

/// Parts of one upload that are sent side by side.
const MAX_SENDING: usize = 2;

/// Longest metadata, in bytes; S3 takes 2 kB, and the id is among it.
const MAX_METADATA_BYTES: usize = 1800;

/// How often the creation of an upload is tried, and the wait before the second time; it doubles.
const CREATE_ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(300);

/// Dropped before it is staged, it aborts the upload.
pub struct Upload {
    aws: Arc<Aws>,
    place: Place,
    token: Token,
    upload_id: String,
    hash: Sha256,
    bytes: u64,
    /// The part that the hash waits for.
    next_part: u32,
    /// Came before a part that precedes them.
    early: BTreeMap<u32, Bytes>,
    sending: JoinSet<Sent>,
    sending_bytes: u64,
    sent: BTreeMap<u32, Part>,
    /// A part could not be sent.
    broken: Option<Failure>,
    is_staged: bool,
}

struct Sent {
    number: u32,
    bytes: u64,
    part: Result<Part>,
}

impl Upload {
    pub async fn create(
        aws: &Arc<Aws>,
        place: Place,
        owner: Owner,
        attributes: Attributes,
    ) -> Result<Self> {
        check_run(&owner.run)?;
        check_metadata(&place, &attributes.metadata)?;
        let id = Uuid::now_v7().to_string();
        let mut marker = Marker::new(&owner, Token::begun(&place, &owner.run, &id));
        marker.put(aws, &place).await?;
        crash::point("upload-marked");
        let (upload_id, is_repeated) = create(aws, &place, &id, &attributes).await?;
        crash::point("upload-created");
        marker.token.upload = Some(upload_id.clone());
        marker.token.is_repeated = is_repeated;
        let upload = Self {
            aws: aws.clone(),
            place,
            token: marker.token.clone(),
            upload_id,
            hash: Sha256::new(),
            bytes: 0,
            next_part: 1,
            early: BTreeMap::new(),
            sending: JoinSet::new(),
            sending_bytes: 0,
            sent: BTreeMap::new(),
            broken: None,
            is_staged: false,
        };
        marker.put(aws, &upload.place).await?;
        Ok(upload)
    }

    pub async fn put(&mut self, number: u32, chunks: Vec<Buffer>) -> Result<()> {
        check_part(&self.place, number)?;
        self.refuse_broken()?;
        if number < self.next_part || self.early.contains_key(&number) {
            return Err(self.rejected(format!("part {number} was put twice")));
        }
        while let Some(sent) = self.sending.try_join_next() {
            self.note(sent)?;
        }
        while self.sending.len() >= MAX_SENDING {
            match self.sending.join_next().await {
                Some(sent) => self.note(sent)?,
                None => break,
            }
        }
        let bytes = self.gather(number, chunks).await?;
        self.send(number, bytes);
        Ok(())
    }

    /// Waits until nothing is on its way.
    pub async fn settle(&mut self) -> Result<()> {
        while let Some(sent) = self.sending.join_next().await {
            self.note(sent)?;
        }
        self.refuse_broken()
    }

    /// Bytes of parts that are being sent, and of those that wait for an earlier one.
    pub fn held_bytes(&self) -> u64 {
        let early: usize = self.early.values().map(Bytes::len).sum();
        self.sending_bytes + early as u64
    }

    /// Ends the upload: the bytes are durable when this returns.
    pub async fn stage(mut self) -> Result<Staged> {
        self.settle().await?;
        if let Some((last, _)) = self.early.last_key_value() {
            return Err(self.rejected(format!(
                "part {} is missing, and part {last} is there",
                self.next_part
            )));
        }
        if self.sent.is_empty() {
            // S3 completes no upload without a part.
            self.gather(1, Vec::new()).await?;
            self.send(1, Bytes::new());
            self.settle().await?;
        }
        let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
        self.token.content = Some(Content {
            bytes: self.bytes,
            sha256: sha256.clone(),
            parts: std::mem::take(&mut self.sent).into_values().collect(),
        });
        self.is_staged = true;
        Ok(Staged {
            token: self.token.text(),
            url: self.place.url(),
            bytes: self.bytes,
            sha256,
        })
    }

    /// The part in one piece, and its bytes in the hash as soon as it is their turn.
    async fn gather(&mut self, number: u32, chunks: Vec<Buffer>) -> Result<Bytes> {
        let mut early = std::mem::take(&mut self.early);
        let mut hash = std::mem::take(&mut self.hash);
        let mut next_part = self.next_part;
        let (bytes, early, hash, next_part) = blocking(move || {
            let mut whole = Vec::with_capacity(chunks.iter().map(Buffer::len).sum());
            chunks
                .iter()
                .for_each(|chunk| whole.extend_from_slice(chunk));
            let whole = Bytes::from(whole);
            early.insert(number, whole.clone());
            while let Some(part) = early.remove(&next_part) {
                hash.update(&part);
                next_part += 1;
            }
            Ok((whole, early, hash, next_part))
        })
        .await?;
        self.bytes += bytes.len() as u64;
        (self.early, self.hash, self.next_part) = (early, hash, next_part);
        Ok(bytes)
    }

    fn send(&mut self, number: u32, bytes: Bytes) {
        let (bucket, key) = self.place.bucket_and_key();
        let (bucket, aws) = (bucket.to_owned(), self.aws.clone());
        let (upload_id, name) = (self.upload_id.clone(), self.place.written().to_owned());
        self.sending_bytes += bytes.len() as u64;
        aws.count(bytes.len() as u64);
        self.sending.spawn(async move {
            let length = bytes.len() as u64;
            let sent = aws
                .s3()
                .await
                .upload_part()
                .bucket(bucket)
                .key(key)
                .upload_id(upload_id)
                .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                .body(ByteStream::from(bytes))
                .send()
                .await;
            let part = match sent {
                Ok(sent) => Ok(Part {
                    etag: sent.e_tag().unwrap_or_default().to_owned(),
                    crc32c: sent.checksum_crc32_c().map(str::to_owned),
                }),
                Err(error) => Err(aws::failure(&format!("{name}, part {number}"), &error)),
            };
            Sent {
                number,
                bytes: length,
                part,
            }
        });
    }

    fn note(&mut self, sent: Result<Sent, tokio::task::JoinError>) -> Result<()> {
        let sent = sent.map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        self.sending_bytes -= sent.bytes;
        match sent.part {
            Ok(part) => {
                self.sent.insert(sent.number, part);
                Ok(())
            }
            Err(failure) => {
                self.broken = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn refuse_broken(&self) -> Result<()> {
        match &self.broken {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn rejected(&self, what: String) -> Failure {
        Failure::new(
            ErrorKind::Rejected,
            format!("upload of `{}`: {what}", self.place.written()),
        )
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_staged {
            return;
        }
        let (aws, place, token) = (self.aws.clone(), self.place.clone(), self.token.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Where this does not come to its end, `list_staged` finds the marker.
            runtime.spawn(async move { publish::remove(&aws, &place, &token).await });
        }
    }
}

/// Creates the multipart upload: its id, and whether there may be another. The SDK must not ask again by itself: nobody
/// would know of the upload whose answer was lost.
async fn create(
    aws: &Aws,
    place: &Place,
    id: &str,
    attributes: &Attributes,
) -> Result<(String, bool)> {
    let (bucket, key) = place.bucket_and_key();
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        let mut request = aws
            .s3()
            .await
            .create_multipart_upload()
            .bucket(bucket)
            .key(&key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .metadata(ID_NAME, id);
        for (name, value) in &attributes.metadata {
            request = request.metadata(name, value);
        }
        if attributes.encrypted_at_rest {
            request = request.server_side_encryption(ServerSideEncryption::Aes256);
        }
        let once = aws_sdk_s3::config::Builder::new().retry_config(RetryConfig::disabled());
        match request.customize().config_override(once).send().await {
            Ok(created) => {
                let upload = created.upload_id().unwrap_or_default().to_owned();
                return Ok((upload, attempt > 1));
            }
            Err(error) => {
                let failure = aws::failure(place.written(), &error);
                if failure.kind != ErrorKind::Unavailable || attempt == CREATE_ATTEMPTS {
                    return Err(failure);
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    Err(Failure::new(ErrorKind::Internal, "no upload was created"))
}

fn check_metadata(place: &Place, metadata: &[(String, String)]) -> Result<()> {
    let refuse = |what: String| {
        Failure::new(
            ErrorKind::Rejected,
            format!("metadata of `{}`: {what}", place.written()),
        )
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (name, value) in metadata {
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(refuse(format!("`{}` is no name", name.escape_debug())));
        }
        if name.starts_with(ID_NAME) {
            return Err(refuse(format!("`{name}` is the host's")));
        }
        if !value.chars().all(|c| matches!(c, ' '..='~')) {
            return Err(refuse(format!("the value of `{name}` is not plain ASCII")));
        }
    }
    let bytes: usize = metadata.iter().map(|(n, v)| n.len() + v.len()).sum();
    match bytes <= MAX_METADATA_BYTES {
        true => Ok(()),
        false => Err(refuse(format!(
            "{bytes} bytes of at most {MAX_METADATA_BYTES}"
        ))),
    }
}
