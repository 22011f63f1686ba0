//! Typed values of fields, without an allocation: each function takes the whole field or nothing.

use serde::{Deserialize, Serialize};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Bool,
    Int64,
    Float64,
    Date,
    /// Without a zone, in microseconds.
    Timestamp,
    /// An instant, in microseconds.
    TimestampTz,
    String,
}

impl Kind {
    pub const NAMES: [&str; 7] = [
        "bool",
        "int64",
        "float64",
        "date",
        "timestamp",
        "timestamptz",
        "string",
    ];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// `true` and `false`, in any case.
pub fn bool(text: &[u8]) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case(b"true") => Some(true),
        _ if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// A whole number that 64 bits hold.
pub fn int64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Negative, since that side reaches one further.
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// A decimal number, rounded to the nearest double; `NaN`, `Infinity` and `-Infinity` are themselves.
pub fn float64(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => return Some(f64::INFINITY),
        b"-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let starts_right = text
        .first()
        .is_some_and(|byte| b"+-.0123456789".contains(byte));
    let ends_right = text
        .last()
        .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
    if !starts_right || !ends_right {
        return None;
    }
    std::str::from_utf8(text)
        .ok()?
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub fn date(text: &[u8]) -> Option<i32> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else {
        return None;
    };
    let year = number([y0, y1])? * 100 + number([y2, y3])?;
    let (month, day) = (number([m0, m1])?, number([d0, d1])?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || !(1..=days).contains(&day) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

/// Days of the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Microseconds since 1970-01-01T00:00:00 of `YYYY-MM-DD HH:MM[:SS[.ffffff]]`, or with `T`, with no zone.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    let (micros, rest) = date_and_time(text)?;
    rest.is_empty().then_some(micros)
}

/// Microseconds since 1970-01-01T00:00:00Z of the same with a zone: `Z`, `+HH:MM`, `+HHMM` or `+HH`.
pub fn timestamptz(text: &[u8]) -> Option<i64> {
    let (micros, zone) = date_and_time(text)?;
    let (sign, hours, minutes) = match *zone {
        [b'Z'] => return Some(micros),
        [sign, h0, h1, b':', m0, m1] | [sign, h0, h1, m0, m1] => {
            (sign, number([h0, h1])?, number([m0, m1])?)
        }
        [sign, h0, h1] => (sign, number([h0, h1])?, 0),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::from(hours * 60 + minutes) * 60_000_000;
    match sign {
        b'+' => Some(micros - offset),
        b'-' => Some(micros + offset),
        _ => None,
    }
}

/// Microseconds of the date and time, and what stands behind them.
fn date_and_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let days = date(text.get(..10)?)?;
    let &[b'T' | b' ', h0, h1, b':', m0, m1, ref rest @ ..] = text.get(10..)? else {
        return None;
    };
    let (hour, minute) = (number([h0, h1])?, number([m0, m1])?);
    let (second, micros, rest) = match rest {
        &[b':', s0, s1, ref rest @ ..] => {
            let (micros, rest) = fraction(rest)?;
            (number([s0, s1])?, micros, rest)
        }
        rest => (0, 0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(days) * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
    Some((seconds * 1_000_000 + i64::from(micros), rest))
}

/// Up to six digits behind a point, as microseconds. More would be lost, so they are refused.
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let [b'.', digits @ ..] = text else {
        return Some((0, text));
    };
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if !(1..=6).contains(&count) {
        return None;
    }
    let value = digits[..count]
        .iter()
        .fold(0, |value, byte| value * 10 + i32::from(byte - b'0'));
    Some((value * 10_i32.pow(6 - count as u32), &digits[count..]))
}

fn number(digits: [u8; 2]) -> Option<i32> {
    let [tens, ones] = digits.map(|digit| digit.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(i32::from(tens) * 10 + i32::from(ones))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_wholly_a_value() {
        for text in [
            "",
            "-",
            "+",
            "1 ",
            " 1",
            "1_0",
            "0x1",
            "9223372036854775808",
            "1.0",
            "१",
        ] {
            assert_eq!(int64(text.as_bytes()), None, "{text}");
        }
        for text in [
            "", ".", "-", "e5", "1e", "nan", "inf", "infinity", "1,5", "0x1p3", "1e999",
        ] {
            assert_eq!(float64(text.as_bytes()), None, "{text}");
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-1-1",
            "0000-01-01",
            "2024-04-31",
            "2024/01/01",
            "20240101",
        ] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        for text in [
            "2024-01-01",
            "2024-01-01T24:00",
            "2024-01-01T00:60",
            "2024-01-01T00:00:60",
            "2024-01-01T00:00:00.",
            "2024-01-01T00:00:00.1234567",
            "2024-01-01T00:00Z",
            "2024-01-01  00:00",
            "2024-01-01T00",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        for text in [
            "2024-01-01T00:00",
            "2024-01-01T00:00+24:00",
            "2024-01-01T00:00*01:00",
            "2024-01-01T00:00+1",
            "2024-01-01T00:00z",
        ] {
            assert_eq!(timestamptz(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn values_are_exact() {
        assert_eq!(int64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(int64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(int64(b"007"), Some(7));
        assert_eq!(float64(b"0.1"), Some(0.1));
        assert_eq!(float64(b"-1.5e-3"), Some(-0.0015));
        assert_eq!(float64(b".5"), Some(0.5));
        assert_eq!(bool(b"TRUE"), Some(true));
        assert_eq!(date(b"1970-01-01"), Some(0));
        assert_eq!(date(b"2000-02-29"), Some(11_016));
        assert_eq!(date(b"0001-01-01"), Some(-719_162));
        assert_eq!(date(b"9999-12-31"), Some(2_932_896));
        assert_eq!(timestamp(b"1970-01-01T00:00:01.5"), Some(1_500_000));
        assert_eq!(timestamp(b"1969-12-31 23:59:59.999999"), Some(-1));
        assert_eq!(timestamp(b"1970-01-02 00:00"), Some(86_400_000_000));
        assert_eq!(timestamptz(b"1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(
            timestamptz(b"1970-01-01T00:00:00-0030"),
            Some(1_800_000_000)
        );
        assert_eq!(timestamptz(b"1970-01-01 00:00:00.000001Z"), Some(1));
    }
}
