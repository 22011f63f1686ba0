//! The `config` block: keys, defaults, and what they mean.

use dativo_connector::{Error, Result};
use serde::Deserialize;
use serde_json::json;

use crate::columns::{Encoding, Nulls};
use crate::rows::Source;
use crate::scan::Format;
use crate::types::{Column, Origin, TYPE_PATTERN, Type};

/// Rows in a batch, where the host does not ask for fewer.
const DEFAULT_BATCH_ROWS: usize = 65_536;

const DEFAULT_SAMPLE_ROWS: usize = 10_000;

/// Below this a second instance costs more than it saves, in bytes.
const DEFAULT_SPLIT_BYTES: u64 = 16 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub file_path: String,
    pub header: bool,
    delimiter: String,
    quote: String,
    escape: String,
    encoding: Encoding,
    pub batch_size: usize,
    pub skip_rows: usize,
    compression: Compression,
    null_values: Vec<String>,
    pub sample_rows: usize,
    #[serde(rename = "schema")]
    pub declared: Vec<Declared>,
    pub incremental: bool,
    pub split_bytes: u64,
}

/// The type of one column, as the job says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Type,
}

impl Declared {
    pub fn column(&self) -> Column {
        Column {
            name: self.name.clone(),
            kind: self.kind,
            origin: Origin::Declared,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compression {
    Auto,
    None,
    Gzip,
    Bzip2,
    Zstd,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file_path: String::new(),
            header: true,
            delimiter: ",".to_owned(),
            quote: "\"".to_owned(),
            escape: String::new(),
            encoding: Encoding::Utf8,
            batch_size: DEFAULT_BATCH_ROWS,
            skip_rows: 0,
            compression: Compression::Auto,
            null_values: vec![String::new()],
            sample_rows: DEFAULT_SAMPLE_ROWS,
            declared: Vec::new(),
            incremental: true,
            split_bytes: DEFAULT_SPLIT_BYTES,
        }
    }
}

impl Config {
    /// What the byte stream of `file` has to undo.
    pub fn compression(&self, file: &str) -> &'static str {
        match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Zstd => "zstd",
            Compression::Auto => {
                let name = file.to_ascii_lowercase();
                let by_ending = [(".gz", "gzip"), (".bz2", "bzip2"), (".zst", "zstd")];
                let found = by_ending.iter().find(|(ending, _)| name.ends_with(ending));
                found.map_or("none", |(_, compression)| compression)
            }
        }
    }

    /// The rules for reading `file`.
    pub fn source(&self, file: &str) -> Result<Source> {
        let delimiter = one_byte("delimiter", &self.delimiter)?;
        let optional = |key, text: &str| match text {
            "" => Ok(None),
            text => one_byte(key, text).map(Some),
        };
        let quote = optional("quote", &self.quote)?;
        // As the quote itself it says what is so anyway: quotes are doubled.
        let escape = optional("escape", &self.escape)?.filter(|escape| Some(*escape) != quote);
        if quote == Some(delimiter) {
            return Err(Error::invalid_config("`quote` and `delimiter` must differ"));
        }
        if escape == Some(delimiter) {
            return Err(Error::invalid_config(
                "`escape` and `delimiter` must differ",
            ));
        }
        if escape.is_some() && quote.is_none() {
            return Err(Error::invalid_config(
                "`escape` needs a `quote`: it has a meaning inside quotes only",
            )
            .hint("remove `escape`, or set `quote`"));
        }
        Ok(Source {
            file: format!("`{file}`"),
            format: Format {
                delimiter,
                quote,
                escape,
            },
            nulls: Nulls::new(&self.null_values, self.encoding),
            encoding: self.encoding,
        })
    }
}

