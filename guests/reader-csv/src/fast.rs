//! The common forms of numbers and dates, eight bytes at a time.
//!
//! A value is given as the text up to its end and its length: the bytes before it are read along and masked out. None
//! says nothing about a value but that `parse` has to look at it; what is returned is what `parse` returns.

/// Eight times `0`.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight times `.`.
const POINTS: u64 = 0x2e2e_2e2e_2e2e_2e2e;

const ONES: u64 = 0x0101_0101_0101_0101;

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Digits that fit 64 bits, whatever they are.
const MAX_DIGITS: usize = 18;

const POWERS_OF_TEN: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// Digits without a leading zero, with a minus before them.
#[inline(always)]
pub fn int64(upto: &[u8], length: usize) -> Option<i64> {
    let (negative, length) = sign(upto, length)?;
    let magnitude = whole(upto, length)?;
    // `-0` is no integer that the number gives back.
    if negative && magnitude == 0 {
        return None;
    }
    let magnitude = magnitude as i64;
    Some(if negative { -magnitude } else { magnitude })
}

/// Digits, with all of `scale` digits after a point or no point.
#[inline(always)]
pub fn decimal(upto: &[u8], length: usize, precision: u8, scale: u8) -> Option<i128> {
    let (negative, length) = sign(upto, length)?;
    let after = usize::from(scale);
    // What is below fits 64 bits, and so does what it is compared with.
    if length + after > MAX_DIGITS {
        return None;
    }
    let scaled = *POWERS_OF_TEN.get(after)?;
    let has_point = after > 0
        && length > after + 1
        && upto.get((upto.len() - after).wrapping_sub(1)) == Some(&b'.');
    let magnitude = if has_point {
        let before = &upto[..upto.len() - after - 1];
        eight_or_sixteen(before, length - after - 1)? * scaled + eight(upto, after)?
    } else {
        eight_or_sixteen(upto, length)? * scaled
    };
    let fits = usize::from(precision) >= MAX_DIGITS || magnitude < 10u64.pow(precision.into());
    let value = magnitude as i64;
    fits.then_some(i128::from(if negative { -value } else { value }))
}

/// Digits, and at most seven more after a point, that a double holds exactly before the point is set.
#[inline(always)]
pub fn float64(upto: &[u8], length: usize) -> Option<f64> {
    let (negative, length) = sign(upto, length)?;
    let block = u64::from_le_bytes(*upto.last_chunk::<8>()?);
    // The lowest byte that is a point, of those that belong to the value.
    let points = (block ^ POINTS) | !kept(length.min(8));
    let points = points.wrapping_sub(ONES) & !points & HIGH_BITS;
    let (magnitude, after) = if points == 0 {
        (whole(upto, length)?, 0)
    } else {
        let after = 7 - points.trailing_zeros() as usize / 8;
        if after == 0 || length < after + 2 {
            return None;
        }
        let before = whole(&upto[..upto.len() - after - 1], length - after - 1)?;
        if length > MAX_DIGITS {
            return None;
        }
        (before * POWERS_OF_TEN[after] + eight(upto, after)?, after)
    };
    if magnitude > 1 << 53 {
        return None;
    }
    // Both are exact, so the one rounding of the division is the right one.
    let value = magnitude as f64 / POWERS_OF_TEN[after] as f64;
    Some(if negative { -value } else { value })
}

/// `YYYY-MM-DD` as days since 1970-01-01.
#[inline(always)]
pub fn date(text: &[u8]) -> Option<i32> {
    let (start, end) = text.split_first_chunk::<8>()?;
    let &[tens, ones] = end else { return None };
    /// `0000-00-`.
    const PATTERN: u64 = 0x2d30_302d_3030_3030;
    const DASHES: u64 = 0xff00_00ff_0000_0000;
    let digits = u64::from_le_bytes(*start) ^ PATTERN;
    if digits & DASHES != 0 || !are_digits(digits) {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let two = |byte: u32| (pairs >> (8 * byte)) as i32 & 0xff;
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return None;
    }
    let (year, month) = (two(0) * 100 + two(2), two(5));
    let day = i32::from(tens) * 10 + i32::from(ones);
    // Rarer days are left to the calendar.
    if year == 0 || !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    // The year is taken to begin in March, so that the leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days_before = (153 * month + 2) / 5;
    Some(365 * year + year / 4 - year / 100 + year / 400 + days_before + day - 1 - 719_468)
}

/// Whether there is a minus, and the length without it.
#[inline(always)]
fn sign(upto: &[u8], length: usize) -> Option<(bool, usize)> {
    let first = *upto.get(upto.len().wrapping_sub(length))?;
    let negative = first == b'-';
    let length = length - usize::from(negative);
    (length > 0).then_some((negative, length))
}

