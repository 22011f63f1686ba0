//! Columns of text. The only place that makes Arrow strings, and the only one that may do so unchecked: whatever is
//! appended is checked here first.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::bits::Validity;
use super::bytes::Bytes;
use super::wire::{Hint, Span, Step, fault};

/// Text of one column. Every value in `bytes` is UTF-8: nothing is appended but by the functions below, and after one
/// has failed nothing is taken out.
#[derive(Default)]
pub(super) struct Text {
    bytes: Bytes,
    is_broken: bool,
    scratch: Vec<Span>,
}

impl Text {
    pub fn validity(&self) -> &Validity {
        self.bytes.validity()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        self.checked(|bytes| bytes.append(input, spans))
    }

    /// The text behind a first byte that counts versions, of which 1 is the only one.
    pub fn append_jsonb(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let mut texts = std::mem::take(&mut self.scratch);
        texts.clear();
        for (index, span) in spans.iter().enumerate() {
            texts.push(match span.of(input) {
                None => Span::NULL,
                Some([1, ..]) => Span {
                    start: span.start + 1,
                    len: span.len - 1,
                },
                Some(_) => {
                    return fault(index, "a jsonb of an unknown version", Hint::AsText);
                }
            });
        }
        let result = self.append(input, &texts);
        self.scratch = texts;
        result
    }

    /// See [`Bytes::append_printed`].
    pub fn append_printed(
        &mut self,
        input: &[u8],
        spans: &[Span],
        print: impl Fn(&[u8], &mut Vec<u8>) -> Option<()>,
    ) -> Step {
        self.checked(|bytes| bytes.append_printed(input, spans, print))
    }

    /// Appends, then checks what was appended: in one go, which is much faster than value by value.
    fn checked(&mut self, append: impl FnOnce(&mut Bytes) -> Step) -> Step {
        let (first, start) = (self.bytes.validity().len(), self.bytes.values().len());
        let result = append(&mut self.bytes).and_then(|()| self.check(first, start));
        self.is_broken |= result.is_err();
        result
    }

    /// Checks the values from number `first` on, whose bytes begin at `start`.
    fn check(&self, first: usize, start: usize) -> Step {
        let values = self.bytes.values();
        let appended = values.get(start..).unwrap_or_default();
        let ends = self.bytes.ends(first + 1);
        // Text that ends within a character leaves the rest of it to the next value: both together are UTF-8, each is
        // not. The second one then begins with a byte that no character begins with.
        let is_whole = |end: &i32| {
            values
                .get(*end as usize)
                .is_none_or(|byte| byte & 0xC0 != 0x80)
        };
        let is_utf8 = simdutf8::basic::from_utf8(appended).is_ok();
        if is_utf8 && ends.iter().fold(true, |all, end| all & is_whole(end)) {
            return Ok(());
        }
        let mut from = start;
        for (index, end) in ends.iter().enumerate() {
            let value = values.get(from..*end as usize).unwrap_or_default();
            if std::str::from_utf8(value).is_err() {
                return fault(index, "a text that is not UTF-8", Hint::Bytes);
            }
            from = *end as usize;
        }
        Ok(())
    }

    /// None after a failure.
    #[allow(unsafe_code)]
    pub fn finish(&mut self) -> Option<ArrayRef> {
        if self.is_broken {
            return None;
        }
        let (offsets, values, nulls) = self.bytes.take();
        // SAFETY: the offsets are increasing and end with the length of `values`: `OffsetBuffer` has checked the
        // former, and `Bytes` appends to both together. Every value was found to be UTF-8 by `check`, since nothing
        // else gives out `bytes` mutably, and a failed check is the end of this column. There is one bit of `nulls`
        // for each value.
        Some(Arc::new(unsafe {
            StringArray::new_unchecked(offsets, values, nulls)
        }))
    }
}
