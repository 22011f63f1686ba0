//! Text to values, without allocation. `None` where the text is not one of the type.
//!
//! Every parser knows two manners. `Inferred` takes only text that the value gives back: no `+5`, and
//! no `007`, which may be a code. `Declared` takes whatever means a value of the type.

/// How a column got its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Inferred,
    Declared,
}

/// Decimal digits, with a minus before them.
#[inline]
pub fn int64(text: &[u8], manner: Manner) -> Option<i64> {
    let (negative, digits) = sign(text, manner)?;
    let has_leading_zero = digits.first() == Some(&b'0') && (digits.len() > 1 || negative);
    if digits.is_empty() || (has_leading_zero && manner == Manner::Inferred) {
        return None;
    }
    let mut magnitude = 0u64;
    if digits.len() <= 18 {
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            magnitude = magnitude * 10 + u64::from(digit);
        }
    } else {
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit))?;
        }
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// As [`int64`], within 32 bits.
#[inline]
pub fn int32(text: &[u8], manner: Manner) -> Option<i32> {
    int64(text, manner)?.try_into().ok()
}

/// A decimal number as an integer of its last digits: `1.5` with 2 digits after the point is 150.
/// Never rounded: digits that do not fit are none, save zeros at the end.
#[inline]
pub fn decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = sign(text, Manner::Declared)?;
    let (mut magnitude, mut count, mut fraction) = (0u64, 0u32, None);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // Past 18 digits this is garbage and not used.
            magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit));
            count += 1;
        } else if *byte == b'.' && fraction.is_none() {
            fraction = Some(count);
        } else {
            return None;
        }
    }
    let after_point = fraction.map_or(0, |before| count - before);
    let missing = u32::from(scale).checked_sub(after_point);
    match missing {
        Some(missing) if (1..=18).contains(&(count + missing)) && count > 0 => {
            let value = magnitude * POWERS_OF_TEN[missing as usize];
            let fits = precision >= 18 || value < POWERS_OF_TEN[usize::from(precision)];
            let value = i128::from(value);
            fits.then_some(if negative { -value } else { value })
        }
        _ => long_decimal(digits, negative, precision, scale),
    }
}

const POWERS_OF_TEN: [u64; 19] = {
    let mut powers = [1; 19];
    let mut exponent = 1;
    while exponent < 19 {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// More than 18 digits, or more after the point than the type has. `digits` are digits and one point.
#[cold]
fn long_decimal(digits: &[u8], negative: bool, precision: u8, scale: u8) -> Option<i128> {
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (kept, lost) = fraction.split_at(fraction.len().min(usize::from(scale)));
    if lost.iter().any(|byte| *byte != b'0') {
        return None;
    }
    let zeros = usize::from(scale) - kept.len();
    let padded = whole
        .iter()
        .chain(kept)
        .copied()
        .chain(std::iter::repeat_n(b'0', zeros));
    let mut value = 0i128;
    for byte in padded {
        value = value
            .checked_mul(10)?
            .checked_add(i128::from(byte - b'0'))?;
    }
    let fits = value < 10i128.pow(u32::from(precision));
    fits.then_some(if negative { -value } else { value })
}

#[inline]
fn sign(text: &[u8], manner: Manner) -> Option<(bool, &[u8])> {
    match text.split_first()? {
        (b'-', rest) => Some((true, rest)),
        (b'+', rest) if manner == Manner::Declared => Some((false, rest)),
        _ => Some((false, text)),
    }
}

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Integers up to here are doubles exactly.
const EXACT_INTEGER: u64 = 1 << 53;

/// A decimal number, rounded to the nearest double; `NaN`, `Infinity` and `-Infinity` as written here.
/// A number too large for a double is none.
#[inline]
pub fn float64(text: &[u8], manner: Manner) -> Option<f64> {
    let (negative, digits) = sign(text, manner)?;
    let has_leading_zero = matches!(digits, [b'0', b'0'..=b'9', ..]);
    if has_leading_zero && manner == Manner::Inferred {
        return None;
    }
    let (mut mantissa, mut count, mut fraction, mut at, mut seen_point) = (0u64, 0u32, 0, 0, false);
    while let Some(&byte) = digits.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // Past 19 digits this is garbage and not used.
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            count += 1;
            fraction += usize::from(seen_point);
        } else if byte == b'.' && !seen_point {
            seen_point = true;
        } else {
            break;
        }
        at += 1;
    }
    if at < digits.len() || count == 0 || count > 19 || mantissa > EXACT_INTEGER || fraction > 22 {
        return slow_float64(text, digits, at, count);
    }
    // Both are exact, so the one rounding of the division is the right one.
    let value = mantissa as f64 / EXACT_POWERS[fraction];
    Some(if negative { -value } else { value })
}

