//! One sealed file: encoded bytes go in, and the upload begins when all of it is known.
//!
//! In format v0 the tag stands before the ciphertext, and S3 takes the metadata, with size and rows, before the first byte:
//! so the sealed bytes wait in host memory, as handles. The plain ones are given back piece by piece.

use dativo_connector::kms;
use dativo_connector::object_store::Attributes;
use dativo_connector::parquet::Encoder;
use dativo_connector::{Blob, Result, Schema};
use parquet_files::{Parts, Sink, SinkFile, StagedFile};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Format};

/// What a manifest keeps of a sealed file, beside its size, rows and checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// `v0` or `v1`.
    pub format: String,
    /// As the key service names it.
    pub kms_key_id: String,
    pub plaintext_bytes: u64,
    pub compression: String,
}

pub struct Sealing {
    pub config: Config,
}

pub struct SealedFile {
    config: Config,
    url: String,
    run: String,
    sealer: kms::Sealer,
    held: Vec<Blob>,
    held_bytes: u64,
    plaintext_bytes: u64,
}

impl Sink for Sealing {
    type File = SealedFile;

    fn object(&self, name: &str) -> String {
        format!("{}{name}", self.config.root())
    }

    fn begin(
        &self,
        url: &str,
        run: &str,
        schema: &Schema,
        options: &str,
    ) -> Result<(Encoder, SealedFile)> {
        let format = match self.config.format {
            Format::V0 => kms::Format::V0,
            Format::V1 => kms::Format::V1,
        };
        let file = SealedFile {
            config: self.config.clone(),
            url: url.to_owned(),
            run: run.to_owned(),
            sealer: kms::Sealer::create(&self.config.kms_key_id, format)?,
            held: Vec::new(),
            held_bytes: 0,
            plaintext_bytes: 0,
        };
        Ok((Encoder::create(schema, options)?, file))
    }
}

impl SealedFile {
    fn hold(&mut self, sealed: Blob) {
        let bytes = sealed.size();
        if bytes > 0 {
            self.held_bytes += bytes;
            self.held.push(sealed);
        }
    }

    fn attributes(&self, key: &str, rows: u64) -> Attributes {
        let metadata = [
            ("client-encrypted", "true".to_owned()),
            ("encryption-algorithm", "AES-256-GCM".to_owned()),
            ("kms-key-id", key.to_owned()),
            ("plaintext-size", self.plaintext_bytes.to_string()),
            ("row-count", rows.to_string()),
            ("dativo-version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        Attributes {
            metadata: metadata
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            encrypted_at_rest: true,
        }
    }
}

impl SinkFile for SealedFile {
    fn push(&mut self, bytes: Blob) -> Result<()> {
        self.plaintext_bytes += bytes.size();
        let sealed = self.sealer.update(&[&bytes])?;
        self.hold(sealed);
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn stage(mut self, rows: u64) -> Result<StagedFile> {
        let last = self.sealer.finish()?;
        self.hold(last);
        let key = self.sealer.key_id();
        let attributes = self.attributes(&key, rows);
        let mut parts = Parts::create(&self.url, &self.run, &attributes)?;
        parts.push(self.sealer.head()?)?;
        for sealed in self.held {
            parts.push(sealed)?;
        }
        let details = Details {
            format: self.config.format.name().to_owned(),
            kms_key_id: key,
            plaintext_bytes: self.plaintext_bytes,
            compression: self.config.compression,
        };
        Ok(StagedFile {
            details: serde_json::to_value(details).ok(),
            ..parts.stage(rows)?
        })
    }
}
