//! The `config` block: keys, defaults, and what the schema alone cannot say.

use dativo_connector::{Error, Result};
use serde::Deserialize;
use serde_json::json;

use crate::value::Kind;

/// The smallest split by default: below it a second instance costs more than it brings.
const DEFAULT_SPLIT_BYTES: u64 = 16 << 20;

#[derive(Clone, Deserialize)]
#[serde(default)]
pub struct Config {
    pub file_path: String,
    pub header: bool,
    pub delimiter: String,
    pub quote: String,
    /// Rows of a batch, where it is less than the host asks for.
    pub batch_size: usize,
    pub skip_rows: u64,
    pub compression: String,
    pub null_values: Vec<String>,
    pub sample_rows: usize,
    pub schema: Option<Vec<DeclaredColumn>>,
    pub incremental: bool,
    pub split_bytes: u64,
}

#[derive(Clone, Deserialize)]
pub struct DeclaredColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file_path: String::new(),
            header: true,
            delimiter: ",".to_owned(),
            quote: "\"".to_owned(),
            batch_size: usize::MAX,
            skip_rows: 0,
            compression: "auto".to_owned(),
            null_values: vec![String::new()],
            sample_rows: 10_000,
            schema: None,
            incremental: true,
            split_bytes: DEFAULT_SPLIT_BYTES,
        }
    }
}

impl Config {
    pub fn check(&self) -> Result<()> {
        let (delimiter, quote) = (self.delimiter_byte(), self.quote_byte());
        let bad = |byte: Option<u8>| byte.is_none_or(|byte| matches!(byte, b'\n' | b'\r' | 0));
        if bad(delimiter) || bad(quote) || delimiter == quote {
            return Err(Error::invalid_config(
                "`delimiter` and `quote` must be two different ASCII characters",
            )
            .hint("write a tab as `delimiter: \"\\t\"`"));
        }
        Ok(())
    }

    pub fn delimiter_byte(&self) -> Option<u8> {
        single(match self.delimiter.as_str() {
            "\\t" => "\t",
            other => other,
        })
    }

    pub fn quote_byte(&self) -> Option<u8> {
        single(&self.quote)
    }

    pub fn is_compressed(&self) -> bool {
        match self.compression.as_str() {
            "auto" => self.file_path.to_ascii_lowercase().ends_with(".gz"),
            "none" => false,
            _ => true,
        }
    }

    /// Whether an unquoted field, or any field of a column that is not text, stands for null.
    pub fn is_null(&self, field: &[u8]) -> bool {
        self.null_values.iter().any(|null| null.as_bytes() == field)
    }
}

fn single(text: &str) -> Option<u8> {
    match *text.as_bytes() {
        [byte] if byte.is_ascii() => Some(byte),
        _ => None,
    }
}

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    json!({
        "type": "object",
        "required": ["file_path"],
        "additionalProperties": false,
        "properties": {
            "file_path": { "type": "string", "minLength": 1,
                "description": "The file, as a path or a `file://` URL." },
            "header": { "type": "boolean", "default": true,
                "description": "Whether the first record names the columns; else they are `column_1`, `column_2`. Default: true." },
            "delimiter": { "type": "string", "default": ",", "minLength": 1, "maxLength": 2,
                "description": "One ASCII character between fields. Default: `,`." },
            "quote": { "type": "string", "default": "\"", "minLength": 1, "maxLength": 1,
                "description": "One ASCII character around fields that hold delimiters, line ends or quotes; doubled inside. Default: `\"`." },
            "batch_size": { "type": "integer", "minimum": 1,
                "description": "Most rows of a batch. Default: `limits.batch_rows`; a batch also ends at 8 MiB of text." },
            "skip_rows": { "type": "integer", "minimum": 0, "default": 0,
                "description": "Lines before the header that are no part of the table. Default: 0." },
            "compression": { "enum": ["auto", "none", "gzip"], "default": "auto",
                "description": "`auto` takes gzip for names that end in `.gz`. Default: `auto`." },
            "null_values": { "type": "array", "items": { "type": "string" }, "default": [""],
                "description": "Fields that stand for null. A quoted field of a text column is text, whatever it says. Default: the empty field." },
            "sample_rows": { "type": "integer", "minimum": 1, "default": 10_000,
                "description": "Rows, of at most 4 MiB, from which types are inferred. Default: 10000." },
            "schema": { "type": "array", "minItems": 1,
                "items": { "type": "object", "required": ["name", "type"], "additionalProperties": false,
                    "properties": {
                        "name": { "type": "string", "minLength": 1 },
                        "type": { "enum": Kind::NAMES } } },
                "description": "Types of columns that are not to be inferred. Without a header, the names of all columns in order." },
            "incremental": { "type": "boolean", "default": true,
                "description": "Read the file only where its size or time differs from the last committed run. Default: true." },
            "split_bytes": { "type": "integer", "minimum": 1024, "default": DEFAULT_SPLIT_BYTES,
                "description": "Smallest split of a plain file, in bytes. Default: 16777216." },
        },
        "x-dativo-grants": [
            { "capability": "object-store", "access": "read", "target": "{file_path}" },
        ],
    })
    .to_string()
}
