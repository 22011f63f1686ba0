//! Objects of a bucket.
//!
//! Takes objects that have been found to be below the root. Settings and credentials are those of the job's `aws:`.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{MAX_LISTED, MAX_READ_BYTES, Object, too_large, too_many};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::hex;

/// How much is asked for at a time where the bytes are only hashed.
const PIECE_BYTES: u64 = 8 << 20;

/// How often bytes are asked for whose answer broke off. The SDK repeats only what was not answered at all.
const READ_ATTEMPTS: u32 = 3;

pub async fn read(aws: &Aws, object: &Object) -> Result<Bytes> {
    get(aws, object, None, None).await
}

pub async fn read_range(aws: &Aws, object: &Object, start: u64, length: u64) -> Result<Bytes> {
    match length {
        0 => Ok(Bytes::new()),
        _ => get(aws, object, Some((start, length)), None).await,
    }
}

/// Whether it was written: not where the name is taken.
pub async fn write_new(aws: &Aws, object: &Object, bytes: Bytes) -> Result<bool> {
    aws.count(bytes.len() as u64);
    let put = aws
        .s3()
        .await
        .put_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .if_none_match("*")
        .checksum_algorithm(ChecksumAlgorithm::Crc32C)
        .body(ByteStream::from(bytes));
    match put.send().await {
        Ok(_) => Ok(true),
        Err(error) if aws::answer(&error).1 == 412 => Ok(false),
        Err(error) if aws::answer(&error).0 == "ConditionalRequestConflict" => Err(Failure::new(
            ErrorKind::Unavailable,
            format!("`{}` is being written by another", object.url),
        )),
        Err(error) => Err(aws::failure(&object.url, &error)),
    }
}

pub async fn size(aws: &Aws, object: &Object) -> Result<u64> {
    Ok(head(aws, object).await?.0)
}

pub async fn digest(aws: &Aws, object: &Object) -> Result<(u64, String)> {
    let (bytes, etag) = head(aws, object).await?;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < bytes {
        let piece = get(aws, object, Some((at, PIECE_BYTES)), etag.as_deref()).await?;
        if piece.is_empty() {
            let message = format!("`{}` became shorter while it was read", object.url);
            return Err(Failure::new(ErrorKind::Unavailable, message));
        }
        at += piece.len() as u64;
        hash = blocking(move || Ok(hash.chain_update(&piece))).await?;
    }
    Ok((at, hex(&hash.finalize())))
}

pub async fn remove(aws: &Aws, object: &Object) -> Result<()> {
    let removed = aws
        .s3()
        .await
        .delete_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .send()
        .await;
    match removed {
        Ok(_) => Ok(()),
        Err(error) if aws::answer(&error).1 == 404 && aws::answer(&error).0 != "NoSuchBucket" => {
            Ok(())
        }
        Err(error) => Err(aws::failure(&object.url, &error)),
    }
}

/// The objects whose key begins with that of `folder` and a slash.
pub async fn list(aws: &Aws, folder: &Object, url: &str) -> Result<Vec<(String, u64)>> {
    let prefix = match folder.key.as_str() {
        "" => String::new(),
        key => format!("{key}/"),
    };
    let mut found = Vec::new();
    let mut pages = aws
        .s3()
        .await
        .list_objects_v2()
        .bucket(&folder.bucket)
        .prefix(&prefix)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| aws::failure(url, &error))?;
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            // An empty name and one that ends in a slash stand for folders.
            let Some(name) = key.strip_prefix(&prefix).filter(|name| !name.is_empty()) else {
                continue;
            };
            let bytes = u64::try_from(object.size().unwrap_or(0)).unwrap_or(0);
            found.push((format!("{url}{name}"), bytes));
        }
        if found.len() > MAX_LISTED {
            return Err(too_many(url));
        }
    }
    Ok(found)
}

/// The size and what identifies this version of the bytes.
async fn head(aws: &Aws, object: &Object) -> Result<(u64, Option<String>)> {
    let head = aws
        .s3()
        .await
        .head_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .send()
        .await
        .map_err(|error| aws::failure(&object.url, &error))?;
    let bytes = u64::try_from(head.content_length().unwrap_or(0)).unwrap_or(0);
    Ok((bytes, head.e_tag().map(str::to_owned)))
}

/// The bytes of a range, or all; with `etag`, of this very version.
async fn get(
    aws: &Aws,
    object: &Object,
    range: Option<(u64, u64)>,
    etag: Option<&str>,
) -> Result<Bytes> {
    let mut attempt = 1;
    loop {
        let mut request = aws
            .s3()
            .await
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_if_match(etag.map(str::to_owned));
        if let Some((offset, length)) = range {
            let last = offset.saturating_add(length) - 1;
            request = request.range(format!("bytes={offset}-{last}"));
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            // Nothing is there from the offset on.
            Err(error) if range.is_some() && is_past_the_end(&error) => return Ok(Bytes::new()),
            Err(error) => return Err(aws::failure(&object.url, &error)),
        };
        let answer = body(object, answer).await;
        aws.count(answer.as_ref().map_or(0, |bytes| bytes.len() as u64));
        match answer {
            Err(failure) if failure.kind == ErrorKind::Unavailable && attempt < READ_ATTEMPTS => {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn body(object: &Object, mut answer: GetObjectOutput) -> Result<Bytes> {
    let expected = answer.content_length().unwrap_or(0);
    let expected = u64::try_from(expected).unwrap_or(0);
    if expected > MAX_READ_BYTES {
        return Err(too_large(&object.url, expected));
    }
    let broken = |why: String| {
        let message = format!("`{}` could not be read to its end: {why}", object.url);
        Failure::new(ErrorKind::Unavailable, message)
            .hint("check the network and run the job again")
    };
    let mut read = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
    while let Some(piece) = answer.body.next().await {
        read.extend_from_slice(&piece.map_err(|error| broken(error.to_string()))?);
        if read.len() as u64 > MAX_READ_BYTES {
            return Err(too_large(&object.url, read.len() as u64));
        }
    }
    match read.len() as u64 == expected {
        true => Ok(read.freeze()),
        false => Err(broken(format!("{} of {expected} bytes came", read.len()))),
    }
}

fn is_past_the_end<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> bool {
    aws::answer(error).1 == 416
}
