//! Values of one type as values of another: exactly, or refused one by one. Never silently different.
//!
//! [`plan`] decides by types alone whether a conversion can be exact; [`Conversion::run`] tries it
//! value by value. What is refused becomes null in the result, and is told apart from null by its mask.

mod text;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, Float32Array,
    Float64Array, Int64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use super::types::{Type, per_second};

/// Largest whole number up to which a float of 64 bits has them all: 2^53.
const FLOAT64_WHOLE: i64 = 1 << 53;
/// The same for a float of 32 bits.
const FLOAT32_WHOLE: i64 = 1 << 24;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// How the values of a column become those of its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversion {
    /// They are what they should be.
    Same,
    /// A dictionary, or offsets of another width: taken to this type first.
    Through(DataType, Box<Conversion>),
    /// Arrow's kernel is exact, or says no.
    Kernel,
    /// Arrow's kernel rounds; what does not come back the same is refused.
    RoundTrip,
    /// Whole numbers up to this bound.
    WholeFloat(i64),
    /// Times and timestamps to another unit.
    Unit(TimeUnit, TimeUnit),
    DateToTimestamp(TimeUnit),
    /// Any bytes that are as long as a UUID.
    BytesToUuid,
    Parse,
}

/// What came of a column.
pub struct Converted {
    pub values: ArrayRef,
    /// Set where a value was refused; none where all fit.
    pub refused: Option<BooleanBuffer>,
}

/// The conversion of a column of type `from`, where there is one that can be exact.
pub fn plan(from: &DataType, to: &Type) -> Option<Conversion> {
    use DataType as D;
    let through = |plain: &DataType| {
        let rest = plan(plain, to)?;
        Some(Conversion::Through(plain.clone(), Box::new(rest)))
    };
    match from {
        D::Dictionary(_, values) => return through(values),
        D::LargeUtf8 | D::Utf8View => return through(&D::Utf8),
        D::LargeBinary | D::BinaryView => return through(&D::Binary),
        _ => {}
    }
    if *from == to.arrow() && *to != Type::Json {
        return Some(Conversion::Same);
    }
    let is_whole_target = matches!(
        to,
        Type::Int8
            | Type::Int16
            | Type::Int32
            | Type::Int64
            | Type::UInt8
            | Type::UInt16
            | Type::UInt32
            | Type::UInt64
    );
    match (from, to) {
        (D::Null, _) => Some(Conversion::Kernel),
        (D::Utf8, _) => Some(Conversion::Parse),
        (from, Type::Decimal { .. } | Type::String) if from.is_integer() => {
            Some(Conversion::Kernel)
        }
        (from, _) if from.is_integer() && is_whole_target => Some(Conversion::Kernel),
        (from, Type::Float64) if from.is_integer() => Some(Conversion::WholeFloat(FLOAT64_WHOLE)),
        (from, Type::Float32) if from.is_integer() => Some(Conversion::WholeFloat(FLOAT32_WHOLE)),
        (D::Float32, Type::Float64) => Some(Conversion::Kernel),
        (from, Type::Decimal { .. }) if from.is_decimal() => Some(Conversion::RoundTrip),
        (D::Date64, Type::Date) => Some(Conversion::RoundTrip),
        (D::Timestamp(from, source), Type::Timestamp { unit, zone })
            if source.is_some() == zone.is_some() =>
        {
            Some(Conversion::Unit(*from, *unit))
        }
        (D::Date32, Type::Timestamp { unit, zone: None }) => {
            Some(Conversion::DateToTimestamp(*unit))
        }
        (D::Time32(from) | D::Time64(from), Type::Time(unit)) => {
            Some(Conversion::Unit(*from, *unit))
        }
        (D::Binary, Type::Uuid) => Some(Conversion::BytesToUuid),
        (D::FixedSizeBinary(_), Type::Binary) => Some(Conversion::Kernel),
        _ => None,
    }
}

