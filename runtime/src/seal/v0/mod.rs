//! Format v0: IV, wrapped key, tag and ciphertext of one AES-256-GCM message, byte for byte what the first writers made.
//!
//! The tag stands before the ciphertext and is known after it, so a sealer gives the head last: upload it as a part of its
//! own, or keep the first part back. Nothing of a file is known to be true before all of it was seen, so an opener exists
//! only for a file that was verified: see [`Verifier`].
//!
//! There are two ways of sealing. [`seal_in_place`] is one call of aws-lc-rs, several times as fast, for a file that is in
//! memory as a whole. [`Sealer`] takes constant memory; it is slower because no library has GCM as a stream, and its GHASH
//! is that of another one, which knows no VPCLMULQDQ. Both make the same bytes.

mod gcm;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize as _, Zeroizing};

use super::keys::{check_wrapped, random};
use super::pieces::Pieces;
use super::{DataKey, FreshKey, Random, Result, START_BYTES, SealError, TAG_BYTES, v1};
use gcm::{Authenticator, Keystream};

/// Most plaintext of one file, in bytes: 1 MiB below 2^36, since GCM ends at 2^36 - 32 and a file that comes near it should
/// have rolled long ago.
pub const MAX_PLAINTEXT_BYTES: u64 = (1 << 36) - (1 << 20);

const IV_BYTES: usize = 12;
/// What the second pass compares with the first, in bytes of ciphertext: 16 bytes are kept for each.
const CHECKPOINT_BYTES: usize = 1 << 20;

/// What stands before the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    iv: [u8; IV_BYTES],
    wrapped: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

/// Reads the length of the head from a file's first [`START_BYTES`]. The format has no magic number: what cannot be a
/// length is what tells other files.
pub(super) fn head_bytes(start: &[u8]) -> Result<usize> {
    let length = start.get(IV_BYTES..).and_then(<[u8]>::first_chunk);
    let length = u32::from_be_bytes(*length.ok_or(SealError::NotSealed)?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    check_wrapped(length).map_err(|_| SealError::NotSealed)?;
    Ok(START_BYTES + length + TAG_BYTES)
}

impl Head {
    /// Reads the head from the beginning of a file.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let head = file.get(..head_bytes(file)?).ok_or(SealError::Cut)?;
        let parts = head
            .split_first_chunk()
            .and_then(|(iv, rest)| Some((iv, rest[4..].split_last_chunk()?)));
        let (iv, (wrapped, tag)) = parts.ok_or(SealError::Cut)?;
        Ok(Self {
            iv: *iv,
            wrapped: wrapped.to_vec(),
            tag: *tag,
        })
    }

    /// What to unwrap for the data key, without an encryption context.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped
    }

    /// Where the ciphertext begins.
    pub fn head_bytes(&self) -> usize {
        START_BYTES + self.wrapped.len() + TAG_BYTES
    }

    fn encode(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.head_bytes());
        head.extend_from_slice(&self.iv);
        // A wrapped key has at most 6144 bytes.
        let length = u32::try_from(self.wrapped.len()).unwrap_or(u32::MAX);
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&self.wrapped);
        head.extend_from_slice(&self.tag);
        head
    }
}

/// A random IV that no v1 file begins with. It is drawn here, once for the one file that its key seals.
fn draw_iv(random: Random<'_>) -> Result<[u8; IV_BYTES]> {
    let mut iv = [0; IV_BYTES];
    loop {
        random(&mut iv)?;
        if !iv.starts_with(&v1::MAGIC) {
            return Ok(iv);
        }
    }
}

/// Seals one file as a stream, in constant memory. It takes its key and is gone with [`Sealer::finish`].
pub struct Sealer {
    keystream: Keystream,
    authenticator: Authenticator,
    iv: [u8; IV_BYTES],
    wrapped: Vec<u8>,
}

impl Sealer {
    pub fn new(key: FreshKey) -> Result<Self> {
        Self::with(key, &mut random)
    }

    pub(super) fn with(key: FreshKey, random: Random<'_>) -> Result<Self> {
        let iv = draw_iv(random)?;
        let (keystream, authenticator) = gcm::begin(&key.key, &iv)?;
        Ok(Self {
            keystream,
            authenticator,
            iv,
            wrapped: key.wrapped,
        })
    }

    /// How long the head will be, for whoever leaves room for it.
    pub fn head_bytes(&self) -> usize {
        START_BYTES + self.wrapped.len() + TAG_BYTES
    }

    /// Adds the ciphertext of `plaintext` to `out`.
    pub fn update(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        check_length(self.authenticator.bytes(), plaintext.len())?;
        let authenticator = &mut self.authenticator;
        let each = |ciphertext: &[u8]| authenticator.update(ciphertext);
        self.keystream.apply(plaintext, out, each)
    }

    /// The head, which stands before all of the ciphertext.
    pub fn finish(self) -> Vec<u8> {
        let tag = self.authenticator.tag();
        let (iv, wrapped) = (self.iv, self.wrapped);
        Head { iv, wrapped, tag }.encode()
    }
}

fn check_length(bytes: u64, more: usize) -> Result<()> {
    let all = bytes.checked_add(more as u64);
    match all.is_some_and(|bytes| bytes <= MAX_PLAINTEXT_BYTES) {
        true => Ok(()),
        false => Err(SealError::TooLong(MAX_PLAINTEXT_BYTES)),
    }
}

