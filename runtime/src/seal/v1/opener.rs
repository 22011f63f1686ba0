//! Opens a v1 file whose header was verified: as a stream, or chunk by chunk in any order.

use std::ops::Range;

use super::super::pieces::Pieces;
use super::super::{Result, SealError, TAG_BYTES};
use super::{ChunkKey, ChunkSize, Place};

/// A file whose header is true: [`Opener::into_stream`] reads it from the first chunk to the last, [`Opener::into_chunks`]
/// any of its chunks.
pub struct Opener {
    key: ChunkKey,
    chunk_size: ChunkSize,
    head_bytes: usize,
}

impl Opener {
    pub(super) fn new(key: ChunkKey, chunk_size: ChunkSize, head_bytes: usize) -> Self {
        Self {
            key,
            chunk_size,
            head_bytes,
        }
    }

    pub fn into_stream(self) -> StreamOpener {
        StreamOpener {
            pieces: Pieces::new(self.chunk_size.sealed_bytes()),
            key: self.key,
            next: Some(0),
        }
    }

    /// Where the last chunk stands in a file of `file_bytes`.
    pub fn last_chunk(&self, file_bytes: u64) -> Result<Range<u64>> {
        let layout = Layout::new(self, file_bytes)?;
        Ok(layout.place(layout.last))
    }

    /// Takes the bytes of [`Opener::last_chunk`]. That it opens as the last one proves that the file was not cut, so the
    /// number of chunks and the length of the plaintext are true from here on.
    pub fn into_chunks(self, file_bytes: u64, last_chunk: &[u8]) -> Result<Chunks> {
        let layout = Layout::new(&self, file_bytes)?;
        let chunks = Chunks {
            key: self.key,
            layout,
        };
        let mut discarded = Vec::new();
        chunks.open(layout.last, last_chunk, &mut discarded)?;
        Ok(chunks)
    }
}

/// Opens a file from its first chunk to its last, holding less than one.
///
/// What it gives out is true and in its place. That it is all, only [`StreamOpener::finish`] says: nobody may take the
/// plaintext for a whole file before.
pub struct StreamOpener {
    key: ChunkKey,
    pieces: Pieces,
    /// `None` after the last number that there is.
    next: Option<u32>,
}

impl StreamOpener {
    /// Takes what follows the header, in pieces of any size, and adds the plaintext of whole chunks to `out`.
    pub fn update(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (key, next) = (&self.key, &mut self.next);
        self.pieces.feed(sealed, |chunk| {
            let number = next.ok_or(SealError::Chunk(u32::MAX))?;
            *next = number.checked_add(1);
            match key.open(inner(number), chunk, out) {
                true => Ok(()),
                false => Err(SealError::Chunk(number)),
            }
        })
    }

    /// Adds the plaintext of the last chunk to `out`, where it is the last.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        let number = self.next.ok_or(SealError::Chunk(u32::MAX))?;
        let chunk = self.pieces.last();
        if chunk.len() < TAG_BYTES {
            return Err(SealError::Cut);
        }
        match self.key.open(last(number), &chunk, out) {
            true => Ok(()),
            false => Err(SealError::LastChunk(number)),
        }
    }
}

/// The chunks of a file whose length is known to be true, in any order.
pub struct Chunks {
    key: ChunkKey,
    layout: Layout,
}

impl Chunks {
    /// The number of the last chunk, counted from 0.
    pub fn last(&self) -> u32 {
        self.layout.last
    }

    pub fn plaintext_bytes(&self) -> u64 {
        let before = self.layout.chunk_size.bytes() as u64 * u64::from(self.layout.last);
        before + self.layout.last_bytes - TAG_BYTES as u64
    }

    /// Where a chunk stands in the file.
    pub fn place(&self, number: u32) -> Result<Range<u64>> {
        match number <= self.layout.last {
            true => Ok(self.layout.place(number)),
            false => Err(SealError::NoSuchChunk(number)),
        }
    }

    /// Adds the plaintext of chunk `number` to `out`; `sealed` is what stands at its place.
    pub fn open(&self, number: u32, sealed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let place = self.place(number)?;
        if place.end - place.start != sealed.len() as u64 {
            return Err(SealError::NoSuchChunk(number));
        }
        if number < self.layout.last {
            return match self.key.open(inner(number), sealed, out) {
                true => Ok(()),
                false => Err(SealError::Chunk(number)),
            };
        }
        match self.key.open(last(number), sealed, out) {
            true => Ok(()),
            false => Err(SealError::LastChunk(number)),
        }
    }
}

fn inner(number: u32) -> Place {
    let is_last = false;
    Place { number, is_last }
}

fn last(number: u32) -> Place {
    let is_last = true;
    Place { number, is_last }
}

/// Where chunks stand, by the length of the file.
#[derive(Clone, Copy)]
struct Layout {
    head_bytes: u64,
    chunk_size: ChunkSize,
    last: u32,
    last_bytes: u64,
}

impl Layout {
    fn new(opener: &Opener, file_bytes: u64) -> Result<Self> {
        let head_bytes = opener.head_bytes as u64;
        let chunk_size = opener.chunk_size;
        let sealed = chunk_size.sealed_bytes() as u64;
        let bytes = file_bytes.saturating_sub(head_bytes);
        let (last, last_bytes) = (bytes / sealed, bytes % sealed);
        if last_bytes < TAG_BYTES as u64 {
            return Err(SealError::Cut);
        }
        let last = u32::try_from(last).map_err(|_| SealError::LastChunk(u32::MAX))?;
        Ok(Self {
            head_bytes,
            chunk_size,
            last,
            last_bytes,
        })
    }

    fn place(&self, number: u32) -> Range<u64> {
        let sealed = self.chunk_size.sealed_bytes() as u64;
        let start = self.head_bytes + u64::from(number) * sealed;
        let bytes = match number < self.last {
            true => sealed,
            false => self.last_bytes,
        };
        start..start + bytes
    }
}
