//! Numeric values: from groups of four decimal digits to decimals, floats and text.
//!
//! A value is never rounded on its way into a decimal: what does not fit is refused.

use arrow::datatypes::i256;

use super::fixed::Fixed;
use super::options::Nan;
use super::wire::{Hint, Span, Step, array, fault};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Bytes before the digits: how many groups there are, the weight of the first, sign, digits to print after the point.
const HEADER_BYTES: usize = 8;

/// A decimal type, and what becomes of the values that it has no place for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decimal {
    pub precision: u8,
    pub scale: i8,
    pub nan: Nan,
}

impl Fixed<i128> {
    pub fn append_decimals(&mut self, input: &[u8], spans: &[Span], decimal: Decimal) -> Step {
        let precision = u32::from(decimal.precision);
        let limit = 10_u128.checked_pow(precision).unwrap_or(u128::MAX);
        let small_limit = u64::try_from(limit - 1).unwrap_or(u64::MAX);
        self.append_each(spans, |span| match small(input, span, decimal.scale) {
            Some((value, is_negative)) if value <= small_limit => {
                let value = i128::from(value);
                Ok(Some(if is_negative { -value } else { value }))
            }
            _ => careful(input, span, decimal, |numeric| {
                let value: u128 = numeric.scaled(decimal.scale)?;
                let value = i128::try_from(value).ok().filter(|_| value < limit)?;
                Some(if numeric.is_negative() { -value } else { value })
            }),
        })
    }
}

impl Fixed<i256> {
    pub fn append_decimals(&mut self, input: &[u8], spans: &[Span], decimal: Decimal) -> Step {
        let limit = i256::from_i128(10).checked_pow(decimal.precision.into());
        self.append_each(spans, |span| {
            careful(input, span, decimal, |numeric| {
                let value: i256 = numeric.scaled(decimal.scale)?;
                let value = Some(value).filter(|value| limit.is_none_or(|limit| *value < limit))?;
                Some(if numeric.is_negative() {
                    value.wrapping_neg()
                } else {
                    value
                })
            })
        })
    }
}

impl Fixed<f64> {
    /// The float that is nearest to each.
    pub fn append_numerics(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let mut scratch = Vec::new();
        self.append_each(spans, |span| {
            Numeric::read(input, span).map(|numeric| Some(numeric.float(&mut scratch)))
        })
    }
}

/// The path for all but small and finite values. Out of line, so that the other is short.
#[cold]
#[inline(never)]
fn careful<T>(
    input: &[u8],
    span: Span,
    decimal: Decimal,
    convert: impl Fn(&Numeric) -> Option<T>,
) -> Step<Option<T>> {
    let numeric = Numeric::read(input, span)?;
    if numeric.is_finite() {
        return match convert(&numeric) {
            Some(value) => Ok(Some(value)),
            None => {
                let Decimal {
                    precision, scale, ..
                } = decimal;
                let what = format!(
                    "{} does not fit decimal({precision},{scale})",
                    numeric.brief()
                );
                fault(0, what, Hint::AsText)
            }
        };
    }
    match decimal.nan {
        Nan::Null => Ok(None),
        Nan::Error => {
            let what = format!("a decimal has no value for {}", numeric.brief());
            fault(0, what, Hint::Nan)
        }
    }
}

/// How a number of groups becomes one of another unit, a power of ten away, without a division that is slow:
/// `(groups >> shift) * factor`. Where that divides, it is exact only within the bounds.
#[derive(Clone, Copy)]
struct Rescale {
    shift: u32,
    lost: u64,
    factor: u64,
    greatest_in: u64,
    greatest_out: u64,
}

/// By 10^-3 to 10^19.
const RESCALES: [Rescale; 23] = {
    let mut table = [Rescale {
        shift: 0,
        lost: 0,
        factor: 0,
        greatest_in: 0,
        greatest_out: 0,
    }; 23];
    let mut index = 0;
    while index < 23 {
        table[index] = if index < 3 {
            let places = 3 - index as u32;
            let five = 5_u64.pow(places);
            // Newton's iteration: an odd number is its own inverse modulo 8, and each step doubles the bits.
            let mut inverse = five;
            let mut step = 0;
            while step < 5 {
                inverse = inverse.wrapping_mul(2_u64.wrapping_sub(five.wrapping_mul(inverse)));
                step += 1;
            }
            Rescale {
                shift: places,
                lost: (1 << places) - 1,
                factor: inverse,
                greatest_in: u64::MAX,
                greatest_out: u64::MAX / five,
            }
        } else {
            let factor = 10_u64.pow(index as u32 - 3);
            Rescale {
                shift: 0,
                lost: 0,
                factor,
                greatest_in: u64::MAX / factor,
                greatest_out: u64::MAX,
            }
        };
        index += 1;
    }
    table
};

