//! Bits of a column: which values are there, and booleans. Appended up to 64 at a time.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

/// One bit for each value.
#[derive(Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Appends the low `count` bits of `word`; those above are zero.
    pub fn push(&mut self, word: u64, count: usize) {
        let shift = self.len % 64;
        match self.words.last_mut() {
            Some(last) if shift > 0 => {
                *last |= word << shift;
                if shift + count > 64 {
                    self.words.push(word >> (64 - shift));
                }
            }
            _ if count > 0 => self.words.push(word),
            _ => {}
        }
        self.len += count;
    }

    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    pub fn finish(&mut self) -> BooleanBuffer {
        let capacity = self.words.len() + self.words.len() / 16;
        let words = std::mem::replace(&mut self.words, Vec::with_capacity(capacity));
        // Arrow's bits are little-endian.
        let words: Vec<u64> = words.into_iter().map(u64::to_le).collect();
        BooleanBuffer::new(Buffer::from_vec(words), 0, std::mem::take(&mut self.len))
    }
}

/// Which values are not NULL. Takes no memory before the first NULL.
#[derive(Default)]
pub(super) struct Validity {
    /// Empty as long as there was no NULL.
    valid: Bits,
    len: usize,
    nulls: usize,
}

impl Validity {
    /// Appends `count` values, at most 64, of which those with a bit in `nulls` are NULL.
    #[inline]
    pub fn push(&mut self, nulls: u64, count: usize) {
        if nulls != 0 && self.nulls == 0 {
            self.materialise();
        }
        self.nulls += nulls.count_ones() as usize;
        if self.nulls > 0 {
            self.valid.push(!nulls & low_bits(count), count);
        }
        self.len += count;
    }

    fn materialise(&mut self) {
        let (whole, rest) = (self.len / 64, self.len % 64);
        for _ in 0..whole {
            self.valid.push(u64::MAX, 64);
        }
        self.valid.push(low_bits(rest), rest);
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn nulls(&self) -> usize {
        self.nulls
    }

    pub fn bytes(&self) -> usize {
        self.valid.bytes()
    }

    pub fn finish(&mut self) -> Option<NullBuffer> {
        let nulls = std::mem::take(&mut self.nulls);
        self.len = 0;
        if nulls == 0 {
            return None;
        }
        Some(NullBuffer::new(self.valid.finish()))
    }

    /// The first NULL at or after `from`.
    pub fn first_null(&self, from: usize) -> Option<usize> {
        if self.nulls == 0 {
            return None;
        }
        (from..self.len).find(|index| self.valid.words[index / 64] >> (index % 64) & 1 == 0)
    }
}

/// A word with the low `count` bits set, of at most 64.
fn low_bits(count: usize) -> u64 {
    match count {
        64 => u64::MAX,
        _ => (1 << count) - 1,
    }
}
