//! Numbers as they are written (RFC 8259, section 6), exact: none goes through a float that does not have to.

use std::cmp::Ordering;

/// Significant digits that every Float64 gives back as they were.
const SAFE_DIGITS: usize = 15;

/// Exponents of ten, by size, within which that holds.
const SAFE_EXPONENT: i64 = 290;

pub(super) fn is_integer(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
}

pub(super) fn int64(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.len() > 18 {
        return text.parse().ok();
    }
    let mut value = 0i64;
    for byte in digits.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if is_negative { -value } else { value })
}

/// The nearest Float64; none where the number is too large for one.
pub(super) fn float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// The Float64 whose shortest decimal form is this number; none where there is none.
pub(super) fn exact_float(text: &str) -> Option<f64> {
    let value = float(text)?;
    if text.len() <= SAFE_DIGITS && is_integer(text) {
        return Some(value);
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value);
    // As most writers of JSON print it.
    if shortest == text {
        return Some(value);
    }
    let exact = Exact::parse(text);
    let is_safe = exact.digits <= SAFE_DIGITS && exact.point.abs() <= SAFE_EXPONENT;
    let is_same = || exact.compare(&Exact::parse(shortest)) == Ordering::Equal;
    (is_safe || is_same()).then_some(value)
}

/// The number times `10^scale`, if that is an integer of at most `precision` digits.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let exact = Exact::parse(text);
    if exact.digits == 0 {
        return Some(0);
    }
    // The last digit stands for 10^(point - digits), and must not be below 10^-scale.
    let zeros = exact.point - exact.digits as i64 + i64::from(scale);
    let digits = exact.digits as i64 + zeros;
    if zeros < 0 || digits > i64::from(precision) {
        return None;
    }
    let mut value = 0i128;
    for digit in exact.digits() {
        value = value * 10 + i128::from(digit - b'0');
    }
    value *= 10i128.pow(u32::try_from(zeros).ok()?);
    Some(if exact.is_negative { -value } else { value })
}

/// Whether a text is a number as JSON writes one.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let are_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    [whole, fraction, exponent].into_iter().all(are_digits)
        && (whole == "0" || !whole.starts_with('0'))
}

/// By value.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    Exact::parse(left).compare(&Exact::parse(right))
}

/// `0.DIGITS * 10^point`, where the digits neither begin nor end with a zero; none of them is zero.
struct Exact<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// Zeros at the beginning, which are no digits, and how many digits follow.
    zeros: usize,
    digits: usize,
    point: i64,
}

impl<'a> Exact<'a> {
    /// Of a number as JSON writes one.
    fn parse(text: &'a str) -> Self {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut exact = Self {
            is_negative: false,
            whole: whole.as_bytes(),
            fraction: fraction.as_bytes(),
            zeros: 0,
            digits: whole.len() + fraction.len(),
            point: 0,
        };
        exact.zeros = exact.digits().take_while(|digit| *digit == b'0').count();
        exact.digits -= exact.zeros;
        let trailing = exact
            .digits()
            .rev()
            .take_while(|digit| *digit == b'0')
            .count();
        exact.digits -= trailing;
        exact.is_negative = is_negative && exact.digits > 0;
        let point = whole.len() as i64 - exact.zeros as i64;
        exact.point = point.saturating_add(power(exponent));
        exact
    }

    fn digits(&self) -> impl DoubleEndedIterator<Item = u8> {
        let (in_whole, in_fraction) = (self.whole.len(), self.fraction.len());
        let end = self.zeros + self.digits;
        let part = |part: &'a [u8], from: usize, to: usize| part.get(from..to).unwrap_or_default();
        let whole = part(self.whole, self.zeros.min(in_whole), end.min(in_whole));
        let from = self.zeros.saturating_sub(in_whole);
        let fraction = part(
            self.fraction,
            from,
            end.saturating_sub(in_whole).min(in_fraction),
        );
        whole.iter().chain(fraction).copied()
    }

    fn compare(&self, other: &Exact<'_>) -> Ordering {
        let sign = |number: &Exact<'_>| match (number.digits == 0, number.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let (own, others) = (sign(self), sign(other));
        if own != others || own == 0 {
            return own.cmp(&others);
        }
        let by_size = self
            .point
            .cmp(&other.point)
            .then_with(|| self.digits().cmp(other.digits()));
        match own {
            1 => by_size,
            _ => by_size.reverse(),
        }
    }
}

/// An exponent, held within what a place can be.
fn power(text: &str) -> i64 {
    const LIMIT: i64 = 1 << 40;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = digits.bytes().fold(0i64, |size, digit| {
        (size * 10 + i64::from(digit.wrapping_sub(b'0'))).min(LIMIT)
    });
    if is_negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_that_is_not_the_number_is_none() {
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "12345678901234567890",
            "0.1234567890123456789",
            "1e400",
            "-1e400",
            "1e-400",
            "3.14159265358979323846",
        ] {
            assert_eq!(exact_float(text), None, "{text}");
        }
        for (text, expected) in [
            ("0.1", 0.1),
            ("0", 0.0),
            ("-0.0", -0.0),
            ("1e22", 1e22),
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("100.50", 100.5),
            ("0.30000000000000004", 0.300_000_000_000_000_04),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("0e999999999999999999999", 0.0),
        ] {
            assert_eq!(exact_float(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn integers_end_at_64_bits() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "1.0",
            "1e3",
            "99999999999999999999",
        ] {
            assert_eq!(int64(text), None, "{text}");
        }
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("999999999999999999", 999_999_999_999_999_999),
        ] {
            assert_eq!(int64(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_none() {
        let check = |text: &str, expected: Option<i128>| {
            assert_eq!(decimal(text, 6, 2), expected, "{text}");
        };
        check("1.234", None);
        check("10000", None);
        check("1e4", None);
        check("1e-3", None);
        check("1e999999999999", None);
        check("1234.56", Some(123_456));
        check("-0.01", Some(-1));
        check("1.2e1", Some(1200));
        check("1.2300", Some(123));
        check("0.000", Some(0));
        check("1E+3", Some(100_000));
        let most = "9".repeat(38);
        assert_eq!(decimal(&most, 38, 0), most.parse().ok());
        assert_eq!(decimal(&format!("{most}9"), 38, 0), None);
        assert_eq!(decimal(&format!("0.{most}"), 38, 38), most.parse().ok());
    }

    #[test]
    fn compares_by_value() {
        for (left, right, expected) in [
            ("1", "1.0", Ordering::Equal),
            ("-0", "0.0", Ordering::Equal),
            ("10", "9", Ordering::Greater),
            ("-10", "-9", Ordering::Less),
            ("1e2", "100", Ordering::Equal),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("0.5", "0.45", Ordering::Greater),
            ("-1", "0.001", Ordering::Less),
            ("1e-5", "0.00002", Ordering::Less),
        ] {
            assert_eq!(compare(left, right), expected, "{left} {right}");
            assert_eq!(compare(right, left), expected.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn tells_numbers_from_other_texts() {
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "NaN", "0x1", "1,5", " 1", "1_0", "--1",
        ] {
            assert!(!is_number(text), "{text}");
        }
        for text in ["0", "-0", "10", "1.5", "1.50e-7", "1E+3"] {
            assert!(is_number(text), "{text}");
        }
    }
}
