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

    #[inline]
    pub fn contain(&self, value: &[u8]) -> bool {
        if value.is_empty() {
            self.empty
        } else {
            self.others.iter().any(|other| other == value)
        }
    }
}

/// Records of a text, as the scanner found them.
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
    /// The fields of one column.
    fn column(&self, index: usize) -> impl Iterator<Item = Field> {
        self.fields.iter().skip(index).step_by(self.width).copied()
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
    Timestamp { micros: Vec<i64>, has_zone: bool },
    String { ends: Vec<i32>, bytes: Vec<u8> },
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

    /// Appends column `index` of every record of `chunk`.
    pub fn append(&mut self, chunk: &Chunk<'_>, index: usize) -> Result<(), Misfit> {
        if self.values.len() == 0 {
            self.values.reserve(self.expected);
        }
        let Self {
            values,
            nulls,
            manner,
            scratch,
            ..
        } = self;
        let manner = *manner;
        match values {
            Values::Int64(values) => {
                let parse = |text: &[u8]| int64(text, manner);
                typed(chunk, index, nulls, scratch, parse, |value| {
                    values.push(value)
                })
            }
            Values::Int32(values) => {
                let parse = |text: &[u8]| int32(text, manner);
                typed(chunk, index, nulls, scratch, parse, |value| {
                    values.push(value)
                })
            }
            Values::Decimal {
                values,
                precision,
                scale,
            } => {
                let parse = |text: &[u8]| decimal(text, *precision, *scale);
                typed(chunk, index, nulls, scratch, parse, |value| {
                    values.push(value)
                })
            }
            Values::Float64(values) => {
                let parse = |text: &[u8]| float64(text, manner);
                typed(chunk, index, nulls, scratch, parse, |value| {
                    values.push(value)
                })
            }
            Values::Bool(values) => typed(chunk, index, nulls, scratch, boolean, |value| {
                values.append(value)
            }),
            Values::Date(values) => typed(chunk, index, nulls, scratch, date, |value| {
                values.push(value)
            }),
            Values::Timestamp { micros, has_zone } => {
                let parse = |text: &[u8]| {
                    timestamp(text, manner)
                        .filter(|timestamp| timestamp.has_zone == *has_zone)
                        .map(|timestamp| timestamp.micros)
                };
                typed(chunk, index, nulls, scratch, parse, |value| {
                    micros.push(value)
                })
            }
            Values::String { ends, bytes } => {
                strings(
                    chunk,
                    index,
                    &mut self.nulls,
                    &mut self.scratch,
                    ends,
                    bytes,
                );
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

/// Parses every value of a column and hands it to `push`, anything for null.
#[inline(always)]
fn typed<T: Default>(
    chunk: &Chunk<'_>,
    index: usize,
    nulls: &mut NullBufferBuilder,
    scratch: &mut Vec<u8>,
    parse: impl Fn(&[u8]) -> Option<T>,
    mut push: impl FnMut(T),
) -> Result<(), Misfit> {
    for (record, field) in chunk.column(index).enumerate() {
        let text = field.value(chunk.text, chunk.format, scratch);
        if chunk.nulls.contain(text) {
            nulls.append_null();
            push(T::default());
        } else {
            nulls.append_non_null();
            push(parse(text).ok_or(Misfit(record))?);
        }
    }
    Ok(())
}

/// A quoted text is never null: `""` is an empty string.
fn strings(
    chunk: &Chunk<'_>,
    index: usize,
    nulls: &mut NullBufferBuilder,
    scratch: &mut Vec<u8>,
    ends: &mut Vec<i32>,
    bytes: &mut Vec<u8>,
) {
    for field in chunk.column(index) {
        let text = field.value(chunk.text, chunk.format, scratch);
        if !field.is_quoted() && chunk.nulls.contain(text) {
            nulls.append_null();
        } else {
            nulls.append_non_null();
            if chunk.is_latin1 {
                push_latin1(text, bytes);
            } else {
                bytes.extend_from_slice(text);
            }
        }
        // A batch is cut long before two gigabytes.
        ends.push(bytes.len() as i32);
    }
}

fn push_latin1(text: &[u8], into: &mut Vec<u8>) {
    for byte in text {
        let mut buffer = [0; 2];
        let character = char::from(*byte).encode_utf8(&mut buffer);
        into.extend_from_slice(character.as_bytes());
    }
}
