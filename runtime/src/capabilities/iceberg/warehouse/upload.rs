//! A data file on its way into the warehouse, with its size and digest at the end.
//!
//! Locally the bytes go to a temporary name in the same folder. On S3 they go in parts, some of them at the same time,
//! or in one request where the file is small. Bytes are hashed where they hold up nobody.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::local::{self, on};
use super::{Object, s3};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::hex;
use crate::staging::Portion;

/// What is sent in one request. S3 takes no smaller parts than 5 MiB but the last.
const PART_BYTES: usize = 8 << 20;

/// Parts of one file that are sent side by side.
const MAX_SENDING: usize = 2;

/// S3 takes no more: a file has at most 78 GiB.
const MAX_PARTS: i32 = 10_000;

/// Bytes come in order. Dropped before [`Upload::finish`] it is aborted, as far as that can be done.
pub struct Upload {
    url: String,
    bytes: u64,
    hash: Sha256,
    target: Target,
    staged: Portion,
}

/// What lies there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub url: String,
    pub bytes: u64,
    /// In lowercase hex.
    pub sha256: String,
}

enum Target {
    Local(Part),
    S3(Box<Multipart>),
}

/// A file under its temporary name.
struct Part {
    path: PathBuf,
    part: PathBuf,
    /// Away while it is written, and after an error.
    file: Option<File>,
    is_done: bool,
}

struct Multipart {
    aws: Arc<Aws>,
    object: Object,
    /// Nothing until the first part is full.
    upload: Option<String>,
    waiting: BytesMut,
    sending: JoinSet<Result<(CompletedPart, u64)>>,
    sending_bytes: u64,
    parts: i32,
    sent: Vec<CompletedPart>,
    broken: Option<Failure>,
    is_done: bool,
}

impl Upload {
    pub(super) async fn local(url: &str, path: PathBuf, staged: Portion) -> Result<Self> {
        let part = local::part_name(&path, "");
        let target = part.clone();
        let file = on(path.clone(), move |path| {
            local::create_parent(path)?;
            File::create(target)
        })
        .await?;
        let target = Target::Local(Part {
            path,
            part,
            file: Some(file),
            is_done: false,
        });
        Ok(Self::new(url, target, staged))
    }

    pub(super) fn s3(aws: &Arc<Aws>, object: Object, staged: Portion) -> Self {
        let url = object.url.clone();
        let target = Target::S3(Box::new(Multipart {
            aws: aws.clone(),
            object,
            upload: None,
            waiting: BytesMut::new(),
            sending: JoinSet::new(),
            sending_bytes: 0,
            parts: 0,
            sent: Vec::new(),
            broken: None,
            is_done: false,
        }));
        Self::new(&url, target, staged)
    }

    fn new(url: &str, target: Target, staged: Portion) -> Self {
        Self {
            url: url.to_owned(),
            bytes: 0,
            hash: Sha256::new(),
            target,
            staged,
        }
    }

    pub async fn put(&mut self, bytes: Bytes) -> Result<()> {
        let (length, piece) = (bytes.len() as u64, bytes.clone());
        self.staged.add(length)?;
        let hash = std::mem::take(&mut self.hash);
        match &mut self.target {
            Target::Local(part) => {
                let mut file = part.file.take().ok_or_else(|| ended(&self.url))?;
                let (file, hash) = on(part.path.clone(), move |_| {
                    file.write_all(&piece)?;
                    Ok((file, hash.chain_update(&piece)))
                })
                .await?;
                (part.file, self.hash) = (Some(file), hash);
            }
            Target::S3(multipart) => {
                self.hash = blocking(move || Ok(hash.chain_update(&piece))).await?;
                multipart.put(bytes).await?;
            }
        }
        self.bytes += length;
        Ok(())
    }

    /// Bytes in memory: those that wait for a part to be full, and those being sent.
    pub fn held_bytes(&self) -> u64 {
        match &self.target {
            Target::Local(_) => 0,
            Target::S3(multipart) => multipart.sending_bytes + multipart.waiting.len() as u64,
        }
    }

    /// Puts the file in place: it is durable when this returns.
    pub async fn finish(mut self) -> Result<Written> {
        match &mut self.target {
            Target::Local(part) => {
                let file = part.file.take().ok_or_else(|| ended(&self.url))?;
                let temporary = part.part.clone();
                on(part.path.clone(), move |path| {
                    file.sync_all()?;
                    fs::rename(&temporary, path)?;
                    local::sync_folder(local::create_parent(path)?)
                })
                .await?;
                part.is_done = true;
            }
            Target::S3(multipart) => multipart.finish(self.bytes).await?,
        }
        self.staged.keep();
        Ok(Written {
            url: self.url.clone(),
            bytes: self.bytes,
            sha256: hex(&std::mem::take(&mut self.hash).finalize()),
        })
    }
}

