//! Columns of a batch being filled, one chunk of records at a time.
//!
//! Knows values and types. Where a value came from is known to `rows`.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use serde::Deserialize;

use crate::fast;
use crate::parse::{Manner, boolean, date, decimal, float64, int32, int64, timestamp};
use crate::scan::{Field, Format};
use crate::types::{Column, Type};

/// How bytes above 127 are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: every byte is the character of its number.
    #[serde(rename = "latin-1")]
    Latin1,
}

impl Encoding {
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
        }
    }

    /// None where the encoding lacks a character.
    fn encode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Latin1 => text.chars().map(|c| u8::try_from(c).ok()).collect(),
        }
    }
}

/// The texts that stand for null.
#[derive(Clone, Debug)]
pub struct Nulls {
    empty: bool,
    others: Vec<Vec<u8>>,
}

impl Nulls {
    pub fn new(texts: &[String], encoding: Encoding) -> Self {
        let (empty, others): (Vec<_>, Vec<_>) = texts.iter().partition(|text| text.is_empty());
        Self {
            empty: !empty.is_empty(),
            others: others
                .into_iter()
                .filter_map(|text| encoding.encode(text))
                .collect(),
        }
    }

    #[inline(always)]
    pub fn contain(&self, value: &[u8]) -> bool {
        if value.is_empty() {
            self.empty
        } else {
            self.others.iter().any(|other| other == value)
        }
    }
}

/// Records of a text, as the scanner found them.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    pub text: &'a [u8],
    pub format: Format,
    pub nulls: &'a Nulls,
    /// Bytes above 127 are characters of Latin-1, and there are some.
    pub is_latin1: bool,
    pub fields: &'a [Field],
    /// Fields of a record.
    pub width: usize,
}

impl Chunk<'_> {
    fn records(&self) -> usize {
        self.fields.len() / self.width.max(1)
    }
}

/// A value that is not of its column's type: the number of its record in the chunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit(pub usize);

/// A column of the next batch.
pub struct Builder {
    values: Values,
    nulls: NullBufferBuilder,
    manner: Manner,
    scratch: Vec<u8>,
    /// Values, and bytes of text, that the next batch will probably have.
    expected: (usize, usize),
}

enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: u8,
    },
    Bool(BooleanBufferBuilder),
    Date(Vec<i32>),
    Timestamp {
        micros: Vec<i64>,
        has_zone: bool,
    },
    String {
        ends: Vec<i32>,
        bytes: Vec<u8>,
    },
}

impl Builder {
    pub fn new(column: &Column) -> Self {
        let values = match column.kind {
            Type::Int32 => Values::Int32(Vec::new()),
            Type::Int64 => Values::Int64(Vec::new()),
            Type::Float64 => Values::Float64(Vec::new()),
            Type::Decimal(precision, scale) => Values::Decimal {
                values: Vec::new(),
                precision,
                scale,
            },
            Type::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Type::Date => Values::Date(Vec::new()),
            Type::Timestamp => Values::Timestamp {
                micros: Vec::new(),
                has_zone: false,
            },
            Type::TimestampTz => Values::Timestamp {
                micros: Vec::new(),
                has_zone: true,
            },
            Type::String => Values::String {
                ends: vec![0],
                bytes: Vec::new(),
            },
        };
        let nulls = NullBufferBuilder::new(0);
        Self {
            values,
            nulls,
            manner: column.manner(),
            scratch: Vec::new(),
            expected: (0, 0),
        }
    }

