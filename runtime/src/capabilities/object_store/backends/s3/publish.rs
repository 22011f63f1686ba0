//! From staged to published or discarded, by token: in this process or another.
//!
//! Completing the multipart upload makes the object visible, in one step, and only where its key has none.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::marker::Marker;
use super::token::Token;
use super::{folder_key, id_of, is_taken};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{Leftover, check_run, gone};
use crate::capabilities::object_store::grant::{Access, Grant, Place};

/// Makes a staged object visible. Done already is success.
pub async fn publish(aws: &Aws, grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let place = token.place(grant)?;
    let (Some(content), Some(upload)) = (&token.content, &token.upload) else {
        return Err(Failure::new(
            ErrorKind::Rejected,
            format!(
                "`{}` cannot be published: its upload never ended",
                place.written()
            ),
        ));
    };
    let (bucket, key) = place.bucket_and_key();
    let parts = (1..).zip(&content.parts).map(|(number, part)| {
        CompletedPart::builder()
            .part_number(number)
            .e_tag(&part.etag)
            .set_checksum_crc32_c(part.crc32c.clone())
            .build()
    });
    let completed = aws
        .s3()
        .await
        .complete_multipart_upload()
        .bucket(bucket)
        .key(&key)
        .upload_id(upload)
        .if_none_match("*")
        .multipart_upload(
            CompletedMultipartUpload::builder()
                .set_parts(Some(parts.collect()))
                .build(),
        )
        .send()
        .await;
    if let Err(error) = completed {
        let is_gone = aws::answer(&error).1 == 404;
        if !is_gone && !is_taken(&error) {
            return Err(aws::failure(place.written(), &error));
        }
        // An earlier request may have done it, and its answer been lost.
        match id_of(aws, bucket, &key).await? {
            Some(id) if id == token.id => {}
            Some(_) => {
                return Err(Failure::new(
                    ErrorKind::Rejected,
                    format!("`{}` exists already, from elsewhere", place.written()),
                )
                .hint("move it away, or write to another folder"));
            }
            None if is_gone => {
                return Err(gone(&place));
            }
            None => {
                return Err(Failure::new(
                    ErrorKind::Unavailable,
                    format!("`{}` is being written by another", place.written()),
                ));
            }
        }
    }
    if token.is_repeated {
        abort_others(aws, &place, &token).await?;
    }
    Marker::remove(aws, &place, &token.run, &token.id).await
}

/// Whether [`publish`] would find what the token names, staged or published.
pub async fn check_staged(aws: &Aws, grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let place = token.place(grant)?;
    let Some(upload) = &token.upload else {
        return Err(gone(&place));
    };
    let (bucket, key) = place.bucket_and_key();
    let parts = aws.s3().await.list_parts().bucket(bucket).key(&key);
    match parts.upload_id(upload).max_parts(1).send().await {
        Ok(_) => Ok(()),
        Err(error) if aws::answer(&error).1 == 404 => match id_of(aws, bucket, &key).await? {
            Some(id) if id == token.id => Ok(()),
            _ => Err(gone(&place)),
        },
        Err(error) => Err(aws::failure(place.written(), &error)),
    }
}

/// Removes a staged object. Done already is success; a published object stays.
pub async fn discard(aws: &Aws, grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let place = token.place(grant)?;
    remove(aws, &place, &token).await
}

/// Tokens of all that `run` staged or began to stage below `prefix`, in order of their uploads.
pub async fn list_staged(
    aws: &Aws,
    grant: &Grant,
    prefix: &Place,
    run: &str,
) -> Result<Vec<String>> {
    check_run(run)?;
    let mut tokens = Vec::new();
    for root in grant.roots(Access::Write, prefix) {
        for marker in Marker::list(aws, &root, Some(run)).await? {
            let place = marker.token.place(grant);
            if place.is_ok_and(|place| prefix.contains(&place)) {
                tokens.push((marker.token.id.clone(), marker.token.text()));
            }
        }
    }
    tokens.sort();
    Ok(tokens.into_iter().map(|(_, text)| text).collect())
}

/// Aborts the upload and removes its marker, in this order: what has a marker can be found again.
pub async fn remove(aws: &Aws, place: &Place, token: &Token) -> Result<()> {
    match &token.upload {
        Some(upload) => abort(aws, place, upload).await?,
        // The crash came before anyone knew its id.
        None => abort_others(aws, place, token).await?,
    }
    if token.is_repeated {
        abort_others(aws, place, token).await?;
    }
    Marker::remove(aws, place, &token.run, &token.id).await
}

/// Success where it is gone already.
async fn abort(aws: &Aws, place: &Place, upload: &str) -> Result<()> {
    let (bucket, key) = place.bucket_and_key();
    let s3 = aws.s3().await;
    let abort = s3.abort_multipart_upload().bucket(bucket).key(key);
    match abort.upload_id(upload).send().await {
        Ok(_) => Ok(()),
        Err(error) if aws::answer(&error).1 == 404 => Ok(()),
        Err(error) => Err(aws::failure(place.written(), &error)),
    }
}

/// Aborts the uploads of the token's key that no marker of its run names: those whose creation answered nobody.
async fn abort_others(aws: &Aws, place: &Place, token: &Token) -> Result<()> {
    let markers = Marker::list(aws, place, Some(&token.run)).await?;
    let (bucket, key) = place.bucket_and_key();
    for (found, id) in uploads(aws, bucket, &key, place).await? {
        if found == key && !is_named(&markers, &id) {
            abort(aws, place, &id).await?;
        }
    }
    Ok(())
}

fn is_named(markers: &[Marker], upload: &str) -> bool {
    let names = |marker: &Marker| marker.token.upload.as_deref() == Some(upload);
    markers.iter().any(names)
}

/// What every run left in the folder that `root` is, and how many uploads there no marker tells of.
pub async fn leftovers(aws: &Aws, grant: &Grant, root: &Place) -> Result<(Vec<Leftover>, u64)> {
    let markers = Marker::list(aws, root, None).await?;
    let (bucket, key) = root.root_bucket_and_key();
    let uploads = uploads(aws, bucket, &folder_key(&key), root).await?;
    let mut found = Vec::new();
    let mut keys = Vec::new();
    for marker in &markers {
        let Ok(place) = marker.token.place(grant) else {
            continue;
        };
        keys.push(place.bucket_and_key().1);
        found.push(Leftover {
            owner: Some((marker.tenant.clone(), marker.job.clone())),
            run: marker.token.run.clone(),
            url: place.url(),
            token: marker.token.text(),
        });
    }
    // One of a marker's key may be its own, of a creation that answered nobody.
    let others = uploads
        .iter()
        .filter(|(key, id)| !keys.contains(key) && !is_named(&markers, id));
    Ok((found, others.count() as u64))
}

/// Keys and ids of the multipart uploads whose keys begin with `prefix`.
async fn uploads(
    aws: &Aws,
    bucket: &str,
    prefix: &str,
    place: &Place,
) -> Result<Vec<(String, String)>> {
    let s3 = aws.s3().await;
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let page = s3
            .list_multipart_uploads()
            .bucket(bucket)
            .prefix(prefix)
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await
            .map_err(|error| aws::failure(place.written(), &error))?;
        found.extend(page.uploads().iter().filter_map(|upload| {
            let (key, id) = (upload.key()?, upload.upload_id()?);
            Some((key.to_owned(), id.to_owned()))
        }));
        if page.is_truncated() != Some(true) {
            return Ok(found);
        }
        key_marker = page.next_key_marker().map(str::to_owned);
        id_marker = page.next_upload_id_marker().map(str::to_owned);
    }
}
