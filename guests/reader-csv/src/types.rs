//! The types a column can have, by the names that `schema` and errors use.

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::parse::Manner;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    Int64,
    Float64,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    String,
}

impl Type {
    pub const ALL: [Self; 7] = [
        Self::Int64,
        Self::Float64,
        Self::Bool,
        Self::Date,
        Self::Timestamp,
        Self::TimestampTz,
        Self::String,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::String => "string",
        }
    }

    /// As a sentence needs it: `` `abc` is not an int64``.
    pub fn with_article(self) -> String {
        let article = if self == Self::Int64 { "an" } else { "a" };
        format!("{article} {}", self.name())
    }

    pub fn arrow(self) -> DataType {
        match self {
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
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
            Self::Date | Self::String => 4,
            Self::Int64 | Self::Float64 | Self::Timestamp | Self::TimestampTz => 8,
        }
    }
}

/// One column of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Type,
    /// By the job, not by the sample.
    #[serde(default)]
    pub declared: bool,
}

impl Column {
    pub fn manner(&self) -> Manner {
        if self.declared {
            Manner::Declared
        } else {
            Manner::Inferred
        }
    }
}

/// The Arrow schema of `columns`. Every field may be null.
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.kind.arrow(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>()).into()
}