/// The value of up to four groups in units of 10^-`scale`, and whether it is negative. None where that takes more care.
#[inline(always)]
fn small(input: &[u8], span: Span, scale: i8) -> Option<(u64, bool)> {
    let start = span.start as usize;
    let header = u64::from_be_bytes(array(input, start)?);
    let groups = (header >> 48) as u32;
    let weight = i32::from((header >> 32) as u16 as i16);
    let sign = (header >> 16) as u16;
    if groups > 4 || span.len as u32 != HEADER_BYTES as u32 + 2 * groups || sign & !NEGATIVE != 0 {
        return None;
    }
    // What follows a shorter value is read too, and shifted out.
    let digits = u64::from_be_bytes(array(input, start + HEADER_BYTES)?);
    let digits = digits.checked_shr(64 - 16 * groups).unwrap_or_default();
    // A group of 10,000 or more has its upper bit set in one of the two.
    if (digits | digits.wrapping_add(0x58F0_58F0_58F0_58F0)) & 0x8000_8000_8000_8000 != 0 {
        return None;
    }
    let group = |index: u32| digits >> (16 * index) & 0xFFFF;
    let value = (group(3) * 10_000 + group(2)) * 100_000_000 + (group(1) * 10_000 + group(0));
    let exponent = 4 * (weight - groups as i32 + 1) + i32::from(scale);
    let rescale = RESCALES.get(usize::try_from(exponent + 3).ok()?)?;
    let scaled = (value >> rescale.shift).wrapping_mul(rescale.factor);
    let is_exact = (value & rescale.lost == 0)
        & (value <= rescale.greatest_in)
        & (scaled <= rescale.greatest_out);
    is_exact.then_some((scaled, sign != 0))
}

/// A value as it stands on the wire: `groups` of 0 to 9999, of which the first counts 10000^`weight`.
pub(super) struct Numeric<'a> {
    groups: &'a [u8],
    weight: i32,
    sign: u16,
    /// Digits that are printed after the point.
    places: usize,
}

