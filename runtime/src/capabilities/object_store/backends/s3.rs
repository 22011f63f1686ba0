//! Objects in buckets of S3, and of services that speak as it does.
//!
//! Knows no wasm. Every function takes a [`Place`], which only a grant makes. Where an answer is lost and the SDK asks
//! again, what the first request did must not be taken for another's doing: each object that is written here carries
//! [`ID_NAME`] in its metadata, which tells.

mod body;
mod marker;
mod publish;
mod token;
mod upload;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use uuid::Uuid;

pub use self::body::Body;
pub use self::publish::{check_staged, discard, leftovers, list_staged, publish};
pub use self::token::STORE;
pub use self::upload::Upload;
use super::{MAX_LISTED, MAX_VISITED, Object, already_there, too_large};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::{Access, Grant, Place};
use crate::capabilities::object_store::name::STAGING_FOLDER;

/// The metadata of an object that says which upload made it.
const ID_NAME: &str = "dativo-upload";

type Answer<T, E> = Result<T, SdkError<E, aws_sdk_s3::config::http::HttpResponse>>;

pub async fn head(aws: &Aws, place: &Place) -> Result<Object> {
    let head = look(aws, place).await?;
    Ok(Object {
        url: place.written().to_owned(),
        size_bytes: unsigned(head.content_length()),
        modified_ms: head.last_modified().map_or(0, milliseconds),
    })
}

async fn look(aws: &Aws, place: &Place) -> Result<HeadObjectOutput> {
    let (bucket, key) = place.bucket_and_key();
    let request = aws.s3().await.head_object().bucket(bucket).key(key);
    let head = request.send().await;
    head.map_err(|error| aws::failure(place.written(), &error))
}

/// Up to `length` bytes from `offset`, fewer at the end.
pub async fn get(
    aws: &std::sync::Arc<Aws>,
    place: &Place,
    offset: u64,
    length: u32,
) -> Result<Vec<u8>> {
    if length == 0 {
        return head(aws, place).await.map(|_| Vec::new());
    }
    let mut body = Body::open(aws, place, offset, Some(length.into())).await?;
    let mut bytes = Vec::with_capacity(usize::try_from(body.left()).unwrap_or(0));
    while let Some(chunk) = body.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// One object as it was when it was opened: each read is of it, or fails.
pub struct Fixed {
    aws: std::sync::Arc<Aws>,
    place: Place,
    etag: String,
    bytes: u64,
}

impl Fixed {
    pub async fn open(aws: &std::sync::Arc<Aws>, place: Place) -> Result<Self> {
        let head = look(aws, &place).await?;
        Ok(Self {
            aws: aws.clone(),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            bytes: unsigned(head.content_length()),
            place,
        })
    }

    /// The length of the whole.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The `bytes` at `offset`, all of them, which must be within the object.
    pub async fn read_at(&self, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let mut body =
            Body::open_same(&self.aws, &self.place, offset, Some(bytes), &self.etag).await?;
        let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        while let Some(chunk) = body.next().await? {
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }
}

/// Puts a whole object in place at once, durable on return. An object that is there stays.
pub async fn put_new(aws: &Aws, place: &Place, bytes: &[u8]) -> Result<()> {
    let (bucket, key) = place.bucket_and_key();
    let id = Uuid::now_v7().to_string();
    aws.count(bytes.len() as u64);
    let put = aws
        .s3()
        .await
        .put_object()
        .bucket(bucket)
        .key(&key)
        .if_none_match("*")
        .metadata(ID_NAME, &id)
        .checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Crc32C)
        .body(ByteStream::from(bytes.to_vec()));
    match put.send().await {
        Ok(_) => Ok(()),
        // A first request may have done it, and its answer been lost.
        Err(error) if is_taken(&error) => match id_of(aws, bucket, &key).await? {
            Some(found) if found == id => Ok(()),
            Some(_) => Err(already_there(place)),
            // Two at the same time: S3 lets one of them win, or neither.
            None => Err(Failure::new(
                ErrorKind::Unavailable,
                format!("`{}` is being written by another", place.written()),
            )),
        },
        Err(error) => Err(aws::failure(place.written(), &error)),
    }
}

/// The covered objects in a folder and in folders below it, in order of their names.
pub async fn list(aws: &Aws, grant: &Grant, prefix: &Place) -> Result<Vec<Object>> {
    let (bucket, key) = prefix.bucket_and_key();
    let start = folder_key(&key);
    let mut objects = Vec::new();
    let mut visited = 0;
    let mut pages = aws
        .s3()
        .await
        .list_objects_v2()
        .bucket(bucket)
        .prefix(&start)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| aws::failure(prefix.written(), &error))?;
        for found in page.contents() {
            visited += 1;
            if visited > MAX_VISITED {
                return Err(too_large(
                    prefix,
                    &format!("more than {MAX_VISITED} objects"),
                ));
            }
            let key = found.key().unwrap_or_default();
            let Some(below) = key.strip_prefix(&start) else {
                continue;
            };
            let segments: Vec<String> = below.split('/').map(str::to_owned).collect();
            if segments.iter().any(|segment| segment == STAGING_FOLDER) {
                continue;
            }
            let size_bytes = unsigned(found.size());
            if below.is_empty() || below.ends_with('/') {
                // What consoles put in place of a folder.
                if size_bytes == 0 {
                    continue;
                }
                return Err(unnameable(key));
            }
            if prefix.below(grant, Access::Read, &segments).is_none() {
                continue;
            }
            if is_unclear(&segments) {
                return Err(unnameable(key));
            }
            objects.push(Object {
                url: prefix.name_below(&segments),
                size_bytes,
                modified_ms: found.last_modified().map_or(0, milliseconds),
            });
            if objects.len() > MAX_LISTED {
                return Err(too_large(
                    prefix,
                    &format!("more than {MAX_LISTED} objects"),
                ));
            }
        }
    }
    objects.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(objects)
}

