//! Receipts: the files of a run with their digests, which a snapshot's summary has no room for.
//!
//! One Avro file among the metadata of the table, whose own digest stands in the summary. Stores made for tables take no other
//! format there. Knows no catalog.

use std::collections::HashMap;

use apache_avro::{Reader, Schema, Writer};
use bytes::Bytes;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::history::Landed;
use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::hex;

const SCHEMA: &str = r#"{ "type": "record", "name": "data_file", "namespace": "dativo", "fields": [
    { "name": "path", "type": "string" }, { "name": "rows", "type": "long" },
    { "name": "bytes", "type": "long" }, { "name": "sha256", "type": "string" },
    { "name": "content", "type": { "type": "enum", "name": "content", "symbols": ["rows", "rewritten", "deletes"] } } ] }"#;

/// A data file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    #[serde(default)]
    pub content: Content,
}

/// What a file of a run holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Rows that the run read.
    #[default]
    Rows,
    /// Rows of the table that an upsert wrote again, because others of their file were replaced.
    Rewritten,
    /// Keys of older rows that are gone.
    Deletes,
}

/// The files of a run: what its snapshot's summary has no room for.
pub struct Receipt {
    pub run: String,
    pub tenant: String,
    pub job: String,
    pub files: Vec<Written>,
}

impl Receipt {
    /// Writes it to `url`, and gives what the table will say of the run.
    pub async fn save(
        &self,
        warehouse: &Warehouse,
        url: String,
        snapshot: i64,
        state: Option<String>,
    ) -> Result<Landed> {
        // The bytes of an Avro file are never the same twice: what an earlier attempt wrote is taken.
        let bytes = match warehouse.read(&url).await {
            Ok(bytes) if read(&bytes).is_ok_and(|files| files == self.files) => bytes,
            Ok(_) => {
                let message = format!("`{url}` is of the same run and lists other files");
                return Err(Failure::new(ErrorKind::Rejected, message)
                    .hint("run the job again: it takes new names"));
            }
            Err(failure) if failure.kind == ErrorKind::NotFound => {
                let bytes = self.bytes();
                let bytes: Bytes = bytes
                    .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?
                    .into();
                warehouse.write_new(&url, bytes.clone()).await?;
                bytes
            }
            Err(failure) => return Err(failure),
        };
        let sha256 = Sha256::digest(&bytes);
        Ok(Landed {
            run: self.run.clone(),
            snapshot,
            state,
            receipt: url,
            receipt_sha256: hex(&sha256),
            summary: HashMap::new(),
        })
    }

    fn bytes(&self) -> Result<Vec<u8>, apache_avro::Error> {
        let schema = Schema::parse_str(SCHEMA)?;
        let mut writer = Writer::new(&schema, Vec::new());
        for (key, value) in [
            ("dativo.run", &self.run),
            ("dativo.tenant", &self.tenant),
            ("dativo.job", &self.job),
        ] {
            writer.add_user_metadata(key.to_owned(), value)?;
        }
        for file in &self.files {
            writer.append_ser(file)?;
        }
        writer.into_inner()
    }
}

/// Where the receipt of a run is, in `folder`, which ends in `/`. It is there before any attempt to commit.
pub fn url(folder: &str, run: &str) -> String {
    format!("{folder}{run}-receipt.avro")
}

/// Where that of one attempt to merge is: each may write other files.
pub fn url_of_attempt(folder: &str, run: &str) -> String {
    format!("{folder}{run}-receipt-{}.avro", uuid::Uuid::now_v7())
}

/// The files of a run that is in the table, as its receipt has them; none where somebody removed it.
pub async fn files(warehouse: &Warehouse, landed: &Landed) -> Result<Vec<Written>> {
    let bytes = match warehouse.read(&landed.receipt).await {
        Ok(bytes) => bytes,
        Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    read(&bytes).map_err(|error| {
        let message = format!("`{}` is no receipt of a run: {error}", landed.receipt);
        Failure::new(ErrorKind::Rejected, message).hint("restore it, or remove it")
    })
}

fn read(bytes: &[u8]) -> Result<Vec<Written>, apache_avro::Error> {
    let records = Reader::new(bytes)?;
    records
        .map(|record| apache_avro::from_value(&record?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_as_it_was_written_and_damage_is_seen() {
        let file = Written {
            path: "s3://lake/t/data/r/a.parquet".to_owned(),
            rows: 7,
            bytes: 1 << 40,
            sha256: "00".repeat(32),
            content: Content::Rewritten,
        };
        let receipt = Receipt {
            run: "r".to_owned(),
            tenant: "t".to_owned(),
            job: "j".to_owned(),
            files: vec![file.clone(), file],
        };
        let bytes = receipt.bytes().unwrap();
        let found = read(&bytes).unwrap();
        assert_eq!(found, receipt.files);
        assert!(read(&bytes[..bytes.len() - 3]).is_err());
        assert!(read(b"{}").is_err());
    }
}