/// Seals one file that is in memory as a whole: makes `data` its ciphertext, and gives the head that stands before it.
pub fn seal_in_place(key: FreshKey, data: &mut [u8]) -> Result<Vec<u8>> {
    seal_in_place_with(key, data, &mut random)
}

pub(super) fn seal_in_place_with(
    key: FreshKey,
    data: &mut [u8],
    random: Random<'_>,
) -> Result<Vec<u8>> {
    check_length(0, data.len())?;
    let iv = draw_iv(random)?;
    let nonce = Nonce::assume_unique_for_key(iv);
    let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.key.bytes())?);
    let sealed = aead.seal_in_place_separate_tag(nonce, Aad::empty(), data)?;
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(sealed.as_ref());
    let wrapped = key.wrapped;
    Ok(Head { iv, wrapped, tag }.encode())
}

/// Opens a file whose ciphertext is in memory as a whole: makes `data` its plaintext, or fills it with zeros.
pub fn open_in_place(key: &DataKey, head: &Head, data: &mut [u8]) -> Result<()> {
    let nonce = Nonce::assume_unique_for_key(head.iv);
    let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.bytes())?);
    let opened = aead.open_in_place_separate_tag(nonce, Aad::empty(), &head.tag, data);
    if opened.is_err() {
        data.zeroize();
        return Err(SealError::Tag);
    }
    Ok(())
}

/// The first pass over a file in constant memory: it hashes the ciphertext and deciphers nothing. Only where the tag is
/// right does it give the [`Opener`] for the second pass, so there is no plaintext before the whole file was verified.
pub struct Verifier {
    keystream: Keystream,
    again: Authenticator,
    authenticator: Authenticator,
    tag: [u8; TAG_BYTES],
    checkpoints: Zeroizing<Vec<[u8; TAG_BYTES]>>,
}

impl Verifier {
    pub fn new(key: &DataKey, head: &Head) -> Result<Self> {
        let (keystream, authenticator) = gcm::begin(key, &head.iv)?;
        Ok(Self {
            keystream,
            again: authenticator.clone(),
            authenticator,
            tag: head.tag,
            checkpoints: Zeroizing::default(),
        })
    }

    /// Takes what follows the head, in pieces of any size.
    pub fn update(&mut self, ciphertext: &[u8]) -> Result<()> {
        check_length(self.authenticator.bytes(), ciphertext.len())?;
        let mut rest = ciphertext;
        while !rest.is_empty() {
            let behind = (self.authenticator.bytes() % CHECKPOINT_BYTES as u64) as usize;
            let (piece, end) = rest.split_at(rest.len().min(CHECKPOINT_BYTES - behind));
            self.authenticator.update(piece);
            if behind + piece.len() == CHECKPOINT_BYTES {
                self.checkpoints.push(self.authenticator.state());
            }
            rest = end;
        }
        Ok(())
    }

    /// Ends the first pass. The opener is for the same bytes once more.
    pub fn finish(self) -> Result<Opener> {
        let bytes = self.authenticator.bytes();
        let end = self.authenticator.state();
        verify_slices_are_equal(&self.authenticator.tag(), &self.tag)
            .map_err(|_| SealError::Tag)?;
        let checkpoints = self.checkpoints;
        Ok(Opener {
            pieces: Pieces::new(CHECKPOINT_BYTES),
            second: Second {
                keystream: self.keystream,
                authenticator: self.again,
                checkpoints,
            },
            bytes,
            end,
        })
    }
}

/// The second pass, which deciphers. A file can change between the passes; so each MiB is compared with what the first
/// pass saw before any of it is given out.
pub struct Opener {
    pieces: Pieces,
    second: Second,
    bytes: u64,
    end: [u8; TAG_BYTES],
}

struct Second {
    keystream: Keystream,
    authenticator: Authenticator,
    checkpoints: Zeroizing<Vec<[u8; TAG_BYTES]>>,
}

impl Second {
    fn open(&mut self, piece: &[u8], expected: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.authenticator.update(piece);
        verify_slices_are_equal(&self.authenticator.state(), expected)
            .map_err(|_| SealError::Changed)?;
        self.keystream.apply(piece, out, |_| ())
    }
}

impl Opener {
    /// How many bytes there are, of ciphertext and of plaintext.
    pub fn plaintext_bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what follows the head again, and adds plaintext to `out`.
    pub fn update(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let second = &mut self.second;
        self.pieces.feed(ciphertext, |piece| {
            let number = second.authenticator.bytes() / CHECKPOINT_BYTES as u64;
            let checkpoint = usize::try_from(number)
                .ok()
                .and_then(|number| second.checkpoints.get(number).copied())
                .ok_or(SealError::Changed)?;
            second.open(piece, &checkpoint, out)
        })
    }

    /// Adds what is left to `out`. Without it the end of the file is missing.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        let last = self.pieces.last();
        if self.second.authenticator.bytes() + last.len() as u64 != self.bytes {
            return Err(SealError::Changed);
        }
        self.second.open(&last, &self.end, out)
    }
}

#[cfg(test)]
mod tests;