/// Exponents, long mantissas and special values.
#[cold]
fn slow_float64(text: &[u8], digits: &[u8], at: usize, count: u32) -> Option<f64> {
    match text {
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => return Some(f64::INFINITY),
        b"-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let exponent_is_sound = match digits.get(at..)? {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    if count == 0 || !exponent_is_sound {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// `true` or `false`, in any case.
#[inline]
pub fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// `YYYY-MM-DD` as days since 1970-01-01.
#[inline]
pub fn date(text: &[u8]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    let year = i32::from(pair(y1, y2)?) * 100 + i32::from(pair(y3, y4)?);
    let (month, day) = (pair(m1, m2)?, pair(d1, d2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + u8::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (year >= 1 && (1..=longest).contains(&day)).then(|| days(year, month, day))
}

/// Two digits.
#[inline]
fn pair(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| tens * 10 + ones)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, for years from 1.
/// The year is taken to begin in March, so that the leap day is its last.
#[inline]
fn days(year: i32, month: u8, day: u8) -> i32 {
    let month = i32::from(month);
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * month + 2) / 5 + i32::from(day) - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Microseconds since 1970-01-01T00:00:00: in UTC where the text has a zone, else as it reads.
    pub micros: i64,
    pub has_zone: bool,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// ISO 8601: `2024-01-31T12:00:00.123456+01:00`, with a blank for the `T`, without seconds, fraction
/// or zone. More than six digits of a fraction would be lost and are refused.
#[inline]
pub fn timestamp(text: &[u8], manner: Manner) -> Option<Timestamp> {
    let (date_text, rest) = text.split_at_checked(10)?;
    let midnight = i64::from(date(date_text)?) * MICROS_PER_DAY;
    if rest.is_empty() && manner == Manner::Declared {
        return Some(Timestamp {
            micros: midnight,
            has_zone: false,
        });
    }
    let &[b'T' | b't' | b' ', h1, h2, b':', m1, m2, ref rest @ ..] = rest else {
        return None;
    };
    let (hour, minute) = (pair(h1, h2)?, pair(m1, m2)?);
    let (second, rest) = match rest {
        &[b':', s1, s2, ref rest @ ..] => (pair(s1, s2)?, rest),
        _ => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = fraction(rest)?;
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    let micros = midnight + seconds * 1_000_000 + fraction;
    match rest {
        [] => Some(Timestamp {
            micros,
            has_zone: false,
        }),
        zone => {
            let offset = zone_minutes(zone)? * 60_000_000;
            Some(Timestamp {
                micros: micros - offset,
                has_zone: true,
            })
        }
    }
}

/// `.5` as 500,000 microseconds, and what follows.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', text @ ..] = text else {
        return Some((0, text));
    };
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 6 {
        return None;
    }
    let (digits, rest) = text.split_at(count);
    let value = digits
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((value * 10i64.pow(6 - count as u32), rest))
}

/// `Z`, `+01`, `+0130`, `+01:30`, with or without a blank before it, in minutes east of UTC.
fn zone_minutes(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, hours, minutes) = match *text {
        [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, pair(h1, h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            (sign, pair(h1, h2)?, pair(m1, m2)?)
        }
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::from(hours) * 60 + i64::from(minutes);
    match sign {
        b'+' => Some(offset),
        b'-' => Some(-offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Manner::{Declared, Inferred};
    use super::*;

    #[test]
    fn integers() {
        let check = |text: &str, inferred, declared| {
            assert_eq!(int64(text.as_bytes(), Inferred), inferred, "{text:?}");
            assert_eq!(int64(text.as_bytes(), Declared), declared, "{text:?}");
        };
        for text in [
            "",
            "-",
            "+",
            "1.0",
            "1 ",
            " 1",
            "0x1",
            "1_000",
            "--1",
            "9223372036854775808",
        ] {
            check(text, None, None);
        }
        check("-9223372036854775809", None, None);
        check("99999999999999999999999", None, None);
        check("007", None, Some(7));
        check("-0", None, Some(0));
        check("+5", None, Some(5));
        check("0", Some(0), Some(0));
        check("-12", Some(-12), Some(-12));
        check("9223372036854775807", Some(i64::MAX), Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN), Some(i64::MIN));
    }

    #[test]
    fn floats() {
        let refused = [
            "", "-", ".", "-.", "e5", "1e", "1e+", "1.2.3", "nan", "inf", "-inf", "infinity",
            "+NaN", "1,5", "1 ", "1e999", "0x1p3", "1f", "1e5.0",
        ];
        for text in refused {
            assert_eq!(float64(text.as_bytes(), Declared), None, "{text:?}");
        }
        for text in ["+1.5", "007.5", "00"] {
            assert_eq!(float64(text.as_bytes(), Inferred), None, "{text:?}");
            assert!(float64(text.as_bytes(), Declared).is_some(), "{text:?}");
        }
        let same = [
            "0",
            "0.1",
            "1.5",
            "-1.5",
            ".5",
            "5.",
            "-0",
            "1e5",
            "1E-5",
            "1.7976931348623157e308",
            "123456789012345678901234567890",
            "0.000000000000000000000000000001",
            "9007199254740993",
            "3.141592653589793238462643",
            "5e-324",
            "1e-400",
            "18446744073709551616",
            "1e22",
            "1.0e+3",
        ];
        for text in same {
            let expected: f64 = text.parse().unwrap();
            let parsed = float64(text.as_bytes(), Inferred).unwrap();
            assert_eq!(parsed.to_bits(), expected.to_bits(), "{text}");
        }
        assert!(float64(b"NaN", Inferred).unwrap().is_nan());
        assert_eq!(float64(b"-Infinity", Inferred), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn decimals() {
        let check = |text: &str, precision, scale, expected| {
            assert_eq!(
                decimal(text.as_bytes(), precision, scale),
                expected,
                "{text:?} as decimal({precision},{scale})"
            );
        };
        for text in [
            "", "-", ".", "+.", "1e3", "1.2.3", "1,5", " 1", "1 ", "NaN", "--1", "0x1",
        ] {
            check(text, 38, 2, None);
        }
        // Never rounded, never cut.
        check("1.505", 15, 2, None);
        check("0.001", 15, 2, None);
        check("1000", 3, 0, None);
        check("10", 3, 2, None);
        check("-10.00", 3, 2, None);
        check("999999999999999999", 18, 0, Some(999_999_999_999_999_999));
        check("1000000000000000000", 18, 0, None);
        check(&"9".repeat(39), 38, 0, None);
        check("1.50", 15, 2, Some(150));
        check("-1.5", 15, 2, Some(-150));
        check("+007", 15, 2, Some(700));
        check("1.500", 15, 2, Some(150));
        check(".5", 15, 2, Some(50));
        check("5.", 15, 2, Some(500));
        check("-0", 15, 2, Some(0));
        check("0.00", 2, 2, Some(0));
        check(".99", 2, 2, Some(99));
        check(&"9".repeat(38), 38, 0, Some(10i128.pow(38) - 1));
        check(
            "12345678901234567890.12",
            38,
            2,
            Some(1_234_567_890_123_456_789_012),
        );
        check(
            "00000000000000000000000000000000000000001.5",
            5,
            1,
            Some(15),
        );
        check("3", 38, 37, Some(3 * 10i128.pow(37)));
    }

    #[test]
    fn dates() {
        let refused = [
            "",
            "2024-1-1",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "2024-01-00",
            "0000-01-01",
            "2024/01/01",
            "20240101",
            "2024-01-011",
        ];
        for text in refused {
            assert_eq!(date(text.as_bytes()), None, "{text:?}");
        }
        let check = |text: &str, days| assert_eq!(date(text.as_bytes()), Some(days), "{text}");
        check("1970-01-01", 0);
        check("1969-12-31", -1);
        check("2000-02-29", 11_016);
        check("2024-12-31", 20_088);
        check("0001-01-01", -719_162);
        check("9999-12-31", 2_932_896);
    }

    #[test]
    fn timestamps() {
        let refused = [
            "",
            "2024-01-31",
            "2024-01-31T",
            "2024-01-31T12",
            "2024-01-31T24:00",
            "2024-01-31T12:60",
            "2024-01-31T12:00:60",
            "2024-01-31T12:00:00.",
            "2024-01-31T12:00:00.1234567",
            "2024-01-31X12:00:00",
            "2024-01-31T12:00:00+1",
            "2024-01-31T12:00:00+24:00",
            "2024-01-31T12:00:00 01:00",
            "2024-01-31T12:00:00,5",
            "2024-02-30T12:00:00",
        ];
        for text in refused {
            assert_eq!(timestamp(text.as_bytes(), Inferred), None, "{text:?}");
        }
        let noon = 1_706_702_400_000_000;
        let check = |text: &str, micros, has_zone| {
            let expected = Some(Timestamp { micros, has_zone });
            assert_eq!(timestamp(text.as_bytes(), Inferred), expected, "{text}");
        };
        check("2024-01-31T12:00", noon, false);
        check("2024-01-31 12:00:00", noon, false);
        check("2024-01-31T12:00:00.5", noon + 500_000, false);
        check("2024-01-31 12:00:00.000001", noon + 1, false);
        check("2024-01-31T12:00:00Z", noon, true);
        check("2024-01-31 12:00:00+00", noon, true);
        check("2024-01-31T13:30:00+01:30", noon, true);
        check("2024-01-31T07:00:00.25-0500", noon + 250_000, true);
        check("2024-01-31 12:00 Z", noon, true);
        check("1969-12-31T23:59:59.999999", -1, false);
        let midnight = Some(Timestamp {
            micros: noon - MICROS_PER_DAY / 2,
            has_zone: false,
        });
        assert_eq!(timestamp(b"2024-01-31", Declared), midnight);
    }

    #[test]
    fn booleans() {
        for text in ["", "t", "yes", "1", "true ", "truefalse"] {
            assert_eq!(boolean(text.as_bytes()), None);
        }
        assert_eq!(boolean(b"TRUE"), Some(true));
        assert_eq!(boolean(b"False"), Some(false));
    }
}
