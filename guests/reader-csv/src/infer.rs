//! Types from a sample: what every value of a column can be read as without loss.
//!
//! A column of nothing but nulls is a string, and so is one whose values are of several kinds, save
//! integers among floats. An integer that does not fit an int64 makes its column a string, and so
//! does one that a double cannot hold, among floats: neither may come out as another number.

use crate::parse::{Manner, boolean, date, float64, int64, timestamp};
use crate::types::Type;

/// What the values of a column were, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence(u8);

const INTEGER: u8 = 1;
/// Beyond 2^53, where doubles have gaps.
const LONG_INTEGER: u8 = 1 << 1;
const FLOAT: u8 = 1 << 2;
/// `NaN`, `Infinity`: floats among numbers, words elsewhere.
const SPECIAL: u8 = 1 << 3;
const BOOL: u8 = 1 << 4;
const DATE: u8 = 1 << 5;
const TIMESTAMP: u8 = 1 << 6;
const TIMESTAMP_TZ: u8 = 1 << 7;
const ANY_TEXT: u8 = BOOL | DATE | INTEGER;

impl Evidence {
    /// Takes in a value that is not null.
    pub fn add(&mut self, value: &[u8]) {
        if !self.is_text() {
            self.0 |= kind(value);
        }
    }

    /// Kinds that only text has in common.
    fn is_text(self) -> bool {
        self.0 & ANY_TEXT == ANY_TEXT
    }

    pub fn resolve(self) -> Type {
        const NUMBERS: u8 = INTEGER | LONG_INTEGER | FLOAT | SPECIAL;
        match self.0 {
            BOOL => Type::Bool,
            DATE => Type::Date,
            TIMESTAMP => Type::Timestamp,
            TIMESTAMP_TZ => Type::TimestampTz,
            0 | SPECIAL => Type::String,
            set if set & !(INTEGER | LONG_INTEGER) == 0 => Type::Int64,
            set if set & !NUMBERS == 0 && set & LONG_INTEGER == 0 => Type::Float64,
            _ => Type::String,
        }
    }
}

fn kind(value: &[u8]) -> u8 {
    const MANNER: Manner = Manner::Inferred;
    // Longer than any of the kinds.
    if value.len() > 400 {
        return ANY_TEXT;
    }
    if let Some(integer) = int64(value, MANNER) {
        let is_long = integer.unsigned_abs() > 1 << 53;
        return if is_long { LONG_INTEGER } else { INTEGER };
    }
    // Only digits, and yet no int64.
    if value
        .strip_prefix(b"-")
        .unwrap_or(value)
        .iter()
        .all(u8::is_ascii_digit)
        && value != b"-0"
    {
        return ANY_TEXT;
    }
    match float64(value, MANNER) {
        Some(float) if float.is_finite() => return FLOAT,
        Some(_) => return SPECIAL,
        None => {}
    }
    if boolean(value).is_some() {
        return BOOL;
    }
    if date(value).is_some() {
        return DATE;
    }
    match timestamp(value, MANNER) {
        Some(timestamp) if timestamp.has_zone => TIMESTAMP_TZ,
        Some(_) => TIMESTAMP,
        None => ANY_TEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expected: Type) {
        let mut evidence = Evidence::default();
        values
            .iter()
            .for_each(|value| evidence.add(value.as_bytes()));
        assert_eq!(evidence.resolve(), expected, "{values:?}");
    }

    #[test]
    fn nothing_is_inferred_that_would_change_a_value() {
        for values in [
            &["007"][..],
            &["1", "007"],
            &["+5"],
            &["1 "],
            &["9223372036854775808"],
            &["1", "9223372036854775808"],
            &["9007199254740993", "0.5"],
            &["0.5", "9007199254740993"],
            &["00.5"],
            &["1e999"],
            &["1", "true"],
            &["2024-01-31", "1"],
            &["2024-01-31", "true"],
            &["2024-01-31", "2024-01-31T12:00"],
            &["2024-01-31T12:00", "2024-01-31T12:00Z"],
            &["2024-01-31T12:00:00.1234567"],
            &["2023-02-29"],
            &["NaN"],
            &["nan", "1"],
            &["1", "x"],
            &[""],
            &[],
        ] {
            check(values, Type::String);
        }
    }

    #[test]
    fn types_are_inferred() {
        check(&["1", "-20", "0"], Type::Int64);
        check(&["1", "9223372036854775807"], Type::Int64);
        check(&["1", "2.5"], Type::Float64);
        check(&["1e5", ".5", "5."], Type::Float64);
        check(&["1.5", "NaN", "-Infinity"], Type::Float64);
        check(&["1", "NaN"], Type::Float64);
        check(&["-0"], Type::Float64);
        check(&["true", "FALSE", "False"], Type::Bool);
        check(&["2024-01-31", "0001-01-01"], Type::Date);
        check(
            &["2024-01-31T12:00", "2024-01-31 12:00:00.5"],
            Type::Timestamp,
        );
        check(
            &["2024-01-31T12:00Z", "2024-01-31 12:00:00+01"],
            Type::TimestampTz,
        );
        check(&["abc"], Type::String);
    }
}
