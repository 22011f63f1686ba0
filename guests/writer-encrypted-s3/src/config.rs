//! The `config` block: keys, defaults, sizes. Pure.

use dativo_connector::{Error, Result};
use parquet_files::parse_size;
use serde::Deserialize;
use serde_json::{Value, json};

const DEFAULT_FILE_BYTES: u64 = 32 << 20;
const DEFAULT_ROW_GROUP_ROWS: u32 = 1 << 20;

/// Smaller files would be mostly footer.
const MIN_FILE_BYTES: u64 = 64 << 10;

/// A sealed file is held in memory until its size and its rows are known, which stand in the metadata that S3 takes first.
const MAX_FILE_BYTES: u64 = 128 << 20;

#[derive(Clone, Deserialize)]
pub struct Config {
    pub s3_bucket: String,
    #[serde(default)]
    pub s3_prefix: String,
    pub kms_key_id: String,
    #[serde(default = "default_compression")]
    pub compression: String,
    #[serde(default)]
    pub format: Format,
    #[serde(default = "default_row_group_rows")]
    pub row_group_rows: u32,
    #[serde(default)]
    target_file_size: Option<Value>,
    #[serde(default)]
    pub partition_by: Vec<String>,
    #[serde(default)]
    pub column_keys: Vec<ColumnKeys>,
    #[serde(default)]
    pub plaintext_footer: bool,
}

/// Columns with a master key of their own.
#[derive(Clone, Deserialize)]
pub struct ColumnKeys {
    pub kms_key_id: String,
    pub columns: Vec<String>,
}

/// How files are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One message of AES-256-GCM a file.
    #[default]
    V0,
    /// Chunks that can be read one by one.
    V1,
    /// Parquet's own: modular encryption.
    Parquet,
}

fn default_compression() -> String {
    "snappy".to_owned()
}

fn default_row_group_rows() -> u32 {
    DEFAULT_ROW_GROUP_ROWS
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::V0 => "v0",
            Self::V1 => "v1",
            Self::Parquet => "parquet",
        }
    }
}

impl Config {
    /// Where everything goes, with one slash at its end.
    pub fn root(&self) -> String {
        match self.s3_prefix.trim_end_matches('/') {
            "" => format!("s3://{}/", self.s3_bucket),
            prefix => format!("s3://{}/{prefix}/", self.s3_bucket),
        }
    }

    /// Refuses what only Parquet's own encryption has.
    pub fn check(&self) -> Result<()> {
        let is_plain = self.column_keys.is_empty() && !self.plaintext_footer;
        match is_plain || self.format == Format::Parquet {
            true => Ok(()),
            false => Err(Error::invalid_config(
                "`column_keys` and `plaintext_footer` are for `format: parquet`",
            )
            .hint("set `format: parquet`, or leave them out")),
        }
    }

    pub fn target_file_bytes(&self) -> Result<u64> {
        let bytes = match &self.target_file_size {
            None => Some(DEFAULT_FILE_BYTES),
            Some(Value::Number(bytes)) => bytes.as_u64(),
            Some(Value::String(text)) => parse_size(text),
            Some(_) => None,
        };
        bytes
            .filter(|bytes| (MIN_FILE_BYTES..=MAX_FILE_BYTES).contains(bytes))
            .ok_or_else(|| {
                Error::invalid_config("`target_file_size` must be a size from 64 KiB to 128 MiB")
                    .hint("write it as `32MiB`, or as a number of bytes")
            })
    }
}

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    let target = "s3://{s3_bucket}/{s3_prefix}/**";
    json!({
        "type": "object",
        "required": ["s3_bucket", "kms_key_id"],
        "additionalProperties": false,
        "properties": {
            "s3_bucket": { "type": "string", "minLength": 3,
                "description": "The bucket that the files go to." },
            "s3_prefix": { "type": "string", "default": "",
                "description": "What their keys begin with, such as `tenants/acme/orders`. Default: nothing." },
            "kms_key_id": { "type": "string", "minLength": 1,
                "description": "The master key: an id, an ARN or an alias of KMS; or `file:` and the path of a key file, for development." },
            "compression": { "enum": ["snappy", "zstd", "none"], "default": "snappy",
                "description": "Of the column pages, before they are encrypted. Default: `snappy`." },
            "format": { "enum": ["v0", "v1", "parquet"], "default": "v0",
                "description": "How a file is encrypted: `v0` is one AES-256-GCM message, `v1` chunks that are bound to tenant, job and run and can be read one by one, `parquet` is the modular encryption of Parquet, which Spark and pyarrow open. Default: `v0`." },
            "column_keys": { "type": "array", "maxItems": 32, "default": [],
                "items": { "type": "object", "required": ["kms_key_id", "columns"], "additionalProperties": false,
                    "properties": {
                        "kms_key_id": { "type": "string", "minLength": 1 },
                        "columns": { "type": "array", "minItems": 1, "items": { "type": "string" } } } },
                "description": "Format `parquet`: columns with a master key of their own, `{ kms_key_id: …, columns: [ssn] }`; the job grants each such key, `grants: { kms: [\"generate …\"] }`. Default: none; the others have `kms_key_id`." },
            "plaintext_footer": { "type": "boolean", "default": false,
                "description": "Format `parquet`: whether anyone may read names, types and numbers of rows. Default: false." },
            "row_group_rows": { "type": "integer", "minimum": 1, "maximum": 10_485_760,
                "default": DEFAULT_ROW_GROUP_ROWS,
                "description": "Rows of a row group; one also ends at 12 MiB of encoded bytes. Default: 1048576." },
            "target_file_size": { "type": ["string", "integer"], "default": "32MiB",
                "description": "A file is closed once it is this long and the next one begins; 64 KiB to 128 MiB, which a file takes in memory. Default: `32MiB`." },
            "partition_by": { "type": "array", "items": { "type": "string" }, "uniqueItems": true,
                "maxItems": 8, "default": [],
                "description": "Columns whose values become folders (`year=2024/`), in plain text; they are left out of the files. Default: none." },
        },
        "x-dativo-grants": [
            { "capability": "object-store", "access": "read", "target": target },
            { "capability": "object-store", "access": "write", "target": target },
            { "capability": "kms", "access": "generate", "target": "{kms_key_id}" },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(prefix: &str, size: Value) -> Config {
        let config = json!({ "s3_bucket": "lake", "s3_prefix": prefix, "kms_key_id": "k", "target_file_size": size });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_root_has_one_slash_at_its_end() {
        for (prefix, expected) in [
            ("", "s3://lake/"),
            ("/", "s3://lake/"),
            ("a/b", "s3://lake/a/b/"),
            ("a/b//", "s3://lake/a/b/"),
        ] {
            assert_eq!(config(prefix, Value::Null).root(), expected);
        }
    }

    #[test]
    fn a_file_fits_into_memory() {
        let bytes = |size: Value| config("", size).target_file_bytes().ok();
        assert_eq!(bytes(Value::Null), Some(32 << 20));
        assert_eq!(bytes(json!("128MiB")), Some(128 << 20));
        assert_eq!(bytes(json!("129MiB")), None);
        assert_eq!(bytes(json!(1)), None);
        assert_eq!(bytes(json!("much")), None);
    }
}
