//! One column that is being decoded: which of the column types it is, chosen once.
//!
//! The choice is looked at once for each block of values, never for each value.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type, i256,
};
use arrow::error::ArrowError;

use super::bits::Validity;
use super::bytes::Bytes;
use super::fixed::{Booleans, Fixed};
use super::form::{Form, Kind, Print};
use super::labels::Labels;
use super::list::List;
use super::nested::{Composite, Map, Range, mismatch};
use super::numeric::{Decimal, Numeric};
use super::options::Infinity;
use super::print;
use super::text::Text;
use super::wire::{Span, Step};

pub(super) enum Appender {
    Bool(Booleans),
    Int2(Fixed<i16>),
    Int4(Fixed<i32>),
    Int8(Fixed<i64>),
    Oid(Fixed<u32>),
    Float4(Fixed<f32>),
    Float8(Fixed<f64>),
    Decimal128(Fixed<i128>, Decimal),
    Decimal256(Fixed<i256>, Decimal),
    NumericFloat(Fixed<f64>),
    Money(Fixed<i128>),
    Date(Fixed<i32>, Infinity),
    Time(Fixed<i64>),
    Timestamp(Fixed<i64>, Infinity),
    Interval(Fixed<IntervalMonthDayNano>, Infinity),
    Uuid(Fixed<[u8; 16]>),
    Bytea(Bytes),
    Text(Text),
    Jsonb(Text),
    Printed(Text, Print),
    Enum(Box<Labels>),
    List(Box<List>),
    Composite(Box<Composite>),
    Range(Box<Range>),
    Map(Box<Map>),
}

impl Appender {
    pub fn new(form: &Form) -> Self {
        match &form.kind {
            Kind::Bool => Self::Bool(Booleans::default()),
            Kind::Int2 => Self::Int2(Fixed::default()),
            Kind::Int4 => Self::Int4(Fixed::default()),
            Kind::Int8 => Self::Int8(Fixed::default()),
            Kind::Oid => Self::Oid(Fixed::default()),
            Kind::Float4 => Self::Float4(Fixed::default()),
            Kind::Float8 => Self::Float8(Fixed::default()),
            Kind::Decimal(decimal) if decimal.precision > 38 => {
                Self::Decimal256(Fixed::default(), *decimal)
            }
            Kind::Decimal(decimal) => Self::Decimal128(Fixed::default(), *decimal),
            Kind::NumericFloat => Self::NumericFloat(Fixed::default()),
            Kind::Money => Self::Money(Fixed::default()),
            Kind::Date(infinity) => Self::Date(Fixed::default(), *infinity),
            Kind::Time => Self::Time(Fixed::default()),
            Kind::Timestamp(infinity) => Self::Timestamp(Fixed::default(), *infinity),
            Kind::Interval(infinity) => Self::Interval(Fixed::default(), *infinity),
            Kind::Uuid => Self::Uuid(Fixed::default()),
            Kind::Bytea => Self::Bytea(Bytes::default()),
            Kind::Text => Self::Text(Text::default()),
            Kind::Jsonb => Self::Jsonb(Text::default()),
            Kind::Printed(print) => Self::Printed(Text::default(), *print),
            Kind::Enum(labels) => Self::Enum(Box::new(Labels::new(labels))),
            Kind::List {
                framing,
                dimensions,
                item,
            } => {
                let list = List::new(*framing, *dimensions, Self::new(item), item.least_bytes());
                Self::List(Box::new(list))
            }
            Kind::Composite(attributes) => {
                let attributes = attributes.iter();
                let columns = attributes
                    .map(|(oid, form)| (*oid, Self::new(form)))
                    .collect();
                Self::Composite(Box::new(Composite::new(columns)))
            }
            Kind::Range(bound) => {
                Self::Range(Box::new(Range::new([Self::new(bound), Self::new(bound)])))
            }
            Kind::Map => Self::Map(Box::default()),
        }
    }