fn one_byte(key: &str, text: &str) -> Result<u8> {
    match (text, text.as_bytes()) {
        ("\\t", _) => Ok(b'\t'),
        (_, &[byte]) if byte.is_ascii() && !matches!(byte, 0 | b'\n' | b'\r') => Ok(byte),
        _ => Err(Error::invalid_config(format!(
            "`{key}` must be one ASCII character and no line end, not {text:?}"
        ))
        .hint(format!("for a tab, write `{key}: \"\\t\"`"))),
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
                "description": "The files to read: a path, relative to the working directory, or a URL. `*` stands \
                    for any text inside a name and `**` for any folders: `data/**/*.csv`. All files have the same \
                    columns, found by their names." },
            "header": { "type": "boolean", "default": true,
                "description": "Whether the first record names the columns. Without it they are \
                    `column_1`, `column_2` and so on, or as `schema` names them." },
            "delimiter": { "type": "string", "default": ",", "minLength": 1, "maxLength": 2,
                "description": "One ASCII character between fields; `\\t` is a tab." },
            "quote": { "type": "string", "default": "\"", "maxLength": 1,
                "description": "One ASCII character around fields that hold delimiters, newlines or quotes, \
                    which are doubled. An empty string turns quoting off." },
            "escape": { "type": "string", "default": "", "maxLength": 1,
                "description": "One ASCII character that makes the character after it plain, inside quotes only. \
                    Doubled quotes work as well." },
            "encoding": { "enum": ["utf-8", "latin-1"], "default": "utf-8",
                "description": "Of the text. A byte order mark of UTF-8 is passed over; `latin-1` is ISO 8859-1." },
            "skip_rows": { "type": "integer", "minimum": 0, "default": 0,
                "description": "Lines at the start of the file, before the header, that are no part of the table." },
            "compression": { "enum": ["auto", "none", "gzip", "bzip2", "zstd"], "default": "auto",
                "description": "`auto` goes by the name: `.gz` is gzip, `.bz2` bzip2, `.zst` zstd." },
            "null_values": { "type": "array", "items": { "type": "string" }, "default": [""],
                "description": "Values that are null. A quoted value of a string column never is: \
                    `\"\"` is an empty string." },
            "sample_rows": { "type": "integer", "minimum": 1, "default": DEFAULT_SAMPLE_ROWS,
                "description": "Records from which types are inferred, within 4 MiB of text; of the first files, where there \
                    are several. A type that was inferred once is kept in the state for later runs." },
            "schema": { "type": "array", "default": [],
                "description": "Types of columns that should not be inferred. With a header, columns are \
                    found by name; without one, either all are listed in order, or some as `column_1`, \
                    `column_2` and so on.",
                "items": { "type": "object", "required": ["name", "type"], "additionalProperties": false,
                    "properties": {
                        "name": { "type": "string", "minLength": 1 },
                        "type": { "type": "string", "pattern": TYPE_PATTERN,
                            "description": "`int32`, `int64`, `float64`, `decimal(p,s)`, `bool`, `date`, `timestamp`, \
                                `timestamptz` or `string`." } } } },
            "incremental": { "type": "boolean", "default": true,
                "description": "Leave out files that did not change, by size and time of modification, since they \
                    were read. A changed file is read again, whole." },
            "batch_size": { "type": "integer", "minimum": 1, "default": DEFAULT_BATCH_ROWS,
                "description": "Rows in a batch at most. Batches also end at about 1 MiB of data (4 MiB \
                    where there are thousands of columns), and at the job's own limit." },
            "split_bytes": { "type": "integer", "minimum": 1024, "default": DEFAULT_SPLIT_BYTES,
                "description": "The least text, in bytes, for each of several instances that read side by side. \
                    Plain files are cut between records; compressed ones are read by one instance each." },
        },
        "x-dativo-grants": [
            { "capability": "object-store", "access": "read", "target": "{file_path}" },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn refuses_what_cannot_shape_a_file() {
        for (config_text, message) in [
            (r#"{"delimiter": "ab"}"#, "`delimiter` must be one ASCII"),
            (r#"{"delimiter": "ä"}"#, "`delimiter` must be one ASCII"),
            (r#"{"delimiter": "\n"}"#, "`delimiter` must be one ASCII"),
            (
                r#"{"delimiter": "\u0000"}"#,
                "`delimiter` must be one ASCII",
            ),
            (r#"{"quote": "\r"}"#, "`quote` must be one ASCII"),
            (r#"{"quote": ","}"#, "must differ"),
            (r#"{"escape": "ab"}"#, "`escape` must be one ASCII"),
            (r#"{"escape": ","}"#, "must differ"),
            (
                r#"{"escape": "|", "quote": ""}"#,
                "`escape` needs a `quote`",
            ),
        ] {
            let error = config(config_text).source("f.csv").unwrap_err();
            assert!(error.message.contains(message), "{}", error.message);
        }
    }

    #[test]
    fn formats() {
        let format = |text| config(text).source("f.csv").unwrap().format;
        assert_eq!(
            format("{}"),
            Format {
                delimiter: b',',
                quote: Some(b'"'),
                escape: None,
            }
        );
        let tabs = Format {
            delimiter: b'\t',
            quote: None,
            escape: None,
        };
        assert_eq!(format(r#"{"delimiter": "\\t", "quote": ""}"#), tabs);
        assert_eq!(format(r#"{"delimiter": "\t", "quote": ""}"#), tabs);
    }

    #[test]
    fn the_schema_and_the_type_know_the_same_keys_and_defaults() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let defaults: serde_json::Map<_, _> = properties
            .iter()
            .filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())))
            .collect();
        assert_eq!(
            defaults.len(),
            properties.len() - 1,
            "all but `file_path` have one"
        );
        let from_schema: Config = serde_json::from_value(defaults.into()).unwrap();
        assert_eq!(
            format!("{from_schema:?}"),
            format!("{:?}", Config::default())
        );
    }

    #[test]
    fn compression_goes_by_the_name_where_the_job_does_not_say() {
        assert_eq!(config("{}").compression("a/B.CSV.GZ"), "gzip");
        assert_eq!(config("{}").compression("a.csv.bz2"), "bzip2");
        assert_eq!(config("{}").compression("a.csv.zst"), "zstd");
        assert_eq!(config("{}").compression("a.csv"), "none");
        assert_eq!(
            config(r#"{"compression": "gzip"}"#).compression("a.csv"),
            "gzip"
        );
        assert_eq!(
            config(r#"{"compression": "none"}"#).compression("a.gz"),
            "none"
        );
    }
}
