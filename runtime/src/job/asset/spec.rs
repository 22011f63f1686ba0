//! The asset file as it is written: keys, types, descriptions. The schema and the reference page are
//! generated from these types, so every doc comment here is text that users read.
//!
//! Rules that concern more than one key are in `build.rs`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::spec::{Size, Span, schema_of};

/// One asset contract: what the columns of a data set must be, what happens to a row that is not so, and which values nobody may see.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dativo-wasm asset")]
pub struct AssetSpec {
    /// What the contract is called, in messages and reports: 1 to 128 letters, digits, `_`, `-` and `.`.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9_.-]{1,128}$"))]
    pub name: Option<String>,

    /// Its version, for reports: text such as `1.0.0`. Put it into quotes where it looks like a number.
    #[schemars(required, length(min = 1, max = 64))]
    pub version: Option<String>,

    /// What the data set is, for people.
    #[expect(dead_code, reason = "for people alone")]
    pub description: Option<String>,

    /// What a row that breaks a rule does: `strict` ends the run and nothing is published, `warn` puts the row into the job's dead letter and goes on. Default `strict`.
    pub mode: Option<ModeSpec>,

    /// The columns, in the order that the target gets them.
    #[schemars(required, length(min = 1))]
    pub schema: Option<Vec<ColumnSpec>>,

    /// What each class of data asks for. A class that is not listed is a label and no more.
    pub classifications: Option<BTreeMap<String, ClassSpec>>,

    /// Rules about the data set as a whole.
    pub dataset: Option<DatasetSpec>,
}

/// What a broken rule does.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ModeSpec {
    Strict,
    Warn,
}

/// One column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// The column's name, at the source and at the target.
    #[schemars(required, length(min = 1, max = 255))]
    pub name: Option<String>,

    /// `int8` to `int64`, `uint8` to `uint64`, `float32`, `float64` (or `float`, `double`), `decimal(DIGITS,SCALE)`, `string`, `binary`, `bool`, `date`, `timestamp(UNIT)`, `timestamp(UNIT, ZONE)`, `timestamptz`, `time(UNIT)`, `uuid` or `json`. A unit is `s`, `ms`, `us` or `ns`; without one it is `us`. A value is converted exactly or refused.
    #[serde(rename = "type")]
    #[schemars(required, length(min = 1))]
    pub kind: Option<String>,

    /// Whether the source must have the column and every value. Default `false`: a column that the source lacks is filled with nulls.
    pub required: Option<bool>,

    /// The class of its data, such as `pii`; `classifications` says what that asks for.
    #[schemars(length(min = 1))]
    pub classification: Option<String>,

    /// What the column is, for people.
    #[expect(dead_code, reason = "for people alone")]
    pub description: Option<String>,
}

/// What a class of data asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassSpec {
    /// What stands in place of each value, at the target, in the dead letter and in a preview: `hash` is 64 hex digits over the text of the value (in the dead letter: of what was read), `null` is null, `redact` is `[redacted]` in text columns and null in others. Default: the values as they are.
    #[serde(default, deserialize_with = "some_mask")]
    #[schemars(with = "MaskSpec")]
    pub mask: Option<MaskSpec>,

    /// With `mask: hash`: a secret, `${SECRET:NAME}`, that the hash is keyed with (HMAC-SHA-256). Without it the hash is plain SHA-256, and whoever can guess a value can check the guess.
    pub key: Option<String>,
}

/// What a mask does. YAML reads `mask: null` as no text at all, and that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskSpec {
    Hash,
    Null,
    Redact,
}

fn some_mask<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MaskSpec>, D::Error> {
    // The schema lets nothing else through.
    Ok(match Value::deserialize(deserializer)?.as_str() {
        Some("hash") => Some(MaskSpec::Hash),
        Some("redact") => Some(MaskSpec::Redact),
        _ => Some(MaskSpec::Null),
    })
}

impl JsonSchema for MaskSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mask".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "enum": ["hash", "redact", "null", null] })
    }
}

/// Rules about the data set as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// Columns that the source must have, though their values may be null.
    pub required_columns: Option<Vec<String>>,

    /// What happens to a column that only the source has: `strict` refuses it (and leaves it out with a warning in mode `warn`), `add` passes it on after the others, `ignore` leaves it out. Default `strict`.
    pub unknown_columns: Option<UnknownSpec>,

    /// A key that no two rows of a run have.
    pub unique: Option<UniqueSpec>,

    /// How many good rows a run may have. A run that finds nothing new is not counted.
    pub rows: Option<RowsSpec>,

    /// How old the newest value of a run may be. A run that finds nothing new is not looked at.
    pub freshness: Option<FreshnessSpec>,
}

/// What happens to a column that only the source has.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UnknownSpec {
    Strict,
    Add,
    Ignore,
}

/// A key that no two rows of a run have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniqueSpec {
    /// The columns that make up the key. Of rows with the same key, the one that is read first is kept; with several splits that can be any of them. As in SQL, a row with null in one of the columns is not compared. Only rows that keep every other rule are, and only those of the same run.
    #[schemars(required, length(min = 1))]
    pub columns: Option<Vec<String>>,

    /// Most memory that the keys of a run take; a run with more keys fails, in both modes. 20 bytes a key: 13,421,772 keys fit into the default `256MiB`. From `1MiB` to `64GiB`.
    pub memory: Option<Size>,
}

/// How many good rows a run may have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowsSpec {
    /// The least. Default: none.
    pub min: Option<u64>,

    /// The most. Default: none.
    pub max: Option<u64>,
}

/// How old the newest value of a run may be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreshnessSpec {
    /// A column of type `date` or `timestamp`; without a zone it is read as UTC.
    #[schemars(required, length(min = 1))]
    pub column: Option<String>,

    /// The age that the newest value may have when the run has read everything, such as `1day`. From `1s` to `100years`.
    #[schemars(required)]
    pub max_age: Option<Span>,
}

/// JSON Schema (2020-12) of the asset file, without references.
pub fn schema() -> Value {
    schema_of::<AssetSpec>()
}