    /// Appends the values that lie at `spans`.
    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        match self {
            Self::Bool(column) => column.append(input, spans),
            Self::Int2(column) => column.append_numbers(input, spans),
            Self::Int4(column) => column.append_numbers(input, spans),
            Self::Int8(column) => column.append_numbers(input, spans),
            Self::Oid(column) => column.append_numbers(input, spans),
            Self::Float4(column) => column.append_numbers(input, spans),
            Self::Float8(column) => column.append_numbers(input, spans),
            Self::Decimal128(column, decimal) => column.append_decimals(input, spans, *decimal),
            Self::Decimal256(column, decimal) => column.append_decimals(input, spans, *decimal),
            Self::NumericFloat(column) => column.append_numerics(input, spans),
            Self::Money(column) => column.append_money(input, spans),
            Self::Date(column, infinity) => column.append_dates(input, spans, *infinity),
            Self::Time(column) => column.append_times(input, spans),
            Self::Timestamp(column, infinity) => column.append_timestamps(input, spans, *infinity),
            Self::Interval(column, infinity) => column.append_intervals(input, spans, *infinity),
            Self::Uuid(column) => column.append_uuids(input, spans),
            Self::Bytea(column) => column.append(input, spans),
            Self::Text(column) => column.append(input, spans),
            Self::Jsonb(column) => column.append_jsonb(input, spans),
            Self::Printed(column, print) => {
                let print = match print {
                    Print::Numeric => numeric,
                    Print::TimeTz => print::time_tz,
                    Print::Network => print::network,
                    Print::Mac => print::mac,
                    Print::BitString => print::bit_string,
                    Print::Char => print::char_byte,
                };
                column.append_printed(input, spans, print)
            }
            Self::Enum(column) => column.append(input, spans),
            Self::List(column) => column.append(input, spans),
            Self::Composite(column) => column.append(input, spans),
            Self::Range(column) => column.append(input, spans),
            Self::Map(column) => column.append(input, spans),
        }
    }

    pub fn validity(&self) -> &Validity {
        match self {
            Self::Bool(column) => column.validity(),
            Self::Int2(column) => column.validity(),
            Self::Int4(column) | Self::Date(column, _) => column.validity(),
            Self::Int8(column) | Self::Time(column) | Self::Timestamp(column, _) => {
                column.validity()
            }
            Self::Oid(column) => column.validity(),
            Self::Float4(column) => column.validity(),
            Self::Float8(column) | Self::NumericFloat(column) => column.validity(),
            Self::Decimal128(column, _) | Self::Money(column) => column.validity(),
            Self::Decimal256(column, _) => column.validity(),
            Self::Interval(column, _) => column.validity(),
            Self::Uuid(column) => column.validity(),
            Self::Bytea(column) => column.validity(),
            Self::Text(column) | Self::Jsonb(column) | Self::Printed(column, _) => {
                column.validity()
            }
            Self::Enum(column) => column.validity(),
            Self::List(column) => column.validity(),
            Self::Composite(column) => column.validity(),
            Self::Range(column) => column.validity(),
            Self::Map(column) => column.validity(),
        }
    }

    /// What the column takes in Arrow so far, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bool(column) => column.bytes(),
            Self::Int2(column) => column.bytes(),
            Self::Int4(column) | Self::Date(column, _) => column.bytes(),
            Self::Int8(column) | Self::Time(column) | Self::Timestamp(column, _) => column.bytes(),
            Self::Oid(column) => column.bytes(),
            Self::Float4(column) => column.bytes(),
            Self::Float8(column) | Self::NumericFloat(column) => column.bytes(),
            Self::Decimal128(column, _) | Self::Money(column) => column.bytes(),
            Self::Decimal256(column, _) => column.bytes(),
            Self::Interval(column, _) => column.bytes(),
            Self::Uuid(column) => column.bytes(),
            Self::Bytea(column) => column.bytes(),
            Self::Text(column) | Self::Jsonb(column) | Self::Printed(column, _) => column.bytes(),
            Self::Enum(column) => column.bytes(),
            Self::List(column) => column.bytes(),
            Self::Composite(column) => column.bytes(),
            Self::Range(column) => column.bytes(),
            Self::Map(column) => column.bytes(),
        }
    }

    /// The values so far. The column is empty then.
    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Bool(column) => Ok(column.finish()),
            Self::Int2(column) => column.finish::<Int16Type>(data_type),
            Self::Int4(column) => column.finish::<Int32Type>(data_type),
            Self::Int8(column) => column.finish::<Int64Type>(data_type),
            Self::Oid(column) => column.finish::<UInt32Type>(data_type),
            Self::Float4(column) => column.finish::<Float32Type>(data_type),
            Self::Float8(column) | Self::NumericFloat(column) => {
                column.finish::<Float64Type>(data_type)
            }
            Self::Decimal128(column, _) | Self::Money(column) => {
                column.finish::<Decimal128Type>(data_type)
            }
            Self::Decimal256(column, _) => column.finish::<Decimal256Type>(data_type),
            Self::Date(column, _) => column.finish::<Date32Type>(data_type),
            Self::Time(column) => column.finish::<Time64MicrosecondType>(data_type),
            Self::Timestamp(column, _) => column.finish::<TimestampMicrosecondType>(data_type),
            Self::Interval(column, _) => column.finish::<IntervalMonthDayNanoType>(data_type),
            Self::Uuid(column) => column.finish_uuids(),
            Self::Bytea(column) => column.finish(),
            Self::Text(column) | Self::Jsonb(column) | Self::Printed(column, _) => {
                column.finish().ok_or_else(|| mismatch(data_type))
            }
            Self::Enum(column) => column.finish(),
            Self::List(column) => column.finish(data_type),
            Self::Composite(column) => column.finish(data_type),
            Self::Range(column) => column.finish(data_type),
            Self::Map(column) => column.finish(data_type),
        }
    }
}

fn numeric(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    Numeric::parse(bytes)?.print(out);
    Some(())
}
