//! Objects as [`std::io::Read`].

use std::io::{BufRead, Read};

use crate::bindings::capabilities::dativo::connector::object_store::ByteStream;
use crate::error::{Error, Result};

/// How much is asked of the host at a time, in bytes. A call costs some microseconds; a block of this
/// size stays in the caches until it is parsed.
const BLOCK_BYTES: u32 = 512 << 10;

/// Reads an object in order. What the host refuses becomes an I/O error that holds an [`Error`];
/// [`ByteReader::error`] takes it out again.
pub struct ByteReader {
    stream: ByteStream,
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

impl ByteReader {
    /// Opens an object `offset` bytes from its start; `compression` as in `wit/object-store.wit`.
    pub fn open(url: &str, offset: u64, compression: &str) -> Result<Self> {
        let stream = ByteStream::open(url, offset, compression)?;
        Ok(Self {
            stream,
            block: Vec::new(),
            at: 0,
            ended: false,
        })
    }

    /// The error that `read` wrapped, or another one in its place.
    pub fn error(error: std::io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(other) => Error::unavailable(other.to_string()),
        }
    }
}

impl Read for ByteReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let block = self.fill_buf()?;
        let count = block.len().min(into.len());
        into[..count].copy_from_slice(&block[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for ByteReader {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at == self.block.len() && !self.ended {
            match self.stream.next(BLOCK_BYTES) {
                Ok(Some(block)) => (self.block, self.at) = (block, 0),
                Ok(None) => self.ended = true,
                Err(error) => return Err(std::io::Error::other(Error::from(error))),
            }
        }
        Ok(self.block.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.block.len());
    }
}
