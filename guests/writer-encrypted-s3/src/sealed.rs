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
    /// `v0`, `v1` or `parquet`.
    pub format: String,
    pub algorithm: String,
    /// As the key service names it.
    pub kms_key_id: String,
    /// None where no plain file exists.
    pub plaintext_bytes: Option<u64>,
    pub compression: String,
}

pub struct Sealing {
    pub config: Config,
}

pub struct SealedFile {
    config: Config,
    url: String,
    run: String,
    key_id: String,
    /// None where the encoder encrypts.
    sealer: Option<kms::Sealer>,
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
        let config = self.config.clone();
        let key_id = &config.kms_key_id;
        let seal = |format| -> Result<_> {
            let sealer = kms::Sealer::create(key_id, format)?;
            let encoder = Encoder::create(schema, options)?;
            Ok((encoder, sealer.key_id(), Some(sealer)))
        };
        let (encoder, key_id, sealer) = match config.format {
            Format::V0 => seal(kms::Format::V0)?,
            Format::V1 => seal(kms::Format::V1)?,
            Format::Parquet => {
                let columns = config.column_keys.iter().map(|keys| kms::ColumnKeys {
                    key_id: keys.kms_key_id.clone(),
                    columns: keys.columns.clone(),
                });
                let encryption = kms::ParquetEncryption {
                    footer_key_id: key_id.clone(),
                    columns: columns.collect(),
                    plaintext_footer: config.plaintext_footer,
                };
                let (encoder, key_id) = kms::parquet_encoder(schema, options, &encryption)?;
                (encoder, key_id, None)
            }
        };
        let file = SealedFile {
            config,
            url: url.to_owned(),
            run: run.to_owned(),
            key_id,
            sealer,
            held: Vec::new(),
            held_bytes: 0,
            plaintext_bytes: 0,
        };
        Ok((encoder, file))
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

    fn details(&self) -> Details {
        let is_sealed = self.sealer.is_some();
        Details {
            format: self.config.format.name().to_owned(),
            // Parquet's name for it, where Parquet does it.
            algorithm: match is_sealed {
                true => "AES-256-GCM".to_owned(),
                false => "AES_GCM_V1".to_owned(),
            },
            kms_key_id: self.key_id.clone(),
            plaintext_bytes: is_sealed.then_some(self.plaintext_bytes),
            compression: self.config.compression.clone(),
        }
    }
}

fn attributes(details: &Details, rows: u64) -> Attributes {
    let mut metadata = vec![
        ("client-encrypted", "true".to_owned()),
        ("encryption-algorithm", details.algorithm.clone()),
        ("kms-key-id", details.kms_key_id.clone()),
        ("row-count", rows.to_string()),
        ("dativo-version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Some(bytes) = details.plaintext_bytes {
        metadata.push(("plaintext-size", bytes.to_string()));
    }
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    Attributes {
        metadata: metadata.into_iter().map(owned).collect(),
        encrypted_at_rest: true,
    }
}

impl SinkFile for SealedFile {
    fn push(&mut self, bytes: Blob) -> Result<()> {
        self.plaintext_bytes += bytes.size();
        let sealed = match &self.sealer {
            Some(sealer) => sealer.update(&[&bytes])?,
            None => bytes,
        };
        self.hold(sealed);
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn stage(mut self, rows: u64) -> Result<StagedFile> {
        let mut head = None;
        if let Some(sealer) = &self.sealer {
            let last = sealer.finish()?;
            head = Some(sealer.head()?);
            self.hold(last);
        }
        let details = self.details();
        let mut parts = Parts::create(&self.url, &self.run, &attributes(&details, rows))?;
        for sealed in head.into_iter().chain(self.held) {
            parts.push(sealed)?;
        }
        Ok(StagedFile {
            details: serde_json::to_value(details).ok(),
            ..parts.stage(rows)?
        })
    }
}
