//! The `config` block: keys, defaults, sizes.

use dativo_connector::{Error, Result};
use parquet_files::parse_size;
use serde::Deserialize;
use serde_json::{Value, json};

const DEFAULT_FILE_BYTES: u64 = 512 << 20;
const DEFAULT_ROW_GROUP_ROWS: u32 = 1 << 20;

/// Smaller files would be mostly footer.
const MIN_FILE_BYTES: u64 = 64 << 10;

#[derive(Clone, Deserialize)]
pub struct Config {
    pub path: String,
    #[serde(default = "default_compression")]
    pub compression: String,
    #[serde(default = "default_row_group_rows")]
    pub row_group_rows: u32,
    #[serde(default)]
    target_file_size: Option<Value>,
    #[serde(default)]
    pub partition_by: Vec<String>,
}

fn default_compression() -> String {
    "snappy".to_owned()
}

fn default_row_group_rows() -> u32 {
    DEFAULT_ROW_GROUP_ROWS
}

impl Config {
    /// `path` with one slash at its end.
    pub fn root(&self) -> String {
        format!("{}/", self.path.trim_end_matches('/'))
    }

    /// The name of an object below `path`. Folders of partitions hold percent signs of their own, which
    /// in a `file` URL must not be taken for its encoding; in one of S3 a key stands as it is.
    pub fn object(&self, name: &str) -> String {
        let root = self.root();
        if !root.contains("://") || root.starts_with("s3://") {
            return format!("{root}{name}");
        }
        let mut object = root;
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => object.push(byte.into()),
                _ if b"-._~/=".contains(&byte) => object.push(byte.into()),
                _ => object.push_str(&format!("%{byte:02X}")),
            }
        }
        object
    }

    /// A file is closed once it is this long, in encoded bytes.
    pub fn target_file_bytes(&self) -> Result<u64> {
        let bytes = match &self.target_file_size {
            None => Some(DEFAULT_FILE_BYTES),
            Some(Value::Number(bytes)) => bytes.as_u64(),
            Some(Value::String(text)) => parse_size(text),
            Some(_) => None,
        };
        bytes
            .filter(|bytes| *bytes >= MIN_FILE_BYTES)
            .ok_or_else(|| {
                Error::invalid_config("`target_file_size` must be a size of at least 64 KiB")
                    .hint("write it as `256MiB`, or as a number of bytes")
            })
    }
}

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    json!({
        "type": "object",
        "required": ["path"],
        "additionalProperties": false,
        "properties": {
            "path": { "type": "string", "minLength": 1,
                "description": "The directory that the files go to, made where absent; or a place in a bucket: `s3://bucket/prefix`." },
            "compression": { "enum": ["snappy", "zstd", "none"], "default": "snappy",
                "description": "Of the column pages. Default: `snappy`." },
            "row_group_rows": { "type": "integer", "minimum": 1, "maximum": 10_485_760,
                "default": DEFAULT_ROW_GROUP_ROWS,
                "description": "Rows of a row group; one also ends at 12 MiB of encoded bytes. Default: 1048576." },
            "target_file_size": { "type": ["string", "integer"], "default": "512MiB",
                "description": "A file is closed once it is this long and the next one begins; at least 64 KiB. Default: `512MiB`." },
            "partition_by": { "type": "array", "items": { "type": "string" }, "uniqueItems": true,
                "maxItems": 8, "default": [],
                "description": "Columns whose values become folders (`year=2024/`); they are left out of the files. Default: none." },
        },
        "x-dativo-grants": [
            { "capability": "object-store", "access": "read", "target": "{path}/**" },
            { "capability": "object-store", "access": "write", "target": "{path}/**" },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_partition_keeps_its_name_in_a_path_and_in_a_url() {
        let check = |path: &str, expected: &str| {
            let config: Config = serde_json::from_value(json!({ "path": path })).unwrap();
            assert_eq!(config.object("city=a%2Fb/é.parquet"), expected);
        };
        check("out", "out/city=a%2Fb/é.parquet");
        check("/out//", "/out/city=a%2Fb/é.parquet");
        check("file:///out", "file:///out/city=a%252Fb/%C3%A9.parquet");
        check("s3://lake/out", "s3://lake/out/city=a%2Fb/é.parquet");
    }

    #[test]
    fn sizes_are_numbers_of_bytes_or_have_a_unit() {
        let check = |value: Value, expected: Option<u64>| {
            let config = json!({ "path": "out", "target_file_size": value });
            let config: Config = serde_json::from_value(config).unwrap();
            assert_eq!(config.target_file_bytes().ok(), expected, "{value}");
        };
        check(json!("1MiB"), Some(1 << 20));
        check(json!("2 GB"), Some(2_000_000_000));
        check(json!(100_000), Some(100_000));
        check(json!(Value::Null), Some(DEFAULT_FILE_BYTES));
        check(json!("1 parsec"), None);
        check(json!("MiB"), None);
        check(json!(1), None);
        check(json!(-1), None);
        check(json!("99999999999999999999GiB"), None);
    }
}