/// Which upload made the object; none where there is no object.
async fn id_of(aws: &Aws, bucket: &str, key: &str) -> Result<Option<String>> {
    let head = aws.s3().await.head_object().bucket(bucket).key(key);
    match head.send().await {
        Ok(head) => {
            let id = head.metadata().and_then(|metadata| metadata.get(ID_NAME));
            Ok(Some(id.cloned().unwrap_or_default()))
        }
        Err(error) if aws::answer(&error).1 == 404 => Ok(None),
        Err(error) => Err(aws::failure(&format!("s3://{bucket}/{key}"), &error)),
    }
}

/// Whether a write with a condition found that its key has an object, or is being written by another.
fn is_taken<E: aws_sdk_s3::error::ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> bool {
    let (code, status) = aws::answer(error);
    matches!(status, 409 | 412)
        && matches!(
            code,
            "PreconditionFailed" | "ConditionalRequestConflict" | ""
        )
}

/// Of all keys in a folder.
fn folder_key(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("{key}/"),
    }
}

/// Leaving such an object out would lose data without a word.
fn unnameable(key: &str) -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        format!("the key `{}` cannot be a name here", key.escape_debug()),
    )
    .hint("rename the object, or name a folder without it: names have no empty part, `.`, `..`, backslash or control character")
}

fn is_unclear(segments: &[String]) -> bool {
    segments.iter().any(|segment| {
        matches!(segment.as_str(), "" | "." | "..")
            || segment.contains('\\')
            || segment.chars().any(char::is_control)
    })
}

fn unsigned(bytes: Option<i64>) -> u64 {
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(0)
}

fn milliseconds(at: &aws_sdk_s3::primitives::DateTime) -> u64 {
    let milliseconds = at.to_millis().unwrap_or(0);
    u64::try_from(milliseconds).unwrap_or(0)
}
