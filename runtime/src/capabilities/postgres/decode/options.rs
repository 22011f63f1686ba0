//! The `decoding` of a read, as JSON: how values that have several Arrow forms are read.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Every key may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// What a numeric without a precision becomes.
    pub numeric: As,
    /// What becomes of infinite dates, timestamps and intervals.
    pub infinity: Infinity,
    /// What becomes of NaN and infinity in a decimal.
    pub nan: Nan,
    pub columns: BTreeMap<String, ColumnOptions>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnOptions {
    #[serde(rename = "as")]
    pub read_as: Option<As>,
    /// The column never holds NULL; one that comes all the same ends the read.
    pub not_null: bool,
    /// How many dimensions the arrays of the column have, from 1 to 6.
    pub dimensions: u8,
}

impl Default for ColumnOptions {
    fn default() -> Self {
        Self {
            read_as: None,
            not_null: false,
            dimensions: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum As {
    #[default]
    Text,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Infinity {
    #[default]
    Error,
    Null,
    /// The least and the greatest value of the Arrow type.
    Saturate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Nan {
    #[default]
    Error,
    Null,
}

impl<'de> Deserialize<'de> for As {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is none of `text`, `float64` and `decimal(p,s)`, with p from 1 to 76 and s from 0 to p"
            ))
        })
    }
}

fn parse(text: &str) -> Option<As> {
    match text {
        "text" => return Some(As::Text),
        "float64" => return Some(As::Float64),
        _ => {}
    }
    let inner = text.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    let is_valid = (1..=76).contains(&precision) && scale >= 0 && scale <= precision as i8;
    is_valid.then_some(As::Decimal { precision, scale })
}
