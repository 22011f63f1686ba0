//! What stands in a bucket for an upload that is not published yet: `ROOT/.dativo-staged/RUN/ID.json`.
//!
//! S3 lists the multipart uploads of a bucket by key and says nothing about who made them. A marker does: it is put before
//! its upload is created, again when that is known, and removed after the upload has ended.

use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};

use super::folder_key;
use super::token::Token;
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{Owner, is_id};
use crate::capabilities::object_store::grant::Place;
use crate::capabilities::object_store::name::STAGING_FOLDER;

/// Longest marker that is read: a token without parts and two names.
const MAX_MARKER_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Marker {
    pub tenant: String,
    pub job: String,
    /// Without its content.
    pub token: Token,
}

impl Marker {
    pub fn new(owner: &Owner, token: Token) -> Self {
        Self {
            tenant: owner.tenant.clone(),
            job: owner.job.clone(),
            token,
        }
    }

    /// Puts it in place of what was there.
    pub async fn put(&self, aws: &Aws, root: &Place) -> Result<()> {
        let (bucket, _) = root.root_bucket_and_key();
        let key = key(root, &self.token.run, &self.token.id);
        let text = serde_json::to_vec(self)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        let put = aws.s3().await.put_object().bucket(bucket).key(&key);
        put.content_type("application/json")
            .body(ByteStream::from(text))
            .send()
            .await
            .map(drop)
            .map_err(|error| aws::failure(&format!("s3://{bucket}/{key}"), &error))
    }

    /// Success where it is gone already.
    pub async fn remove(aws: &Aws, root: &Place, run: &str, id: &str) -> Result<()> {
        let (bucket, _) = root.root_bucket_and_key();
        let key = key(root, run, id);
        let delete = aws.s3().await.delete_object().bucket(bucket).key(&key);
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) if aws::answer(&error).1 == 404 => Ok(()),
            Err(error) => Err(aws::failure(&format!("s3://{bucket}/{key}"), &error)),
        }
    }

    /// All of a run, or of every run where none is given, in order of their uploads.
    pub async fn list(aws: &Aws, root: &Place, run: Option<&str>) -> Result<Vec<Self>> {
        let (bucket, prefix) = staging(root, run);
        let name = format!("s3://{bucket}/{prefix}");
        let s3 = aws.s3().await;
        let mut markers = Vec::new();
        let pages = s3.list_objects_v2().bucket(&bucket).prefix(&prefix);
        let mut pages = pages.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| aws::failure(&name, &error))?;
            for key in page.contents().iter().filter_map(|found| found.key()) {
                let id = key.rsplit('/').next().and_then(|n| n.strip_suffix(".json"));
                if id.is_some_and(is_id) {
                    markers.extend(Self::get(aws, &bucket, key).await?);
                }
            }
        }
        markers.sort_by(|a, b| a.token.id.cmp(&b.token.id));
        Ok(markers)
    }

    /// None where it was removed in the meantime, or is no marker.
    async fn get(aws: &Aws, bucket: &str, key: &str) -> Result<Option<Self>> {
        let failure = |error: &dyn std::fmt::Display| {
            let message = format!("`s3://{bucket}/{key}` cannot be read: {error}");
            Failure::new(ErrorKind::Unavailable, message)
        };
        let get = aws.s3().await.get_object().bucket(bucket).key(key);
        let found = match get.send().await {
            Ok(found) => found,
            Err(error) if aws::answer(&error).1 == 404 => return Ok(None),
            Err(error) => return Err(aws::failure(&format!("s3://{bucket}/{key}"), &error)),
        };
        if super::unsigned(found.content_length()) > MAX_MARKER_BYTES as u64 {
            return Ok(None);
        }
        let text = found
            .body
            .collect()
            .await
            .map_err(|error| failure(&error))?;
        let marker: Option<Self> = serde_json::from_slice(&text.into_bytes()).ok();
        Ok(marker.filter(|marker| Token::parse(&marker.token.text()).is_ok()))
    }
}

/// The bucket, and what the keys of the markers begin with.
fn staging(root: &Place, run: Option<&str>) -> (String, String) {
    let (bucket, key) = root.root_bucket_and_key();
    let run = run.map(|run| format!("{run}/")).unwrap_or_default();
    let prefix = format!("{}{STAGING_FOLDER}/{run}", folder_key(&key));
    (bucket.to_owned(), prefix)
}

fn key(root: &Place, run: &str, id: &str) -> String {
    format!("{}{id}.json", staging(root, Some(run)).1)
}
