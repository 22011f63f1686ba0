//! Columns of lists: arrays and multiranges.
//!
//! The items of all values are found first and then handed to the column of the items as one block.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::appender::Appender;
use super::bits::Validity;
use super::form::Framing;
use super::wire::{Fault, Hint, Parts, Span, Step, fault};

/// Memory that the items of one block may take, whatever their size on the wire, in bytes.
///
/// A NULL takes four bytes there; if it is a NULL of a composite with a thousand attributes, each of them has a place
/// in Arrow.
const FREE_BYTES: usize = 64 << 20;

/// And so many for each byte on the wire.
const BYTES_PER_WIRE_BYTE: usize = 64;

/// Spans that are kept for the next block.
const KEPT_SPANS: usize = 1 << 16;

/// PostgreSQL's own limit.
const MAX_DIMENSIONS: usize = 6;

pub(super) struct List {
    framing: Framing,
    /// Where each list ends, one for each dimension. The 0 in front is put there at the end.
    levels: Vec<Vec<i32>>,
    validity: Validity,
    item: Appender,
    /// What one item takes in Arrow at least, in bytes.
    item_bytes: usize,
    spans: Vec<Span>,
}

impl List {
    pub fn new(framing: Framing, dimensions: u8, item: Appender, item_bytes: usize) -> Self {
        Self {
            framing,
            levels: vec![Vec::new(); dimensions.into()],
            validity: Validity::default(),
            item,
            item_bytes,
            spans: Vec::new(),
        }
    }

    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        let offsets: usize = self.levels.iter().map(|ends| ends.len() * 4).sum();
        offsets + self.validity.bytes() + self.item.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let firsts: Vec<usize> = self.levels.iter().map(Vec::len).collect();
        let wire: usize = spans.iter().map(|span| span.size()).sum();
        let most = FREE_BYTES + BYTES_PER_WIRE_BYTE * wire;
        self.spans.clear();
        for (index, span) in spans.iter().enumerate() {
            self.validity.push(span.is_null().into(), 1);
            let found = match self.framing {
                _ if span.is_null() => self.end_outer(0),
                Framing::Array { element } => self.array(Parts::new(input, *span), element),
                Framing::Multirange => self.multirange(Parts::new(input, *span)),
            };
            found.map_err(|fault| Box::new(Fault { index, ..*fault }))?;
            if self.spans.len().saturating_mul(self.item_bytes) > most {
                return fault(index, "the arrays are too large in memory", Hint::AsText);
            }
        }
        let items = std::mem::take(&mut self.spans);
        self.item.append(input, &items).map_err(|fault| {
            let index = self.owner(fault.index, &firsts);
            Box::new(Fault { index, ..*fault })
        })?;
        if items.capacity() <= KEPT_SPANS {
            self.spans = items;
        }
        Ok(())
    }

    /// A value of `count` lists or items.
    fn end_outer(&mut self, count: usize) -> Step {
        match self.levels.first_mut() {
            Some(ends) => push_end(ends, count),
            None => Ok(()),
        }
    }

    fn array(&mut self, mut parts: Parts, element: u32) -> Step {
        let header = (parts.int(), parts.int(), parts.oid());
        let (Some(dimensions @ 0..), Some(_has_nulls), Some(oid)) = header else {
            return damaged();
        };
        if oid != element {
            let what = format!("an array of type {oid} instead of {element}");
            return fault(0, what, Hint::Nothing);
        }
        let dimensions = dimensions as usize;
        match dimensions {
            0 if parts.left() == 0 => return self.end_outer(0),
            1..=MAX_DIMENSIONS => {}
            _ => return damaged(),
        }
        let depth = self.levels.len();
        if dimensions != depth {
            let what = format!("an array of {dimensions} dimensions, not of {depth}");
            return fault(0, what, Hint::AsText);
        }
        // Lists of the level so far. Not more than items, each of which has a length of four bytes.
        let mut count = 1_usize;
        let mut sizes = [0_usize; MAX_DIMENSIONS];
        for size in sizes.iter_mut().take(depth) {
            let (Some(length @ 1..), Some(_lower_bound)) = (parts.int(), parts.int()) else {
                return damaged();
            };
            *size = length as usize;
            count = count.saturating_mul(*size);
        }
        if count > parts.left() / 4 {
            return damaged();
        }
        let mut lists = 1;
        for (ends, size) in self.levels.iter_mut().zip(sizes) {
            for _ in 0..lists {
                push_end(ends, size)?;
            }
            lists *= size;
        }
        self.take_items(parts, count, true)
    }

    fn multirange(&mut self, mut parts: Parts) -> Step {
        let Some(count @ 0..) = parts.int() else {
            return damaged();
        };
        let count = count as usize;
        if count > parts.left() / 4 {
            return damaged();
        }
        self.end_outer(count)?;
        self.take_items(parts, count, false)
    }

    fn take_items(&mut self, mut parts: Parts, count: usize, may_be_null: bool) -> Step {
        for _ in 0..count {
            match parts.value() {
                Some(span) if may_be_null || !span.is_null() => self.spans.push(span),
                _ => return damaged(),
            }
        }
        match parts.left() {
            0 => Ok(()),
            _ => damaged(),
        }
    }

    /// The value of this block that item `index` belongs to. `firsts`: how many lists there were before, by level.
    fn owner(&self, mut index: usize, firsts: &[usize]) -> usize {
        for (ends, first) in self.levels.iter().zip(firsts).rev() {
            let start = first
                .checked_sub(1)
                .and_then(|last| ends.get(last))
                .copied()
                .unwrap_or_default();
            let ends = ends.get(*first..).unwrap_or_default();
            index = ends.partition_point(|end| (*end - start) as usize <= index);
        }
        index
    }

    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let Self {
            levels,
            item,
            validity,
            ..
        } = self;
        finish_level(levels, item, validity, data_type)
    }
}

fn finish_level(
    levels: &mut [Vec<i32>],
    item: &mut Appender,
    validity: &mut Validity,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let (Some((ends, inner)), DataType::List(field)) = (levels.split_first_mut(), data_type) else {
        return item.finish(data_type);
    };
    let values = finish_level(inner, item, &mut Validity::default(), field.data_type())?;
    let offsets = with_zero(ends);
    let array = ListArray::try_new(field.clone(), offsets, values, validity.finish())?;
    Ok(Arc::new(array))
}

/// Appends where a list of `count` items ends.
pub(super) fn push_end(ends: &mut Vec<i32>, count: usize) -> Step {
    let last = ends.last().copied().unwrap_or_default();
    let end = i32::try_from(count)
        .ok()
        .and_then(|count| last.checked_add(count));
    match end {
        Some(end) => {
            ends.push(end);
            Ok(())
        }
        None => fault(
            0,
            "the lists of the column are too long for one batch",
            Hint::Nothing,
        ),
    }
}

/// The offsets of lists that end at `ends`, which is emptied.
pub(super) fn with_zero(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn damaged() -> Step {
    fault(0, "an array whose parts do not add up", Hint::Nothing)
}
