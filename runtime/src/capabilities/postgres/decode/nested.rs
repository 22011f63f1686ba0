//! Columns of values that have parts: composites, ranges, and maps.
//!
//! The parts of all values are found first; each part's column then gets its own as one block.

use std::sync::Arc;

use arrow::array::{ArrayRef, MapArray, StructArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::appender::Appender;
use super::bits::Validity;
use super::fixed::Booleans;
use super::list::{push_end, with_zero};
use super::text::Text;
use super::wire::{Fault, Hint, Parts, Span, Step, fault};

/// A composite. Dropped attributes are neither in the catalog's answer nor on the wire.
pub(super) struct Composite {
    /// Type and column of each attribute.
    attributes: Vec<(u32, Appender)>,
    validity: Validity,
}

impl Composite {
    pub fn new(attributes: Vec<(u32, Appender)>) -> Self {
        let validity = Validity::default();
        Self {
            attributes,
            validity,
        }
    }

    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        let parts: usize = self
            .attributes
            .iter()
            .map(|(_, column)| column.bytes())
            .sum();
        parts + self.validity.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        // All the attributes of a value, then those of the next one.
        let width = self.attributes.len();
        let mut parts_of_all = vec![Span::NULL; spans.len() * width];
        for (index, span) in spans.iter().enumerate() {
            self.validity.push(span.is_null().into(), 1);
            if span.is_null() {
                continue;
            }
            let mut parts = Parts::new(input, *span);
            if parts
                .int()
                .is_none_or(|count| usize::try_from(count) != Ok(width))
            {
                return fault(
                    index,
                    "a composite with another number of attributes than its type",
                    Hint::Nothing,
                );
            }
            let places = parts_of_all.iter_mut().skip(index * width);
            for (place, (expected, _)) in places.zip(&self.attributes) {
                match (parts.oid(), parts.value()) {
                    (Some(oid), Some(value)) if oid == *expected => *place = value,
                    (Some(oid), Some(_)) => {
                        let what = format!("an attribute of type {oid} instead of {expected}");
                        return fault(index, what, Hint::Nothing);
                    }
                    _ => return damaged(index),
                }
            }
            if parts.left() > 0 {
                return damaged(index);
            }
        }
        let mut own = Vec::with_capacity(spans.len());
        for (number, (_, column)) in self.attributes.iter_mut().enumerate() {
            own.clear();
            own.extend(parts_of_all.iter().skip(number).step_by(width));
            column.append(input, &own)?;
        }
        Ok(())
    }

    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let DataType::Struct(fields) = data_type else {
            return Err(mismatch(data_type));
        };
        let len = self.validity.len();
        let columns: Result<Vec<_>, _> = self
            .attributes
            .iter_mut()
            .zip(fields)
            .map(|((_, column), field)| column.finish(field.data_type()))
            .collect();
        let nulls = self.validity.finish();
        let array = StructArray::try_new_with_length(fields.clone(), columns?, nulls, len)?;
        Ok(Arc::new(array))
    }
}

/// A range: its bounds, which are NULL where there is none, and what its flags say.
pub(super) struct Range {
    bounds: [Appender; 2],
    /// Lower inclusive, upper inclusive, empty.
    flags: [Booleans; 3],
    validity: Validity,
}

const EMPTY: u8 = 0x01;
const INCLUSIVE: [u8; 2] = [0x02, 0x04];
/// Infinite, or NULL, which no range is any more.
const UNBOUNDED: [u8; 2] = [0x08 | 0x20, 0x10 | 0x40];

