//! Format v1: a header, then chunks that are sealed one by one, for files that are read as a stream or in ranges.
//!
//! All chunks have one size but for the last, which is always shorter; so neither side has to look ahead to know which it is.
//!
//! The chunks are a STREAM after Hoang, Reyhanitabar, Rogaway and Vizár ("Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", CRYPTO 2015): number and last-chunk mark stand in the nonce, so that a chunk opens at its
//! own place only. As in age and in Tink's AES-GCM-HKDF, the chunks have a key that is derived for this one file:
//! HKDF-SHA-256 of the data key, salted with a random file id, over the hash of the header. That binds every byte of the
//! header to every chunk without associated data. It also makes nonces safe by construction: even if a data key were used
//! for two files, their chunks would have different keys. And since AES-GCM does not commit to its key, the same derivation
//! gives a key check for the header: a wrong key is told from damage, and no file opens under two keys.

mod header;
mod opener;
mod sealer;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize as _;

use super::{Result, SealError, TAG_BYTES};

pub use header::{Header, MAX_HEAD_BYTES};
pub use opener::{Chunks, Opener, StreamOpener};
pub use sealer::Sealer;

pub(super) use header::{MAGIC, head_bytes};

/// Plaintext bytes of a chunk: a power of two from 4 KiB to 16 MiB.
///
/// A reader holds one chunk, and fetches one at least. Below 64 KiB the 16 bytes and the call of each chunk show; above some
/// MiB the CPU's caches no longer hold one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(u8);

impl ChunkSize {
    const SMALLEST: u8 = 12;
    const LARGEST: u8 = 24;

    pub fn new(bytes: usize) -> Result<Self> {
        let chosen = (Self::SMALLEST..=Self::LARGEST).find(|power| bytes == 1 << power);
        chosen.map(Self).ok_or(SealError::ChunkSize(bytes))
    }

    pub fn bytes(self) -> usize {
        1 << self.0
    }

    /// With its tag.
    fn sealed_bytes(self) -> usize {
        self.bytes() + TAG_BYTES
    }
}

impl Default for ChunkSize {
    /// 1 MiB.
    fn default() -> Self {
        Self(20)
    }
}

/// Where a chunk stands. Two chunks of a file differ in it, and it is all that a nonce is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    number: u32,
    is_last: bool,
}

impl Place {
    /// Seven zeros, the number, the mark. The key is of this file alone, so nothing else has to be told apart.
    fn nonce(self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = self.is_last.into();
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals and opens the chunks of one file.
struct ChunkKey(LessSafeKey);

impl ChunkKey {
    fn new(key: &[u8]) -> Result<Self> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?)))
    }

    /// Adds `plaintext`, sealed for `place`, to `out`. For the sealer, which goes to each place once.
    fn seal(&self, place: Place, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_BYTES, 0);
        let (ciphertext, tag) = out[start..].split_at_mut(plaintext.len());
        let none = Aad::empty();
        let key = &self.0;
        key.seal_out_of_place_scatter(place.nonce(), none, plaintext, ciphertext, &[], tag)?;
        Ok(())
    }

    /// Adds the plaintext of `sealed` to `out`, where it is what was sealed for `place`; else leaves `out` as it was.
    fn open(&self, place: Place, sealed: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else {
            return false;
        };
        let start = out.len();
        out.resize(start + ciphertext.len(), 0);
        let (none, plaintext) = (Aad::empty(), &mut out[start..]);
        let key = &self.0;
        let opened = key.open_separate_gather(place.nonce(), none, ciphertext, tag, plaintext);
        if opened.is_err() {
            // The library may have written what it then refused.
            out[start..].zeroize();
            out.truncate(start);
        }
        opened.is_ok()
    }
}

#[cfg(test)]
mod tests;