impl<'a> Numeric<'a> {
    pub fn read(input: &'a [u8], span: Span) -> Step<Self> {
        let bytes = span.of(input).unwrap_or_default();
        Self::parse(bytes).map_or_else(|| fault(0, "a value that is no numeric", Hint::Nothing), Ok)
    }

    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, groups) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [c0, c1, w0, w1, s0, s1, p0, p1] = *header;
        let numeric = Self {
            groups,
            weight: i16::from_be_bytes([w0, w1]).into(),
            sign: u16::from_be_bytes([s0, s1]),
            places: u16::from_be_bytes([p0, p1]).into(),
        };
        let is_sign = [0, NEGATIVE, NAN, INFINITY, NEGATIVE_INFINITY].contains(&numeric.sign);
        let count: usize = u16::from_be_bytes([c0, c1]).into();
        let is_whole = groups.len() == 2 * count && numeric.groups().all(|group| group < 10_000);
        (is_sign && is_whole && numeric.places <= 0x3FFF).then_some(numeric)
    }

    fn groups(&self) -> impl Iterator<Item = u16> {
        let (groups, _) = self.groups.as_chunks::<2>();
        groups.iter().map(|group| u16::from_be_bytes(*group))
    }

    fn group(&self, index: i32) -> u16 {
        let (groups, _) = self.groups.as_chunks::<2>();
        let group = usize::try_from(index)
            .ok()
            .and_then(|index| groups.get(index));
        group.map_or(0, |group| u16::from_be_bytes(*group))
    }

    fn is_finite(&self) -> bool {
        self.sign & !NEGATIVE == 0
    }

    fn is_negative(&self) -> bool {
        self.sign == NEGATIVE
    }

    /// The absolute value in units of 10^-`scale`. None if it is none of a whole number of them, or too many.
    fn scaled<T: Wide>(&self, scale: i8) -> Option<T> {
        let mut value = T::ZERO;
        let mut exponent = 4 * self.weight + i32::from(scale);
        for group in self.groups() {
            let unit = exponent;
            exponent -= 4;
            match unit {
                0.. => value = value.shift(4)?.plus(group)?,
                -3..=-1 => {
                    let divisor = 10_u16.pow(unit.unsigned_abs());
                    if group % divisor != 0 {
                        return None;
                    }
                    value = value.shift((4 + unit) as u32)?.plus(group / divisor)?;
                }
                _ if group == 0 => {}
                _ => return None,
            }
        }
        // The last group that was added counts 10^(exponent + 4).
        match exponent + 4 {
            more @ 1.. if value != T::ZERO => value.shift(more as u32),
            _ => Some(value),
        }
    }

    fn float(&self, scratch: &mut Vec<u8>) -> f64 {
        let value = match self.sign {
            NAN => f64::NAN,
            INFINITY | NEGATIVE_INFINITY => f64::INFINITY,
            _ => self.small_float().unwrap_or_else(|| {
                scratch.clear();
                for group in self.groups() {
                    scratch.extend(four_digits(group));
                }
                let exponent = 4 * (self.weight + 1 - (self.groups.len() / 2) as i32);
                scratch.extend(format!("e{exponent}").as_bytes());
                let text = std::str::from_utf8(scratch).unwrap_or_default();
                text.parse().unwrap_or(f64::NAN)
            }),
        };
        match self.sign {
            NEGATIVE | NEGATIVE_INFINITY => -value,
            _ => value,
        }
    }

    /// Where both the digits and the power of ten are floats, one division or multiplication rounds correctly.
    fn small_float(&self) -> Option<f64> {
        let count = self.groups.len() / 2;
        if count == 0 {
            return Some(0.0);
        }
        let digits = self.groups().try_fold(0_u64, |digits, group| {
            digits.checked_mul(10_000)?.checked_add(group.into())
        })?;
        let exponent = 4 * (self.weight + 1 - count as i32);
        if digits > 1 << 53 || exponent.abs() > 22 {
            return None;
        }
        // 10^22 is the greatest power of ten that is a float.
        let mut power = 1.0;
        for _ in 0..exponent.abs() {
            power *= 10.0;
        }
        let digits = digits as f64;
        Some(if exponent < 0 {
            digits / power
        } else {
            digits * power
        })
    }

    /// As the server prints it.
    pub fn print(&self, out: &mut Vec<u8>) {
        match self.sign {
            NAN => return out.extend(b"NaN"),
            INFINITY => return out.extend(b"Infinity"),
            NEGATIVE_INFINITY => return out.extend(b"-Infinity"),
            NEGATIVE => out.push(b'-'),
            _ => {}
        }
        if self.weight < 0 {
            out.push(b'0');
        }
        for index in 0..=self.weight {
            let digits = four_digits(self.group(index));
            let zeros = match index {
                0 => digits
                    .iter()
                    .take(3)
                    .take_while(|digit| **digit == b'0')
                    .count(),
                _ => 0,
            };
            out.extend(&digits[zeros..]);
        }
        if self.places > 0 {
            out.push(b'.');
            let end = out.len() + self.places;
            // Below 0 for a small fraction: zeros stand between the point and the first group.
            let mut index = self.weight + 1;
            while out.len() < end {
                out.extend(four_digits(self.group(index)));
                index += 1;
            }
            out.truncate(end);
        }
    }

    /// For a message: as it is printed, but not at length.
    fn brief(&self) -> String {
        let mut text = Vec::new();
        self.print(&mut text);
        if text.len() > 100 {
            text.truncate(100);
            text.extend("…".as_bytes());
        }
        format!("`{}`", String::from_utf8_lossy(&text))
    }
}

fn four_digits(group: u16) -> [u8; 4] {
    [1000, 100, 10, 1].map(|unit| b'0' + (group / unit % 10) as u8)
}

/// Unsigned arithmetic that notices when it overflows.
trait Wide: Copy + PartialEq {
    const ZERO: Self;
    /// Times 10^`places`.
    fn shift(self, places: u32) -> Option<Self>;
    fn plus(self, group: u16) -> Option<Self>;
}

impl Wide for u128 {
    const ZERO: Self = 0;

    fn shift(self, places: u32) -> Option<Self> {
        self.checked_mul(10_u128.checked_pow(places)?)
    }

    fn plus(self, group: u16) -> Option<Self> {
        self.checked_add(group.into())
    }
}

impl Wide for i256 {
    const ZERO: Self = i256::ZERO;

    fn shift(self, places: u32) -> Option<Self> {
        if self == Self::ZERO {
            return Some(self);
        }
        self.checked_mul(Self::from_i128(10).checked_pow(places)?)
    }

    fn plus(self, group: u16) -> Option<Self> {
        self.checked_add(Self::from_i128(group.into()))
    }
}