    /// Appends the field at `place` of every record of `chunk`.
    pub fn append(&mut self, chunk: &Chunk<'_>, place: usize) -> Result<(), Misfit> {
        if self.values.len() == 0 {
            self.values.reserve(self.expected);
        }
        let manner = self.manner;
        let column = Input {
            chunk,
            place,
            nulls: &mut self.nulls,
            scratch: &mut self.scratch,
        };
        match &mut self.values {
            Values::Int32(values) => column.typed(values, |upto, length| {
                fast::int64(upto, length)
                    .and_then(|value| value.try_into().ok())
                    .or_else(|| int32(last(upto, length), manner))
            }),
            Values::Int64(values) => column.typed(values, |upto, length| {
                fast::int64(upto, length).or_else(|| int64(last(upto, length), manner))
            }),
            Values::Float64(values) => column.typed(values, |upto, length| {
                fast::float64(upto, length).or_else(|| float64(last(upto, length), manner))
            }),
            Values::Decimal {
                values,
                precision,
                scale,
            } => {
                let (precision, scale) = (*precision, *scale);
                column.typed(values, |upto, length| {
                    fast::decimal(upto, length, precision, scale)
                        .or_else(|| decimal(last(upto, length), precision, scale))
                })
            }
            Values::Bool(values) => {
                let mut parsed = Vec::new();
                let done = column.typed(&mut parsed, |upto, length| boolean(last(upto, length)));
                values.append_slice(&parsed);
                done
            }
            Values::Date(values) => column.typed(values, |upto, length| {
                let text = last(upto, length);
                fast::date(text).or_else(|| date(text))
            }),
            Values::Timestamp { micros, has_zone } => {
                let has_zone = *has_zone;
                column.typed(micros, |upto, length| {
                    timestamp(last(upto, length), manner)
                        .filter(|timestamp| timestamp.has_zone == has_zone)
                        .map(|timestamp| timestamp.micros)
                })
            }
            Values::String { ends, bytes } => {
                column.strings(ends, bytes);
                Ok(())
            }
        }
    }

    /// The array of all that was appended; the builder starts anew.
    pub fn finish(&mut self) -> Result<ArrayRef, arrow_schema::ArrowError> {
        let nulls = self.nulls.finish();
        self.expected = self.values.expected_next();
        Ok(match &mut self.values {
            Values::Int64(values) => {
                Arc::new(Int64Array::new(std::mem::take(values).into(), nulls))
            }
            Values::Int32(values) => {
                Arc::new(Int32Array::new(std::mem::take(values).into(), nulls))
            }
            Values::Float64(values) => {
                Arc::new(Float64Array::new(std::mem::take(values).into(), nulls))
            }
            Values::Decimal {
                values,
                precision,
                scale,
            } => {
                let array = Decimal128Array::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale as i8)?)
            }
            Values::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Date(values) => {
                Arc::new(Date32Array::new(std::mem::take(values).into(), nulls))
            }
            Values::Timestamp { micros, has_zone } => {
                let zone = has_zone.then_some("UTC");
                let array = TimestampMicrosecondArray::new(std::mem::take(micros).into(), nulls);
                Arc::new(array.with_timezone_opt(zone))
            }
            Values::String { ends, bytes } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::take(ends)));
                ends.push(0);
                Arc::new(StringArray::try_new(
                    offsets,
                    Buffer::from_vec(std::mem::take(bytes)),
                    nulls,
                )?)
            }
        })
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Int32(values) => values.len(),
            Self::Decimal { values, .. } => values.len(),
            Self::Int64(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Date(values) => values.len(),
            Self::Timestamp { micros, .. } => micros.len(),
            Self::String { ends, .. } => ends.len() - 1,
        }
    }

    /// A little more than there is now: doubling for the last few values would waste half of the memory.
    fn expected_next(&self) -> (usize, usize) {
        let more = |length: usize| length + length / 8;
        let bytes = match self {
            Self::String { bytes, .. } => bytes.len(),
            _ => 0,
        };
        (more(self.len()), more(bytes))
    }

    /// Makes room, at the start of a batch rather than at the end of the one before, whose arrays are
    /// still there then.
    fn reserve(&mut self, (count, text): (usize, usize)) {
        match self {
            Self::Int32(values) => values.reserve(count),
            Self::Decimal { values, .. } => values.reserve(count),
            Self::Int64(values) => values.reserve(count),
            Self::Float64(values) => values.reserve(count),
            Self::Bool(values) => values.reserve(count),
            Self::Date(values) => values.reserve(count),
            Self::Timestamp { micros, .. } => micros.reserve(count),
            Self::String { ends, bytes } => {
                ends.reserve(count);
                bytes.reserve(text);
            }
        }
    }
}

/// The last `length` bytes.
#[inline(always)]
fn last(upto: &[u8], length: usize) -> &[u8] {
    &upto[upto.len() - length..]
}

