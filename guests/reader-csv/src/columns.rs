//! Typed columns that grow value by value and become batches.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use dativo_connector::{Error, Result};

use crate::table::Column;
use crate::value::{self, Kind};

/// The Arrow schema of columns. Any of them may hold nulls.
pub fn schema(columns: &[Column]) -> SchemaRef {
    let fields = columns
        .iter()
        .map(|column| Field::new(&column.name, arrow_type(column.kind), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Int64 => DataType::Int64,
        Kind::Float64 => DataType::Float64,
        Kind::Date => DataType::Date32,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::String => DataType::Utf8,
    }
}

/// One column being filled.
pub enum Builder {
    Bool(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    String(StringBuilder),
}

impl Builder {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Int64 => Self::Int64(Int64Builder::new()),
            Kind::Float64 => Self::Float64(Float64Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::TimestampTz => {
                let builder = TimestampMicrosecondBuilder::new();
                Self::TimestampTz(builder.with_data_type(arrow_type(Kind::TimestampTz)))
            }
            Kind::String => Self::String(StringBuilder::new()),
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// Adds the value of a field; false where the field is not of the column's type.
    #[must_use]
    pub fn push(&mut self, text: &[u8]) -> bool {
        macro_rules! push {
            ($builder:ident, $value:expr) => {
                match $value {
                    Some(value) => {
                        $builder.append_value(value);
                        true
                    }
                    None => false,
                }
            };
        }
        match self {
            Self::Bool(builder) => push!(builder, value::bool(text)),
            Self::Int64(builder) => push!(builder, value::int64(text)),
            Self::Float64(builder) => push!(builder, value::float64(text)),
            Self::Date(builder) => push!(builder, value::date(text)),
            Self::Timestamp(builder) => push!(builder, value::timestamp(text)),
            Self::TimestampTz(builder) => push!(builder, value::timestamptz(text)),
            Self::String(builder) => push!(builder, std::str::from_utf8(text).ok()),
        }
    }

    pub fn push_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) | Self::TimestampTz(builder) => builder.append_null(),
            Self::String(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) | Self::TimestampTz(builder) => Arc::new(builder.finish()),
            Self::String(builder) => Arc::new(builder.finish()),
        }
    }
}

/// All that was pushed, as one batch; the builders start anew.
pub fn finish(builders: &mut [Builder], schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = builders.iter_mut().map(Builder::finish).collect();
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::internal(error.to_string()))
}
