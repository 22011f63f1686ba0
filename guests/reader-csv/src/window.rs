//! The part of a text that is in memory, and where in the file it is.

use std::io::BufRead;

use dativo_connector::{ByteReader, Error, Result};

/// How much is read at a time, in bytes: a block of the scan stays in the caches of a core.
const FILL_BYTES: usize = 1 << 20;

/// The longest record, in bytes without its newline. A batch of one such record still fits the boundary's 64 MiB.
pub const MAX_RECORD_BYTES: usize = 32 << 20;

pub struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the text begins in `buffer`.
    start: usize,
    /// Bytes of the source that may still be read.
    left: u64,
    ended: bool,
    /// Physical line of the first byte of the text, from 1.
    line: u64,
    /// Bytes consumed so far.
    consumed: u64,
}

impl<R: BufRead> Window<R> {
    /// At most `length` bytes of `source`, the first of them on `line`.
    pub fn new(source: R, length: Option<u64>, line: u64) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            left: length.unwrap_or(u64::MAX),
            ended: length == Some(0),
            line,
            consumed: 0,
        }
    }

    pub fn text(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether the text is the last.
    pub fn is_at_end(&self) -> bool {
        self.ended
    }

    /// Bytes that should have come before the source ended.
    pub fn missing(&self, length: Option<u64>) -> u64 {
        if length.is_some() { self.left } else { 0 }
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Physical line of the byte `at` of the text.
    pub fn line_of(&self, at: usize) -> u64 {
        self.line + newlines(&self.text()[..at])
    }

    /// Leaves the first `count` bytes of the text behind.
    pub fn consume(&mut self, count: usize) {
        self.line += newlines(&self.text()[..count]);
        self.consumed += count as u64;
        self.start += count;
    }

    /// Makes the text longer: at least doubles it, so that a long record is not scanned over and over.
    pub fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let doubled = self.buffer.len() + self.buffer.len().max(FILL_BYTES);
        let goal = doubled.min(MAX_RECORD_BYTES + 1);
        while self.buffer.len() < goal && !self.ended {
            let block = self.source.fill_buf().map_err(ByteReader::error)?;
            let room = goal - self.buffer.len();
            let usable = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(block.len())
                .min(room);
            self.buffer.extend_from_slice(&block[..usable]);
            self.source.consume(usable);
            self.left -= usable as u64;
            self.ended = usable == 0 || self.left == 0;
        }
        Ok(())
    }

    /// Leaves `count` bytes behind that were read before, without a look at them, and goes on at `line`.
    pub fn skip(&mut self, mut count: u64, line: u64) -> Result<()> {
        while count > 0 {
            if self.text().is_empty() {
                self.fill()?;
            }
            let here = usize::try_from(count)
                .unwrap_or(usize::MAX)
                .min(self.text().len());
            if here == 0 {
                return Err(Error::unavailable(
                    "the file became shorter while it was read",
                ));
            }
            self.consume(here);
            count -= here as u64;
        }
        self.line = line;
        Ok(())
    }
}

pub fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}
