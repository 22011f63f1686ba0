//! The type of a column from a sample of its values: the narrowest that takes them all, text otherwise.
//!
//! What a narrower type would change is text: numbers with leading zeros or a plus sign, whole numbers
//! beyond 64 bits, `NaN`.

use crate::value::{self, Kind};

/// Types that are tried, the narrowest first. A whole number is a float too; nothing else overlaps.
const TRIED: [Kind; 6] = [
    Kind::Bool,
    Kind::Int64,
    Kind::Float64,
    Kind::Date,
    Kind::Timestamp,
    Kind::TimestampTz,
];

/// The types that all values seen so far have.
#[derive(Clone, Debug)]
pub struct Guess {
    possible: [bool; TRIED.len()],
    has_values: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            possible: [true; TRIED.len()],
            has_values: false,
        }
    }
}

impl Guess {
    /// Takes one more value that is not null.
    pub fn see(&mut self, text: &[u8]) {
        self.has_values = true;
        for (possible, kind) in self.possible.iter_mut().zip(TRIED) {
            *possible = *possible && is_a(kind, text);
        }
    }

    /// The type of the column; text where it had no value.
    pub fn kind(&self) -> Kind {
        let narrowest = TRIED
            .into_iter()
            .zip(self.possible)
            .find(|(_, possible)| *possible);
        match narrowest {
            Some((kind, _)) if self.has_values => kind,
            _ => Kind::String,
        }
    }
}

fn is_a(kind: Kind, text: &[u8]) -> bool {
    match kind {
        Kind::Bool => value::bool(text).is_some(),
        Kind::Int64 => is_plain_number(text) && value::int64(text).is_some(),
        Kind::Float64 => {
            is_plain_number(text) && value::float64(text).is_some() && !is_long_integer(text)
        }
        Kind::Date => value::date(text).is_some(),
        Kind::Timestamp => value::timestamp(text).is_some(),
        Kind::TimestampTz => value::timestamptz(text).is_some(),
        Kind::String => true,
    }
}

/// Begins like a number that was written as one: `007` and `+49` are codes.
fn is_plain_number(text: &[u8]) -> bool {
    match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit() || *first == b'.',
        [] => false,
    }
}

/// A whole number that a double would round without a word.
fn is_long_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    digits.iter().all(u8::is_ascii_digit) && value::int64(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_narrowest_type_that_changes_no_value() {
        let check = |values: &[&str], expected: Kind| {
            let mut guess = Guess::default();
            values.iter().for_each(|value| guess.see(value.as_bytes()));
            assert_eq!(guess.kind(), expected, "{values:?}");
        };
        check(&[], Kind::String);
        check(&["1", "-2", "0"], Kind::Int64);
        check(&["1", "2.5"], Kind::Float64);
        check(&["1e5", ".5", "-0.1"], Kind::Float64);
        check(&["007"], Kind::String);
        check(&["+49"], Kind::String);
        check(&["00.5"], Kind::String);
        check(&["NaN", "1.0"], Kind::String);
        check(&["9223372036854775808"], Kind::String);
        check(&["9223372036854775808", "1.5"], Kind::String);
        check(&["true", "False"], Kind::Bool);
        check(&["true", "1"], Kind::String);
        check(&["2024-02-29"], Kind::Date);
        check(&["2024-02-29", "2024-02-29T10:00"], Kind::String);
        check(
            &["2024-02-29 10:00:00.5", "2024-02-29T10:00"],
            Kind::Timestamp,
        );
        check(
            &["2024-02-29T10:00Z", "2024-02-29 10:00:00+02"],
            Kind::TimestampTz,
        );
        check(&["2024-02-29T10:00Z", "2024-02-29T10:00"], Kind::String);
        check(&["a", "1"], Kind::String);
    }
}
