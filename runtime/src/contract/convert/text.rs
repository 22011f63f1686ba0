//! Text as values: strict parsers, which take one form of each value and lose nothing of it.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryBuilder, Int64Array, PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use arrow::error::ArrowError;
use serde::de::IgnoredAny;

use super::super::types::{Type, per_second};
use super::{SECONDS_PER_DAY, from_numbers};

/// `text` as values of `to`; null where a text is none of it.
pub fn parse(text: &StringArray, to: &Type) -> Result<ArrayRef, ArrowError> {
    Ok(match to {
        Type::Int8 => numbers::<Int8Type>(text),
        Type::Int16 => numbers::<Int16Type>(text),
        Type::Int32 => numbers::<Int32Type>(text),
        Type::Int64 => numbers::<Int64Type>(text),
        Type::UInt8 => numbers::<UInt8Type>(text),
        Type::UInt16 => numbers::<UInt16Type>(text),
        Type::UInt32 => numbers::<UInt32Type>(text),
        Type::UInt64 => numbers::<UInt64Type>(text),
        Type::Float32 => {
            primitive::<Float32Type>(text, |text| float(text).filter(|v: &f32| v.is_finite()))
        }
        Type::Float64 => {
            primitive::<Float64Type>(text, |text| float(text).filter(|v: &f64| v.is_finite()))
        }
        Type::Decimal { precision, scale } if *precision <= 38 => {
            let parse = |text| digits(text, *precision, *scale)?.parse::<i128>().ok();
            let values: Decimal128Array = text.iter().map(|text| text.and_then(parse)).collect();
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        Type::Decimal { precision, scale } => {
            let parse = |text| i256::from_string(&digits(text, *precision, *scale)?);
            let values: Decimal256Array = text.iter().map(|text| text.and_then(parse)).collect();
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        Type::Bool => Arc::new(BooleanArray::from_iter(text.iter().map(
            |text| match text {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
        ))),
        Type::Date => primitive::<Date32Type>(text, |text| i32::try_from(date(text)?).ok()),
        Type::Timestamp { unit, zone } => {
            let parse = |text: &str| timestamp(text, *unit, zone.is_some());
            from_numbers(instants(text, parse), &to.arrow())?
        }
        Type::Time(unit) => from_numbers(instants(text, |text| time(text, *unit)), &to.arrow())?,
        Type::Uuid => uuids(text)?,
        Type::Json => {
            let is_json = |text: &&str| serde_json::from_str::<IgnoredAny>(text).is_ok();
            Arc::new(StringArray::from_iter(
                text.iter().map(|text| text.filter(is_json)),
            ))
        }
        Type::Binary => Arc::new(BinaryArray::from_iter(
            text.iter().map(|text| text.map(str::as_bytes)),
        )),
        Type::String => Arc::new(text.clone()),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    text: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> ArrayRef {
    let values = text.iter().map(|text| text.and_then(&parse));
    Arc::new(values.collect::<PrimitiveArray<T>>())
}

fn numbers<T: ArrowPrimitiveType>(text: &StringArray) -> ArrayRef
where
    T::Native: FromStr,
{
    primitive::<T>(text, |text| text.parse().ok())
}

fn instants(text: &StringArray, parse: impl Fn(&str) -> Option<i64>) -> ArrayRef {
    let values = text.iter().map(|text| text.and_then(&parse));
    Arc::new(values.collect::<Int64Array>())
}

/// A number in digits: Rust would also take `inf` and `nan`.
fn float<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| is_number)
}

/// The digits of a decimal without its point: `-1.5` of scale 2 is `-150`. Only zeros may be left out.
fn digits(text: &str, precision: u8, scale: i8) -> Option<String> {
    let (sign, number) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !whole.is_empty() && (!fraction.is_empty() || !number.contains('.'));
    if !has_digits || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    let (precision, scale) = (usize::from(precision), usize::try_from(scale).ok()?);
    if fraction.len() > scale || whole.len() > precision - scale {
        return None;
    }
    Some(format!("{sign}{whole}{fraction:0<scale$}")).map(|digits| {
        match digits.trim_start_matches('-') {
            "" => "0".to_owned(),
            _ => digits,
        }
    })
}

/// Digits and nothing else, of this length.
fn fixed(text: &str, length: usize) -> Option<i64> {
    let fits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

/// Days since 1970-01-01 of `2013-01-31`.
fn date(text: &str) -> Option<i64> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (fixed(year, 4)?, fixed(month, 2)?, fixed(day, 2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=last).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day of a leap year is their last.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days from 0000-03-01 to 1970-01-01.
    Some(days + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

/// `23:59:59` or `23:59:59.123` since midnight; no more digits than `unit` has.
fn time(text: &str, unit: TimeUnit) -> Option<i64> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let mut parts = clock.split(':');
    let mut part = |below| {
        let value = fixed(parts.next()?, 2)?;
        (value < below).then_some(value)
    };
    let seconds = part(24)? * 3600 + part(60)? * 60 + part(60)?;
    if parts.next().is_some() {
        return None;
    }
    let whole = seconds * per_second(unit);
    let Some(fraction) = fraction else {
        return Some(whole);
    };
    let part = fixed(fraction, fraction.len())?;
    let per = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fits = !fraction.is_empty() && per <= per_second(unit);
    fits.then(|| whole + part * (per_second(unit) / per))
}

/// `2013-01-31T23:59:59.5Z` or, for a type without a zone, the same without one. A blank may stand for
/// the `T`.
fn timestamp(text: &str, unit: TimeUnit, zoned: bool) -> Option<i64> {
    let day = date(text.get(..10)?)?;
    let clock = text.get(10..)?.strip_prefix(['T', ' '])?;
    let (clock, offset) = match (zoned, clock.find(['Z', '+', '-'])) {
        (true, Some(at)) => (&clock[..at], offset(&clock[at..])?),
        (false, None) => (clock, 0),
        _ => return None,
    };
    let seconds = day * SECONDS_PER_DAY - offset;
    seconds
        .checked_mul(per_second(unit))?
        .checked_add(time(clock, unit)?)
}

/// Seconds that a zone is ahead: `Z`, `+01:00`.
fn offset(text: &str) -> Option<i64> {
    let (ahead, clock) = match text.as_bytes().first()? {
        b'Z' => return (text.len() == 1).then_some(0),
        b'+' => (1, &text[1..]),
        _ => (-1, &text[1..]),
    };
    let (hours, minutes) = clock.split_once(':')?;
    let (hours, minutes) = (fixed(hours, 2)?, fixed(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(ahead * (hours * 3600 + minutes * 60))
}

/// UUIDs in their usual form, with hyphens.
fn uuids(text: &StringArray) -> Result<ArrayRef, ArrowError> {
    const LENGTH: usize = 36;
    let mut builder = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for text in text {
        let uuid = text.filter(|text| text.len() == LENGTH);
        match uuid.and_then(|text| uuid::Uuid::try_parse(text).ok()) {
            Some(uuid) => builder.append_value(uuid.as_bytes())?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}