/// Digits of which the first is no zero, or only one.
#[inline(always)]
fn whole(upto: &[u8], length: usize) -> Option<u64> {
    let first = *upto.get(upto.len().wrapping_sub(length))?;
    if first == b'0' && length > 1 {
        return None;
    }
    eight_or_sixteen(upto, length)
}

#[inline(always)]
fn eight_or_sixteen(upto: &[u8], length: usize) -> Option<u64> {
    match length {
        1..=8 => eight(upto, length),
        9..=16 => {
            let high = eight(&upto[..upto.len() - 8], length - 8)?;
            Some(high * POWERS_OF_TEN[8] + eight(upto, 8)?)
        }
        _ => None,
    }
}

/// The last `length` bytes, 1 to 8, as a number.
#[inline(always)]
fn eight(upto: &[u8], length: usize) -> Option<u64> {
    let block = u64::from_le_bytes(*upto.last_chunk::<8>()?);
    // What comes before the value counts as zeros.
    let digits = (block ^ ZEROS) & kept(length);
    if !are_digits(digits) {
        return None;
    }
    // Neighbours are joined: to bytes below 100, to pairs of bytes below 10,000, to one number.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(1 + (100 << 16)) >> 16;
    Some((fours & 0x0000_ffff_0000_ffff).wrapping_mul(1 + (10_000 << 32)) >> 32)
}

/// The bytes of a block that its last `length`, 1 to 8, are.
#[inline(always)]
fn kept(length: usize) -> u64 {
    u64::MAX << (64 - 8 * length as u32)
}

/// Whether every byte is 0 to 9.
#[inline(always)]
fn are_digits(bytes: u64) -> bool {
    // A carry out of a byte only comes from one that is too large anyway.
    (bytes | bytes.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::{self, Manner};

    fn check(before: &str, text: &str, precision: u8, scale: u8) {
        let all = format!("{before}{text}");
        let (upto, bytes, length) = (all.as_bytes(), text.as_bytes(), text.len());
        if let Some(value) = int64(upto, length) {
            assert_eq!(parse::int64(bytes, Manner::Inferred), Some(value), "{text}");
        }
        if let Some(value) = float64(upto, length) {
            let slow = parse::float64(bytes, Manner::Inferred);
            assert_eq!(slow.map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        if let Some(value) = decimal(upto, length, precision, scale) {
            let slow = parse::decimal(bytes, precision, scale);
            assert_eq!(slow, Some(value), "{text} as decimal({precision},{scale})");
        }
        if let Some(value) = date(bytes) {
            assert_eq!(parse::date(bytes), Some(value), "{text}");
        }
    }

    #[test]
    fn common_forms_are_known() {
        let of = |text: &str| (format!("1234567,{text}"), text.len());
        for text in [
            "0",
            "7",
            "-12",
            "12345678",
            "-123456789",
            "1234567890123456",
        ] {
            let (upto, length) = of(text);
            assert_eq!(int64(upto.as_bytes(), length), text.parse().ok(), "{text}");
        }
        for text in ["0.5", "-1.25", "17", "123456.1234567", "-0.0", "16473.51"] {
            let (upto, length) = of(text);
            assert_eq!(
                float64(upto.as_bytes(), length),
                text.parse().ok(),
                "{text}"
            );
        }
        for (text, expected) in [("0.04", 4), ("-16473.51", -1_647_351), ("17", 1700)] {
            let (upto, length) = of(text);
            let value = decimal(upto.as_bytes(), length, 15, 2);
            assert_eq!(value, Some(expected), "{text}");
        }
        assert_eq!(date(b"1996-03-13"), parse::date(b"1996-03-13"));
        assert_eq!(date(b"1996-03-13"), Some(9568));
    }

    #[test]
    fn every_day_of_some_years_is_the_one_of_the_calendar() {
        for year in [1, 1600, 1899, 1900, 1999, 2000, 2024, 9999] {
            for month in 0..=13 {
                for day in 0..=32 {
                    check("", &format!("{year:04}-{month:02}-{day:02}"), 1, 0);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn what_is_known_is_what_the_parsers_say(
            before in "[0-9.,-]{0,9}",
            text in "-?[0-9]{0,10}(\\.[0-9]{0,9})?|[0-9.:/;-]{0,12}|-?[0-9]{1,20}|[0-9]{4}-[0-9]{2}-[0-9]{2}|\\PC{0,10}",
            precision in 1u8..=38,
            scale in 0u8..=10,
        ) {
            check(&before, &text, precision, scale.min(precision));
        }
    }
}