impl Range {
    pub fn new(bounds: [Appender; 2]) -> Self {
        Self {
            bounds,
            flags: Default::default(),
            validity: Validity::default(),
        }
    }

    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        let bounds: usize = self.bounds.iter().map(Appender::bytes).sum();
        let flags: usize = self.flags.iter().map(Booleans::bytes).sum();
        bounds + flags + self.validity.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let mut bounds = [const { Vec::new() }; 2].map(|mut bounds: Vec<Span>| {
            bounds.reserve(spans.len());
            bounds
        });
        for (index, span) in spans.iter().enumerate() {
            self.validity.push(span.is_null().into(), 1);
            let mut parts = Parts::new(input, *span);
            let flags = match span.is_null() {
                true => UNBOUNDED[0] | UNBOUNDED[1],
                false => match parts.byte() {
                    Some(flags) => flags,
                    None => return damaged(index),
                },
            };
            for (side, bounds) in bounds.iter_mut().enumerate() {
                if flags & (EMPTY | UNBOUNDED[side]) != 0 {
                    bounds.push(Span::NULL);
                    continue;
                }
                match parts.value() {
                    Some(bound) if !bound.is_null() => bounds.push(bound),
                    _ => return damaged(index),
                }
            }
            if !span.is_null() && parts.left() > 0 {
                return damaged(index);
            }
            let masks = [INCLUSIVE[0], INCLUSIVE[1], EMPTY];
            for (column, mask) in self.flags.iter_mut().zip(masks) {
                column.push(flags & mask != 0);
            }
        }
        for (column, own) in self.bounds.iter_mut().zip(&bounds) {
            column.append(input, own)?;
        }
        Ok(())
    }

    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let DataType::Struct(fields) = data_type else {
            return Err(mismatch(data_type));
        };
        let mut columns = Vec::new();
        for (bound, field) in self.bounds.iter_mut().zip(fields) {
            columns.push(bound.finish(field.data_type())?);
        }
        columns.extend(self.flags.iter_mut().map(Booleans::finish));
        let nulls = self.validity.finish();
        let array = StructArray::try_new(fields.clone(), columns, nulls)?;
        Ok(Arc::new(array))
    }
}

/// hstore: pairs of texts, of which the second may be NULL.
#[derive(Default)]
pub(super) struct Map {
    ends: Vec<i32>,
    keys: Text,
    values: Text,
    validity: Validity,
}

impl Map {
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        self.ends.len() * 4 + self.keys.bytes() + self.values.bytes() + self.validity.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut owners = Vec::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            self.validity.push(span.is_null().into(), 1);
            let mut parts = Parts::new(input, *span);
            let count = match span.is_null() {
                true => Some(0),
                false => parts.int().and_then(|count| usize::try_from(count).ok()),
            };
            // Each pair has two lengths.
            let Some(count) = count.filter(|count| *count <= parts.left() / 8) else {
                return damaged(index);
            };
            for _ in 0..count {
                match (parts.value(), parts.value()) {
                    (Some(key), Some(value)) if !key.is_null() => {
                        keys.push(key);
                        values.push(value);
                    }
                    _ => return damaged(index),
                }
            }
            if parts.left() > 0 {
                return damaged(index);
            }
            push_end(&mut self.ends, count).map_err(|fault| Box::new(Fault { index, ..*fault }))?;
            owners.push(keys.len());
        }
        let owner = |fault: Box<Fault>| {
            let index = owners.partition_point(|end| *end <= fault.index);
            Box::new(Fault { index, ..*fault })
        };
        self.keys.append(input, &keys).map_err(owner)?;
        self.values.append(input, &values).map_err(owner)
    }

    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let DataType::Map(entries, is_sorted) = data_type else {
            return Err(mismatch(data_type));
        };
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(mismatch(data_type));
        };
        let (Some(keys), Some(values)) = (self.keys.finish(), self.values.finish()) else {
            return Err(mismatch(data_type));
        };
        let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        let offsets = with_zero(&mut self.ends);
        let nulls = self.validity.finish();
        let array = MapArray::try_new(entries.clone(), offsets, pairs, nulls, *is_sorted)?;
        Ok(Arc::new(array))
    }
}

fn damaged(index: usize) -> Step {
    fault(index, "a value whose parts do not add up", Hint::Nothing)
}

pub(super) fn mismatch(data_type: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("a column is not of type {data_type}"))
}