impl Multipart {
    async fn put(&mut self, mut bytes: Bytes) -> Result<()> {
        self.refuse_broken()?;
        while !bytes.is_empty() {
            let room = PART_BYTES - self.waiting.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.waiting.extend_from_slice(&taken);
            if self.waiting.len() == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        while let Some(sent) = self.sending.try_join_next() {
            self.note(sent)?;
        }
        while self.sending.len() >= MAX_SENDING {
            match self.sending.join_next().await {
                Some(sent) => self.note(sent)?,
                None => break,
            }
        }
        if self.parts == MAX_PARTS {
            return Err(Failure::new(
                ErrorKind::LimitExceeded,
                format!("`{}` has more than {MAX_PARTS} parts", self.object.url),
            )
            .hint("write smaller data files"));
        }
        let upload = self.begun().await?;
        self.parts += 1;
        let (aws, object, number) = (self.aws.clone(), self.object.clone(), self.parts);
        let bytes = std::mem::take(&mut self.waiting).freeze();
        let length = bytes.len() as u64;
        self.sending_bytes += length;
        aws.count(length);
        self.sending.spawn(async move {
            let sent = aws
                .s3()
                .await
                .upload_part()
                .bucket(&object.bucket)
                .key(&object.key)
                .upload_id(upload)
                .part_number(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                .body(ByteStream::from(bytes))
                .send()
                .await
                .map_err(|error| aws::failure(&format!("{}, part {number}", object.url), &error))?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag().map(str::to_owned))
                .set_checksum_crc32_c(sent.checksum_crc32_c().map(str::to_owned));
            Ok((part.build(), length))
        });
        Ok(())
    }

    /// The id of the upload, which begins with the first part.
    async fn begun(&mut self) -> Result<String> {
        if let Some(upload) = &self.upload {
            return Ok(upload.clone());
        }
        let created = self
            .aws
            .s3()
            .await
            .create_multipart_upload()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .send()
            .await
            .map_err(|error| aws::failure(&self.object.url, &error))?;
        let upload = created.upload_id().unwrap_or_default().to_owned();
        Ok(self.upload.insert(upload).clone())
    }

    async fn finish(&mut self, bytes: u64) -> Result<()> {
        self.refuse_broken()?;
        if self.upload.is_none() {
            self.put_whole().await?;
        } else {
            if !self.waiting.is_empty() {
                self.send().await?;
            }
            while let Some(sent) = self.sending.join_next().await {
                self.note(sent)?;
            }
            self.complete(bytes).await?;
        }
        self.is_done = true;
        Ok(())
    }

    async fn put_whole(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.waiting).freeze();
        self.aws.count(bytes.len() as u64);
        let put = self
            .aws
            .s3()
            .await
            .put_object()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .body(ByteStream::from(bytes));
        let put = put.send().await;
        put.map_err(|error| aws::failure(&self.object.url, &error))?;
        Ok(())
    }

    async fn complete(&mut self, bytes: u64) -> Result<()> {
        self.sent.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(std::mem::take(&mut self.sent)))
            .build();
        let completed = self
            .aws
            .s3()
            .await
            .complete_multipart_upload()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .set_upload_id(self.upload.clone())
            .multipart_upload(parts)
            .send()
            .await;
        let Err(error) = completed.map(|_: CompleteMultipartUploadOutput| ()) else {
            return Ok(());
        };
        // An earlier request may have done it, and its answer been lost.
        let is_there = aws::answer(&error).1 == 404
            && s3::size(&self.aws, &self.object).await.ok() == Some(bytes);
        match is_there {
            true => Ok(()),
            false => Err(aws::failure(&self.object.url, &error)),
        }
    }

    fn note(
        &mut self,
        sent: Result<Result<(CompletedPart, u64)>, tokio::task::JoinError>,
    ) -> Result<()> {
        let sent = sent
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))
            .flatten();
        match sent {
            Ok((part, bytes)) => {
                self.sending_bytes -= bytes;
                self.sent.push(part);
                Ok(())
            }
            Err(failure) => {
                self.broken = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn refuse_broken(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

fn ended(url: &str) -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        format!("`{url}` takes no more bytes after an error"),
    )
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_file(&self.part);
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take().filter(|_| !self.is_done) else {
            return;
        };
        let (aws, object) = (self.aws.clone(), self.object.clone());
        let mut sending = std::mem::take(&mut self.sending);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A part that arrives after the upload was aborted would stay, and cost.
                sending.shutdown().await;
                let aborted = aws
                    .s3()
                    .await
                    .abort_multipart_upload()
                    .bucket(&object.bucket)
                    .key(&object.key)
                    .upload_id(upload);
                let _ = aborted.send().await;
            });
        }
    }
}
