//! Dates and times of RFC 3339, section 5.6, in whole microseconds and never rounded.

use std::cmp::Ordering;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Days since 1970-01-01 of `2013-01-31`.
pub(super) fn date(text: &str) -> Option<i32> {
    let (days, rest) = full_date(text.as_bytes())?;
    rest.is_empty().then_some(days)
}

/// Microseconds since 1970-01-01T00:00:00 of `2013-01-31T23:59:59.5`, which has no offset.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    let time = Time::parse(text)?;
    time.offset.is_none().then(|| time.micros())?
}

/// Microseconds since 1970-01-01T00:00:00Z of `2013-01-31T23:59:59.5+01:00`.
pub(super) fn timestamptz(text: &str) -> Option<i64> {
    let time = Time::parse(text)?;
    time.offset.and_then(|_| time.micros())
}

/// Of two texts that are times with an offset, which is later; none where one is not.
pub(super) fn compare(left: &str, right: &str) -> Option<Ordering> {
    let instant = |text| Time::parse(text).filter(|time| time.offset.is_some());
    let (left, right) = (instant(left)?, instant(right)?);
    Some(
        left.seconds()
            .cmp(&right.seconds())
            .then_with(|| left.fraction.cmp(right.fraction)),
    )
}

pub(super) fn is_instant(text: &str) -> bool {
    Time::parse(text).is_some_and(|time| time.offset.is_some())
}

struct Time<'a> {
    /// Since 1970-01-01T00:00:00 where it was read.
    local: i64,
    /// The digits of a fraction of a second, without zeros at the end.
    fraction: &'a [u8],
    /// Seconds east of UTC.
    offset: Option<i64>,
}

impl<'a> Time<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (days, rest) = full_date(text.as_bytes())?;
        let [b'T' | b't' | b' ', rest @ ..] = rest else {
            return None;
        };
        let (hour, rest) = two_digits(rest, 23)?;
        let (minute, rest) = two_digits(rest.strip_prefix(b":")?, 59)?;
        let (second, rest) = two_digits(rest.strip_prefix(b":")?, 59)?;
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                if digits == 0 {
                    return None;
                }
                rest.split_at(digits)
            }
            _ => (&[][..], rest),
        };
        let zeros = fraction
            .iter()
            .rev()
            .take_while(|digit| **digit == b'0')
            .count();
        Some(Self {
            local: i64::from(days) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second,
            fraction: fraction.get(..fraction.len() - zeros)?,
            offset: offset(rest)?,
        })
    }

    /// Since 1970-01-01T00:00:00Z.
    fn seconds(&self) -> i64 {
        self.local - self.offset.unwrap_or_default()
    }

    fn micros(&self) -> Option<i64> {
        if self.fraction.len() > 6 {
            return None;
        }
        let digits = self.fraction.iter().chain(std::iter::repeat(&b'0')).take(6);
        let micros = digits.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
        Some(self.seconds() * 1_000_000 + micros)
    }
}

/// None within where there is none; none at all where it is something else.
fn offset(text: &[u8]) -> Option<Option<i64>> {
    match text {
        [] => Some(None),
        [b'Z' | b'z'] => Some(Some(0)),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, rest) = two_digits(rest, 23)?;
            let (minutes, rest) = two_digits(rest.strip_prefix(b":")?, 59)?;
            let size = hours * 3600 + minutes * 60;
            rest.is_empty()
                .then_some(Some(if *sign == b'-' { -size } else { size }))
        }
        _ => None,
    }
}

fn two_digits(text: &[u8], most: i64) -> Option<(i64, &[u8])> {
    let ([tens @ b'0'..=b'9', ones @ b'0'..=b'9'], rest) = text.split_first_chunk()? else {
        return None;
    };
    let value = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    (value <= most).then_some((value, rest))
}

/// Days since 1970-01-01 and what follows.
fn full_date(text: &[u8]) -> Option<(i32, &[u8])> {
    let (century, rest) = two_digits(text, 99)?;
    let (year, rest) = two_digits(rest, 99)?;
    let (month, rest) = two_digits(rest.strip_prefix(b"-")?, 12)?;
    let (day, rest) = two_digits(rest.strip_prefix(b"-")?, 31)?;
    let year = century * 100 + year;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if month == 0 || day == 0 || day > length {
        return None;
    }
    // Years that begin in March: the leap day is the last.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    // 0000-03-01 is 719,468 days before 1970-01-01.
    Some((i32::try_from(days - 719_468).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2013-1-31",
            "2013-02-29",
            "2013-13-01",
            "2013-00-10",
            "2013-01-00",
            "20130131",
            "+2013-01-31",
            "2013-01-31 ",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in [
            "2013-01-31",
            "2013-01-31T",
            "2013-01-31T24:00:00Z",
            "2013-01-31T23:60:00Z",
            "2013-06-30T23:59:60Z",
            "2013-01-31T23:59Z",
            "2013-01-31T23:59:59",
            "2013-01-31T23:59:59.Z",
            "2013-01-31T23:59:59.1234567Z",
            "2013-01-31T23:59:59+0100",
            "2013-01-31T23:59:59+24:00",
            "2013-01-31T23:59:59 Z",
            "2013-01-31T23:59:59é",
        ] {
            assert_eq!(timestamptz(text), None, "{text}");
        }
        assert_eq!(timestamp("2013-01-31T23:59:59Z"), None);
    }

    #[test]
    fn reads_dates_and_times() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("0000-01-01", -719_528),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(date(text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:59:59.999999z", -1),
            ("2024-02-29t12:30:15.25-05:30", 1_709_229_615_250_000),
            ("2024-02-29 12:30:15.250000000Z", 1_709_209_815_250_000),
        ] {
            assert_eq!(timestamptz(text), Some(expected), "{text}");
        }
        assert_eq!(
            timestamp("2024-02-29T12:30:15"),
            Some(1_709_209_815_000_000)
        );
    }

    #[test]
    fn compares_instants() {
        let check =
            |left, right, expected| assert_eq!(compare(left, right), expected, "{left} {right}");
        check(
            "2024-01-01T00:00:00Z",
            "2024-01-01T01:00:00+01:00",
            Some(Ordering::Equal),
        );
        check(
            "2024-01-01T00:00:00.5Z",
            "2024-01-01T00:00:00.45Z",
            Some(Ordering::Greater),
        );
        check(
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00.000000001Z",
            Some(Ordering::Less),
        );
        check("2024-01-01T00:00:00", "2024-01-01T00:00:00Z", None);
        check("x", "2024-01-01T00:00:00Z", None);
    }
}
