//! Seals one v1 file as a stream, holding less than a chunk.

use super::super::keys::random;
use super::super::pieces::Pieces;
use super::super::{Context, FreshKey, Random, Result, SealError};
use super::header::ID_BYTES;
use super::{ChunkKey, ChunkSize, Header, Place};

/// It takes its key, draws the file id of its own, and is gone with [`Sealer::finish`].
pub struct Sealer {
    key: ChunkKey,
    pieces: Pieces,
    places: Places,
    bytes_at_most: u64,
}

/// The places of a file, each given once.
struct Places(u32);

impl Places {
    /// `None` where only the last one is left.
    fn next(&mut self) -> Option<Place> {
        let (number, is_last) = (self.0, false);
        self.0 = number.checked_add(1)?;
        Some(Place { number, is_last })
    }

    fn last(self) -> Place {
        let (number, is_last) = (self.0, true);
        Place { number, is_last }
    }
}

impl Sealer {
    /// The sealer, and the header that stands before all chunks.
    pub fn new(key: FreshKey, context: &Context, chunk_size: ChunkSize) -> Result<(Self, Vec<u8>)> {
        Self::with(key, context, chunk_size, &mut random)
    }

    pub(in super::super) fn with(
        key: FreshKey,
        context: &Context,
        chunk_size: ChunkSize,
        random: Random<'_>,
    ) -> Result<(Self, Vec<u8>)> {
        let mut id = [0; ID_BYTES];
        random(&mut id)?;
        let FreshKey { key, wrapped } = key;
        let (header, key) = Header::create(&key, &wrapped, context, chunk_size, id)?;
        let sealer = Self {
            key,
            pieces: Pieces::new(chunk_size.bytes()),
            places: Places(0),
            bytes_at_most: (chunk_size.bytes() as u64) << u32::BITS,
        };
        Ok((sealer, header))
    }

    /// Adds the chunks that `plaintext` completes to `out`.
    pub fn update(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (key, places) = (&self.key, &mut self.places);
        let too_long = SealError::TooLong(self.bytes_at_most);
        self.pieces.feed(plaintext, |chunk| {
            let place = places.next().ok_or_else(|| too_long.clone())?;
            key.seal(place, chunk, out)
        })
    }

    /// Adds the last chunk to `out`: less than a whole one, so that it may be empty.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        self.key.seal(self.places.last(), &self.pieces.last(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_comes_twice_and_no_number_begins_again() {
        let mut places = Places(u32::MAX - 2);
        let mut given: Vec<_> = std::iter::from_fn(|| places.next()).collect();
        assert_eq!(places.next(), None);
        given.push(places.last());
        let numbers: Vec<_> = given
            .iter()
            .map(|place| (place.number, place.is_last))
            .collect();
        let end = u32::MAX;
        assert_eq!(numbers, [(end - 2, false), (end - 1, false), (end, true)]);
    }

    #[test]
    fn a_nonce_tells_every_place_from_every_other() {
        let nonce = |number, is_last| *Place { number, is_last }.nonce().as_ref();
        assert_eq!(
            nonce(0x0102_0304, false),
            *b"\0\0\0\0\0\0\0\x01\x02\x03\x04\0"
        );
        assert_eq!(
            nonce(0x0102_0304, true),
            *b"\0\0\0\0\0\0\0\x01\x02\x03\x04\x01"
        );
    }
}
