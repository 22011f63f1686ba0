//! The types a column can have, by the names that `schema` and errors use.

use std::fmt;
use std::str::FromStr;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::parse::Manner;

/// Most digits of a decimal: what an Arrow Decimal128 holds.
pub const MAX_PRECISION: u8 = 38;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int32,
    Int64,
    Float64,
    /// Digits in all, and digits after the point.
    Decimal(u8, u8),
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    String,
}

/// What `schema` takes, as a pattern.
pub const TYPE_PATTERN: &str = r"^(int32|int64|float64|decimal\( *[0-9]{1,2} *, *[0-9]{1,2} *\)|bool|date|timestamp|timestamptz|string)$";

impl Type {
    const NAMED: [(&'static str, Self); 8] = [
        ("int32", Self::Int32),
        ("int64", Self::Int64),
        ("float64", Self::Float64),
        ("bool", Self::Bool),
        ("date", Self::Date),
        ("timestamp", Self::Timestamp),
        ("timestamptz", Self::TimestampTz),
        ("string", Self::String),
    ];

    /// As a sentence needs it: `` `abc` is not an int64``.
    pub fn with_article(self) -> String {
        let article = match self {
            Self::Int32 | Self::Int64 => "an",
            _ => "a",
        };
        format!("{article} {self}")
    }

    pub fn arrow(self) -> DataType {
        match self {
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale as i8),
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::String => DataType::Utf8,
        }
    }

    /// Bytes of an Arrow value beside its text.
    pub fn width(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int32 | Self::Date | Self::String => 4,
            Self::Int64 | Self::Float64 | Self::Timestamp | Self::TimestampTz => 8,
            Self::Decimal(..) => 16,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Decimal(precision, scale) = self {
            return write!(f, "decimal({precision},{scale})");
        }
        let named = Self::NAMED.iter().find(|(_, kind)| kind == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for Type {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, kind)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*kind);
        }
        let digits = text
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')')?.split_once(','))
            .and_then(|(precision, scale)| {
                Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
            });
        match digits {
            Some((precision, scale))
                if (1..=MAX_PRECISION).contains(&precision) && scale <= precision =>
            {
                Ok(Self::Decimal(precision, scale))
            }
            Some((precision, scale)) => Err(format!(
                "a decimal({precision},{scale}) cannot be: 1 to {MAX_PRECISION} digits, of which as many or fewer after the point"
            )),
            None => Err(format!("there is no type `{text}`")),
        }
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Type,
    /// Who says so.
    pub origin: Origin,
}

/// Where the type of a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The job's `schema`.
    Declared,
    /// The sample of this run.
    Sampled,
    /// The state: a type that an earlier run's sample suggested.
    Remembered,
}

impl Column {
    pub fn manner(&self) -> Manner {
        match self.origin {
            Origin::Declared => Manner::Declared,
            Origin::Sampled | Origin::Remembered => Manner::Inferred,
        }
    }
}

/// The Arrow schema of `columns`. Every field may be null.
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.kind.arrow(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let kinds = Type::NAMED.map(|(_, kind)| kind).into_iter();
        for kind in kinds.chain([Type::Decimal(15, 2), Type::Decimal(38, 0)]) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("decimal( 5 , 5 )".parse(), Ok(Type::Decimal(5, 5)));
    }

    #[test]
    fn refuses_types_that_cannot_be() {
        for text in [
            "",
            "int",
            "INT64",
            "decimal",
            "decimal(3)",
            "decimal(3,-1)",
            "decimal(0,0)",
            "decimal(39,2)",
            "decimal(3,4)",
            "decimal(300,4)",
        ] {
            assert!(text.parse::<Type>().is_err(), "{text}");
        }
    }
}
