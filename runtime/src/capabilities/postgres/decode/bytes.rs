//! Columns of values of any length: offsets and the bytes themselves.
//!
//! Knows nothing of what the bytes mean; that they are text is the business of `text.rs`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::bits::Validity;
use super::wire::{Hint, Span, Step, fault};

/// Values up to this size are copied as if they had it, without a call that depends on the size.
const SHORT_BYTES: usize = 32;

/// What a block of values may print to whatever its size on the wire, in bytes. `1e131071` is a numeric of ten bytes.
const FREE_PRINTED_BYTES: usize = 16 << 20;

/// And so many for each byte on the wire. A bit string needs eight.
const PRINTED_BYTES_PER_WIRE_BYTE: usize = 16;

/// Values, one behind the other, and where each ends.
#[derive(Default)]
pub(super) struct Bytes {
    /// Where each value ends. The 0 in front is put there at the end.
    ends: Vec<i32>,
    values: Vec<u8>,
    validity: Validity,
}

impl Bytes {
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn bytes(&self) -> usize {
        self.ends.len() * 4 + self.values.len() + self.validity.bytes()
    }

    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Where each value ends in `values`, from the value at `from`.
    pub fn ends(&self, from: usize) -> &[i32] {
        self.ends.get(from..).unwrap_or_default()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        self.start();
        let total: usize = spans.iter().map(|span| span.size()).sum();
        let mut at = self.values.len();
        if i32::try_from(at + total).is_err() {
            return too_long(spans.len());
        }
        // Room for the copies that are longer than their values.
        self.values.resize(at + total + SHORT_BYTES, 0);
        for chunk in spans.chunks(64) {
            let mut nulls = 0;
            self.ends
                .extend(chunk.iter().enumerate().map(|(index, span)| {
                    nulls |= u64::from(span.is_null()) << index;
                    let (from, size) = (span.start as usize, span.size());
                    copy(input, from, size, &mut self.values[at..]);
                    at += size;
                    at as i32
                }));
            self.validity.push(nulls, chunk.len());
        }
        self.values.truncate(at);
        Ok(())
    }

    /// Appends what `print` makes of each value that is not NULL.
    pub fn append_printed(
        &mut self,
        input: &[u8],
        spans: &[Span],
        print: impl Fn(&[u8], &mut Vec<u8>) -> Option<()>,
    ) -> Step {
        self.start();
        let wire: usize = spans.iter().map(|span| span.size()).sum();
        let most = self.values.len() + FREE_PRINTED_BYTES + PRINTED_BYTES_PER_WIRE_BYTE * wire;
        let most = most.min(i32::MAX as usize);
        for (index, span) in spans.iter().enumerate() {
            if let Some(bytes) = span.of(input)
                && print(bytes, &mut self.values).is_none()
            {
                return fault(index, "a value whose form is not known", Hint::AsText);
            }
            if self.values.len() > most {
                return too_long(index);
            }
            self.ends.push(self.values.len() as i32);
            self.validity.push(span.is_null().into(), 1);
        }
        Ok(())
    }

    fn start(&mut self) {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
    }

    pub fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        self.start();
        // The next batch is likely as large as this one.
        let capacity = self.ends.len() + self.ends.len() / 16;
        let ends = std::mem::replace(&mut self.ends, Vec::with_capacity(capacity));
        let capacity = self.values.len() + self.values.len() / 16 + SHORT_BYTES;
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(capacity));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        (offsets, Buffer::from_vec(values), self.validity.finish())
    }

    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, values, nulls) = self.take();
        Ok(Arc::new(BinaryArray::try_new(offsets, values, nulls)?))
    }
}

fn too_long(index: usize) -> Step {
    let what = "the values of the column are too long for one batch";
    fault(index.saturating_sub(1), what, Hint::Nothing)
}

/// Copies `size` bytes, and more behind them if that is cheaper.
#[inline(always)]
fn copy(input: &[u8], from: usize, size: usize, to: &mut [u8]) {
    if size <= SHORT_BYTES
        && let Some(source) = input
            .get(from..)
            .and_then(<[u8]>::first_chunk::<SHORT_BYTES>)
        && let Some(target) = to.first_chunk_mut::<SHORT_BYTES>()
    {
        *target = *source;
    } else if let (Some(source), Some(target)) = (input.get(from..from + size), to.get_mut(..size))
    {
        target.copy_from_slice(source);
    }
}