/// One column of a chunk, on its way into a builder.
struct Input<'a> {
    chunk: &'a Chunk<'a>,
    place: usize,
    nulls: &'a mut NullBufferBuilder,
    scratch: &'a mut Vec<u8>,
}

impl<'a> Input<'a> {
    /// Parses every value, given as the text up to its end and its length; null is a default.
    ///
    /// Not inlined: a loop of its own has the registers to itself.
    #[inline(never)]
    fn typed<T: Default>(
        self,
        values: &mut Vec<T>,
        parse: impl Fn(&[u8], usize) -> Option<T>,
    ) -> Result<(), Misfit> {
        let (text, nulls) = (self.chunk.text, self.chunk.nulls);
        // Values since the last null: most chunks have none.
        let mut present = 0;
        let mut misfit = None;
        values.extend(self.fields().enumerate().map(|(record, field)| {
            let (upto, length) = if field.is_escaped() {
                let value = field.value(text, self.chunk.format, self.scratch);
                (value, value.len())
            } else {
                (field.upto(text), field.length())
            };
            if nulls.contain(last(upto, length)) {
                self.nulls.append_n_non_nulls(present);
                self.nulls.append_null();
                present = 0;
                return T::default();
            }
            present += 1;
            parse(upto, length).unwrap_or_else(|| {
                misfit.get_or_insert(Misfit(record));
                T::default()
            })
        }));
        self.nulls.append_n_non_nulls(present);
        misfit.map_or(Ok(()), Err)
    }

    /// A quoted text is never null: `""` is an empty string.
    #[inline(never)]
    fn strings(self, ends: &mut Vec<i32>, bytes: &mut Vec<u8>) {
        let (text, nulls) = (self.chunk.text, self.chunk.nulls);
        let first = ends.len();
        ends.resize(first + self.chunk.records(), 0);
        let total: usize = self.fields().map(Field::length).sum();
        // A character of Latin-1 takes two bytes at most.
        let room = if self.chunk.is_latin1 {
            2 * total
        } else {
            total
        };
        let mut at = bytes.len();
        bytes.resize(at + room + COPY_BYTES, 0);
        let mut present = 0;
        for (field, end) in self.fields().zip(&mut ends[first..]) {
            if !field.is_quoted() && nulls.contain(field.raw(text)) {
                self.nulls.append_n_non_nulls(present);
                self.nulls.append_null();
                present = 0;
            } else {
                present += 1;
                at += if field.is_escaped() || self.chunk.is_latin1 {
                    let value = field.value(text, self.chunk.format, self.scratch);
                    write(value, self.chunk.is_latin1, &mut bytes[at..])
                } else {
                    copy(&text[field.start()..], field.length(), &mut bytes[at..])
                };
            }
            // A batch is cut long before two gigabytes.
            *end = at as i32;
        }
        bytes.truncate(at);
        self.nulls.append_n_non_nulls(present);
    }

    /// The fields of the column, record by record.
    #[inline(always)]
    fn fields(&self) -> impl Iterator<Item = Field> + use<'a> {
        let place = self.place;
        let records = self.chunk.fields.chunks_exact(self.chunk.width);
        records.map(move |record| record[place])
    }
}

const COPY_BYTES: usize = 16;

/// Copies the first `length` bytes, and some behind them where they are there: a copy whose length is known is a few
/// instructions, and any other a call.
#[inline(always)]
fn copy(from: &[u8], length: usize, to: &mut [u8]) -> usize {
    let mut done = 0;
    while done < length {
        let (Some(block), Some(room)) = (
            from[done..].first_chunk::<COPY_BYTES>(),
            to[done..].first_chunk_mut::<COPY_BYTES>(),
        ) else {
            // At the end of the text.
            to[done..length].copy_from_slice(&from[done..length]);
            break;
        };
        *room = *block;
        done += COPY_BYTES;
    }
    length
}

/// Writes a value as UTF-8, and returns its length.
#[cold]
fn write(value: &[u8], is_latin1: bool, to: &mut [u8]) -> usize {
    if !is_latin1 {
        to[..value.len()].copy_from_slice(value);
        return value.len();
    }
    value.iter().fold(0, |at, byte| {
        at + char::from(*byte).encode_utf8(&mut to[at..]).len()
    })
}