impl Conversion {
    /// Converts `values`, whose type is the one that this was planned for.
    pub fn run(&self, values: &ArrayRef, to: &Type) -> Result<Converted, ArrowError> {
        let target = to.arrow();
        let converted = match self {
            Self::Same => {
                return Ok(Converted {
                    values: values.clone(),
                    refused: None,
                });
            }
            Self::Through(plain, rest) => return rest.run(&cast(values, plain)?, to),
            Self::Kernel => cast(values, &target)?,
            Self::RoundTrip => {
                let there = cast(values, &target)?;
                let back = cast(&there, values.data_type())?;
                keep(&there, &cmp::eq(&back, values)?)?
            }
            Self::WholeFloat(bound) => {
                let whole = cast(values, &DataType::Int64)?;
                let whole = whole.as_primitive::<Int64Type>();
                let fits = |value: &i64| (-bound..=*bound).contains(value);
                // Exact, since every whole number within the bound is a float.
                match to {
                    Type::Float32 => std::sync::Arc::new(Float32Array::from_iter(
                        whole.iter().map(|v| v.filter(fits).map(|v| v as f32)),
                    )) as ArrayRef,
                    _ => std::sync::Arc::new(Float64Array::from_iter(
                        whole.iter().map(|v| v.filter(fits).map(|v| v as f64)),
                    )),
                }
            }
            Self::Unit(from, to) => {
                let numbers = cast(&cast_time(values)?, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                let rescaled: Int64Array = numbers.unary_opt(|value| rescale(value, *from, *to));
                from_numbers(std::sync::Arc::new(rescaled), &target)?
            }
            Self::DateToTimestamp(unit) => {
                let days = values.as_primitive::<Date32Type>();
                let per_day = SECONDS_PER_DAY * per_second(*unit);
                let instants: Int64Array =
                    days.unary_opt(|day| i64::from(day).checked_mul(per_day));
                from_numbers(std::sync::Arc::new(instants), &target)?
            }
            Self::BytesToUuid => uuids(values.as_binary::<i32>())?,
            Self::Parse => text::parse(values.as_string::<i32>(), to)?,
        };
        let refused = refused(values, &converted);
        Ok(Converted {
            values: converted,
            refused,
        })
    }
}

/// Arrow's kernel, with null for what it cannot convert.
fn cast(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    cast_with_options(values, to, &options)
}

/// Times of 32 bits as plain numbers; the kernel knows no direct way to 64.
fn cast_time(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match values.data_type() {
        DataType::Time32(_) => cast(values, &DataType::Int32),
        _ => Ok(values.clone()),
    }
}

/// Numbers that are times or timestamps already, but for their type.
fn from_numbers(numbers: ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match to {
        DataType::Time32(_) => cast(&cast(&numbers, &DataType::Int32)?, to),
        _ => cast(&numbers, to),
    }
}

fn rescale(value: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let (from, to) = (per_second(from), per_second(to));
    if to >= from {
        return value.checked_mul(to / from);
    }
    let coarser = from / to;
    (value % coarser == 0).then_some(value / coarser)
}

fn uuids(bytes: &BinaryArray) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(bytes.len(), 16);
    for value in bytes {
        match value.filter(|value| value.len() == 16) {
            Some(value) => builder.append_value(value)?,
            None => builder.append_null(),
        }
    }
    Ok(std::sync::Arc::new(builder.finish()))
}

/// `values` where `good` is true, and null elsewhere.
fn keep(values: &ArrayRef, good: &BooleanArray) -> Result<ArrayRef, ArrowError> {
    let good: BooleanArray = good.iter().map(|good| Some(good != Some(true))).collect();
    arrow::compute::nullif(values, &good)
}

/// Where there was a value and is none.
fn refused(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    let missing = after.logical_nulls()?;
    let was_null = before.logical_nulls();
    if was_null.as_ref().map_or(0, NullBuffer::null_count) == missing.null_count() {
        return None;
    }
    let missing = !missing.inner();
    Some(match was_null {
        Some(valid) => &missing & valid.inner(),
        None => missing,
    })
}

#[cfg(test)]
mod tests;
