//! Columns of values that have one size in Arrow.
//!
//! Most have one size on the wire too and are converted without a branch that depends on the data; a value that needs
//! care is only noticed there and looked at again, see [`Fixed::append`].

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeBinaryArray, PrimitiveArray,
};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, IntervalMonthDayNano};
use arrow::error::ArrowError;

use super::bits::{Bits, Validity};
use super::options::Infinity;
use super::wire::{Fault, Hint, Span, Step, array, fault};

/// Days and microseconds from the epoch of Arrow to that of PostgreSQL, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Values of one type, and which of them are there.
pub(super) struct Fixed<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T> Default for Fixed<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            validity: Validity::default(),
        }
    }
}

impl<T: Copy + Default> Fixed<T> {
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<T>() + self.validity.bytes()
    }

    /// Appends values of `W` bytes. `usual` converts one and tells whether that was all; it sees the bytes of NULL
    /// and of values of a wrong size too. `careful` converts those for which it was not; None is NULL.
    #[inline(always)]
    fn append<const W: usize>(
        &mut self,
        input: &[u8],
        spans: &[Span],
        usual: impl Fn([u8; W]) -> (T, bool),
        careful: impl Fn([u8; W]) -> Step<Option<T>>,
    ) -> Step {
        for (chunk_index, chunk) in spans.chunks(64).enumerate() {
            let first = self.values.len();
            let mut nulls = 0;
            let mut is_odd = false;
            self.values
                .extend(chunk.iter().enumerate().map(|(index, span)| {
                    let bytes = array(input, span.start as usize).unwrap_or([0; W]);
                    let (value, is_usual) = usual(bytes);
                    let is_null = span.is_null();
                    nulls |= u64::from(is_null) << index;
                    is_odd |= !is_null & ((span.len != W as i32) | !is_usual);
                    if is_null { T::default() } else { value }
                }));
            if is_odd {
                for (index, span) in chunk.iter().enumerate() {
                    let Some(bytes) = span.of(input) else {
                        continue;
                    };
                    let at = chunk_index * 64 + index;
                    let Ok(bytes) = bytes.try_into() else {
                        let what = format!("a value of {} bytes instead of {W}", bytes.len());
                        return fault(at, what, Hint::Nothing);
                    };
                    let value = careful(bytes).map_err(|fault| {
                        Box::new(Fault {
                            index: at,
                            ..*fault
                        })
                    })?;
                    nulls |= u64::from(value.is_none()) << index;
                    self.values[first + index] = value.unwrap_or_default();
                }
            }
            self.validity.push(nulls, chunk.len());
        }
        Ok(())
    }

    /// Appends values of any size, one by one. `each` is not asked about NULL.
    #[inline(always)]
    pub fn append_each(
        &mut self,
        spans: &[Span],
        mut each: impl FnMut(Span) -> Step<Option<T>>,
    ) -> Step {
        for (chunk_index, chunk) in spans.chunks(64).enumerate() {
            let mut nulls = 0;
            let mut failed = None;
            self.values
                .extend(chunk.iter().enumerate().map(|(index, span)| {
                    let value = match span.is_null() {
                        true => Ok(None),
                        false => each(*span),
                    };
                    match value {
                        Ok(Some(value)) => value,
                        Ok(None) => {
                            nulls |= 1 << index;
                            T::default()
                        }
                        Err(mut fault) => {
                            fault.index = chunk_index * 64 + index;
                            failed.get_or_insert(fault);
                            T::default()
                        }
                    }
                }));
            if let Some(fault) = failed {
                return Err(fault);
            }
            self.validity.push(nulls, chunk.len());
        }
        Ok(())
    }

    /// Values that every bit pattern is one of.
    fn append_plain<const W: usize>(
        &mut self,
        input: &[u8],
        spans: &[Span],
        convert: impl Fn([u8; W]) -> T,
    ) -> Step {
        self.append(
            input,
            spans,
            |bytes| (convert(bytes), true),
            |bytes| Ok(Some(convert(bytes))),
        )
    }

    fn take(&mut self) -> (Vec<T>, Option<NullBuffer>) {
        // The next batch is likely as large as this one.
        let capacity = self.values.len() + self.values.len() / 16;
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(capacity));
        (values, self.validity.finish())
    }

    pub fn finish<A: ArrowPrimitiveType<Native = T>>(
        &mut self,
        data_type: &DataType,
    ) -> Result<ArrayRef, ArrowError>
    where
        T: ArrowNativeType,
    {
        let (values, nulls) = self.take();
        let array = PrimitiveArray::<A>::try_new(ScalarBuffer::from(values), nulls)?;
        Ok(Arc::new(array.with_data_type(data_type.clone())))
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Fixed<$type> {
            pub fn append_numbers(&mut self, input: &[u8], spans: &[Span]) -> Step {
                self.append_plain(input, spans, <$type>::from_be_bytes)
            }
        }
    )*};
}

integers!(i16 i32 i64 u32 f32 f64);

impl Fixed<i128> {
    /// Money is an int8 that counts the smallest unit.
    pub fn append_money(&mut self, input: &[u8], spans: &[Span]) -> Step {
        self.append_plain(input, spans, |bytes| i64::from_be_bytes(bytes).into())
    }
}

impl Fixed<i32> {
    pub fn append_dates(&mut self, input: &[u8], spans: &[Span], infinity: Infinity) -> Step {
        self.append(
            input,
            spans,
            |bytes| {
                let days = i32::from_be_bytes(bytes);
                let is_usual = days != i32::MIN && days <= i32::MAX - EPOCH_DAYS;
                (days.wrapping_add(EPOCH_DAYS), is_usual)
            },
            |bytes| match i32::from_be_bytes(bytes) {
                days @ (i32::MAX | i32::MIN) => infinite("date", infinity, days),
                days => match days.checked_add(EPOCH_DAYS) {
                    Some(days) => Ok(Some(days)),
                    None => fault(0, "the date is out of the range of Arrow", Hint::AsText),
                },
            },
        )
    }
}

