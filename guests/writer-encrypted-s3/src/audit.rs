//! The audit record of a run: who wrote what, under which key, with which components. One object a run, made once and
//! never changed: `_dativo/<tenant>/<job>/audit/<run>.json`.
//!
//! All of it comes from the manifest, so that whoever finishes a commit makes the same record.

use dativo_connector::object_store as store;
use dativo_connector::{Blob, Error, ErrorKind, Receipt, Result};
use parquet_files::{Manifest, StagedFile, folder};
use serde_json::{Value, json};

use crate::sealed::Details;

/// The version of the format of a record.
const FORMAT: u32 = 1;

/// Longest record, in bytes: the store gives no more at a time.
const MAX_RECORD_BYTES: u32 = 64 << 20;

/// What a blob gives at a time, in bytes.
const READ_BYTES: u32 = 16 << 20;

/// Writes the record of a commit whose files are visible. Done already is success.
pub fn put(root: &str, manifest: &Manifest) -> Result<()> {
    let text = serde_json::to_vec_pretty(&record(manifest))
        .map_err(|error| Error::internal(error.to_string()))?;
    let url = url(root, manifest);
    match store::put_new(&url, &Blob::from_list(&text)?).map_err(Error::from) {
        Err(error) if error.kind == ErrorKind::Rejected => check_same(&url, &text, error),
        outcome => outcome,
    }
}

/// The report of a commit: of each file the keys that the first writer of this kind had, and where the record is.
pub fn receipt(root: &str, manifest: &Manifest) -> Receipt {
    let files: Vec<Value> = manifest.files.iter().map(report).collect();
    let details = json!({ "files": files, "audit_record": url(root, manifest) });
    Receipt {
        details: Some(details.to_string()),
        ..manifest.receipt()
    }
}

fn url(root: &str, manifest: &Manifest) -> String {
    let folder = folder(root, &manifest.tenant, &manifest.job);
    format!("{folder}audit/{}.json", manifest.run)
}

fn check_same(url: &str, text: &[u8], refusal: Error) -> Result<()> {
    let found = store::get(url, 0, MAX_RECORD_BYTES)?;
    let mut bytes = Vec::new();
    while bytes.len() < found.size() as usize {
        let block = found.read(bytes.len() as u64, READ_BYTES);
        if block.is_empty() {
            break;
        }
        bytes.extend(block);
    }
    match bytes == text {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "the audit record `{url}` is another one: {}",
            refusal.message
        ))
        .hint("someone wrote it; keep it, find out who did, and move it away")),
    }
}

fn record(manifest: &Manifest) -> Value {
    let files: Vec<Value> = manifest.files.iter().map(report).collect();
    let rows: u64 = manifest.files.iter().map(|file| file.rows).sum();
    json!({
        "format": FORMAT,
        "run": manifest.run,
        "tenant": manifest.tenant,
        "job": manifest.job,
        "components": manifest.components,
        "row_count": rows,
        "files": files,
    })
}

fn report(file: &StagedFile) -> Value {
    let details: Option<Details> = file
        .details
        .as_ref()
        .and_then(|details| serde_json::from_value(details.clone()).ok());
    let (bucket, key) = file
        .path
        .strip_prefix("s3://")
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    json!({
        "s3_uri": file.path,
        "s3_bucket": bucket,
        "s3_key": key,
        "encrypted": true,
        "encryption_algorithm": "AES-256-GCM",
        "encryption_format": details.as_ref().map(|details| &details.format),
        "kms_key_id": details.as_ref().map(|details| &details.kms_key_id),
        "row_count": file.rows,
        "plaintext_size_bytes": details.as_ref().map(|details| details.plaintext_bytes),
        "encrypted_size_bytes": file.bytes,
        "checksum_sha256": file.sha256,
        "compression": details.as_ref().map(|details| &details.compression),
    })
}