impl Fixed<i64> {
    /// 24:00:00 is a time of day for PostgreSQL and is kept.
    pub fn append_times(&mut self, input: &[u8], spans: &[Span]) -> Step {
        self.append(
            input,
            spans,
            |bytes| {
                let micros = i64::from_be_bytes(bytes);
                (micros, (0..=86_400_000_000).contains(&micros))
            },
            |bytes| match i64::from_be_bytes(bytes) {
                micros @ 0..=86_400_000_000 => Ok(Some(micros)),
                micros => fault(0, format!("`{micros}` is no time of day"), Hint::Nothing),
            },
        )
    }

    pub fn append_timestamps(&mut self, input: &[u8], spans: &[Span], infinity: Infinity) -> Step {
        self.append(
            input,
            spans,
            |bytes| {
                let micros = i64::from_be_bytes(bytes);
                let is_usual = micros != i64::MIN && micros <= i64::MAX - EPOCH_MICROS;
                (micros.wrapping_add(EPOCH_MICROS), is_usual)
            },
            |bytes| match i64::from_be_bytes(bytes) {
                micros @ (i64::MAX | i64::MIN) => infinite("timestamp", infinity, micros),
                micros => match micros.checked_add(EPOCH_MICROS) {
                    Some(micros) => Ok(Some(micros)),
                    None => fault(
                        0,
                        "the timestamp is later than the year 294246, the last one of Arrow's",
                        Hint::AsText,
                    ),
                },
            },
        )
    }
}

impl Fixed<IntervalMonthDayNano> {
    pub fn append_intervals(&mut self, input: &[u8], spans: &[Span], infinity: Infinity) -> Step {
        let read = |bytes: [u8; 16]| {
            let [micros @ .., _, _, _, _, _, _, _, _] = bytes;
            let [_, _, _, _, _, _, _, _, d0, d1, d2, d3, months @ ..] = bytes;
            (
                i64::from_be_bytes(micros),
                i32::from_be_bytes([d0, d1, d2, d3]),
                i32::from_be_bytes(months),
            )
        };
        self.append(
            input,
            spans,
            |bytes| {
                let (micros, days, months) = read(bytes);
                let (nanos, overflows) = micros.overflowing_mul(1000);
                (IntervalMonthDayNano::new(months, days, nanos), !overflows)
            },
            |bytes| {
                // From PostgreSQL 17 an interval may be infinite: all parts are the greatest or the least.
                let (micros, days, months) = read(bytes);
                let extreme = |micros, days| IntervalMonthDayNano::new(days, days, micros);
                match (micros, days, months) {
                    (i64::MAX, i32::MAX, i32::MAX) => {
                        infinite("interval", infinity, extreme(i64::MAX, i32::MAX))
                    }
                    (i64::MIN, i32::MIN, i32::MIN) => {
                        infinite("interval", infinity, extreme(i64::MIN, i32::MIN))
                    }
                    _ => match micros.checked_mul(1000) {
                        Some(nanos) => Ok(Some(IntervalMonthDayNano::new(months, days, nanos))),
                        None => fault(
                            0,
                            "the time of the interval is more than Arrow holds, 2562047 hours",
                            Hint::AsText,
                        ),
                    },
                }
            },
        )
    }
}

impl Fixed<[u8; 16]> {
    pub fn append_uuids(&mut self, input: &[u8], spans: &[Span]) -> Step {
        self.append_plain(input, spans, |bytes| bytes)
    }

    pub fn finish_uuids(&mut self) -> Result<ArrayRef, ArrowError> {
        let (values, nulls) = self.take();
        let values = Buffer::from_vec(values.into_flattened());
        let array = FixedSizeBinaryArray::try_new(16, values, nulls)?;
        Ok(Arc::new(array))
    }
}

fn infinite<T>(what: &str, infinity: Infinity, extreme: T) -> Step<Option<T>> {
    match infinity {
        Infinity::Error => fault(
            0,
            format!("an infinite {what} has no Arrow value"),
            Hint::Infinity,
        ),
        Infinity::Null => Ok(None),
        Infinity::Saturate => Ok(Some(extreme)),
    }
}

/// Booleans, a bit each.
#[derive(Default)]
pub(super) struct Booleans {
    values: Bits,
    validity: Validity,
}

impl Booleans {
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        self.values.bytes() + self.validity.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        for (chunk_index, chunk) in spans.chunks(64).enumerate() {
            let (mut nulls, mut values, mut is_odd) = (0, 0, false);
            for (index, span) in chunk.iter().enumerate() {
                let byte = input.get(span.start as usize).copied().unwrap_or_default();
                let is_null = span.is_null();
                nulls |= u64::from(is_null) << index;
                values |= u64::from(!is_null & (byte == 1)) << index;
                is_odd |= !is_null & ((span.len != 1) | (byte > 1));
            }
            if is_odd {
                let odd = |span: &Span| !matches!(span.of(input), None | Some([0 | 1]));
                let index = chunk.iter().position(odd).unwrap_or_default();
                return fault(
                    chunk_index * 64 + index,
                    "a value that is no boolean",
                    Hint::Nothing,
                );
            }
            self.values.push(values, chunk.len());
            self.validity.push(nulls, chunk.len());
        }
        Ok(())
    }

    /// One that is there.
    pub fn push(&mut self, value: bool) {
        self.values.push(value.into(), 1);
        self.validity.push(0, 1);
    }

    pub fn finish(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(
            self.values.finish(),
            self.validity.finish(),
        ))
    }
}
