//! AES-256-GCM (NIST SP 800-38D) as a stream, for the 12-byte IVs and the empty associated data of v0.
//!
//! No library on offer has it: they seal a message in one call. The two halves are theirs, the counter mode aws-lc-rs's
//! and GHASH the `ghash` crate's; here they are put together, in the two halves that two passes over a file need.

use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use zeroize::Zeroizing;

use super::super::{DataKey, Result, TAG_BYTES};
use super::IV_BYTES;

/// The block of AES, in bytes.
const BLOCK: usize = 16;
/// What is enciphered before it is hashed, in bytes: small enough to be still in the first cache.
const STEP: usize = 16 << 10;

/// Both halves for one message.
pub fn begin(key: &DataKey, iv: &[u8; IV_BYTES]) -> Result<(Keystream, Authenticator)> {
    let hash_key = Keystream::at(key, [0; BLOCK])?.block()?;
    let mut counter = [0; BLOCK];
    counter[..IV_BYTES].copy_from_slice(iv);
    counter[BLOCK - 1] = 1;
    let mut keystream = Keystream::at(key, counter)?;
    let authenticator = Authenticator {
        hash: GHash::new(&(*hash_key).into()),
        begun: Zeroizing::new([0; BLOCK]),
        bytes: 0,
        mask: keystream.block()?,
    };
    Ok((keystream, authenticator))
}

/// Counter mode, which is the same in both directions.
pub struct Keystream(StreamingEncryptingKey);

impl Keystream {
    fn at(key: &DataKey, counter: [u8; BLOCK]) -> Result<Self> {
        let key = UnboundCipherKey::new(&AES_256, key.bytes())?;
        // The library's counter has 128 bits, GCM's has 32: they agree up to the limit of a message.
        let context = EncryptionContext::Iv128(counter.into());
        Ok(Self(StreamingEncryptingKey::less_safe_ctr(key, context)?))
    }

    /// The next block of the stream itself.
    fn block(&mut self) -> Result<Zeroizing<[u8; BLOCK]>> {
        let mut block = Zeroizing::new([0; BLOCK]);
        self.0.less_safe_update(&[0; BLOCK], block.as_mut())?;
        Ok(block)
    }

    /// Enciphers or deciphers `input` to the end of `out`; `each` sees what came out, step by step.
    pub fn apply(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        // The library wants room for a whole block, even where it writes less.
        out.reserve(input.len() + BLOCK);
        for step in input.chunks(STEP) {
            let start = out.len();
            out.resize(start + step.len() + BLOCK, 0);
            self.0.less_safe_update(step, &mut out[start..])?;
            out.truncate(start + step.len());
            each(&out[start..]);
        }
        Ok(())
    }
}

/// GHASH over a ciphertext, and the tag at its end.
#[derive(Clone)]
pub struct Authenticator {
    hash: GHash,
    /// The block that has begun.
    begun: Zeroizing<[u8; BLOCK]>,
    bytes: u64,
    mask: Zeroizing<[u8; BLOCK]>,
}

impl Authenticator {
    /// How many bytes were hashed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As if so many bytes had been hashed.
    #[cfg(test)]
    pub fn pretend(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    pub fn update(&mut self, ciphertext: &[u8]) {
        let filled = self.filled();
        self.bytes += ciphertext.len() as u64;
        let mut rest = ciphertext;
        if filled > 0 {
            let (start, end) = rest.split_at(rest.len().min(BLOCK - filled));
            self.begun[filled..filled + start.len()].copy_from_slice(start);
            if filled + start.len() < BLOCK {
                return;
            }
            self.hash.update(&[(*self.begun).into()]);
            rest = end;
        }
        let (blocks, tail) = ghash::Block::slice_as_chunks(rest);
        self.hash.update(blocks);
        self.begun[..tail.len()].copy_from_slice(tail);
    }

    /// What stands for all of the bytes so far. To be compared and kept from others: it tells of the key of the hash.
    pub fn state(&self) -> [u8; BLOCK] {
        let mut hash = self.hash.clone();
        hash.update_padded(&self.begun[..self.filled()]);
        hash.finalize().into()
    }

    pub fn tag(mut self) -> [u8; TAG_BYTES] {
        let filled = self.filled();
        self.hash.update_padded(&self.begun[..filled]);
        // The bits of the associated data, which is empty, and of the ciphertext.
        let lengths = u128::from(self.bytes) * 8;
        self.hash.update(&[lengths.to_be_bytes().into()]);
        let mut tag: [u8; TAG_BYTES] = self.hash.clone().finalize().into();
        for (byte, mask) in tag.iter_mut().zip(self.mask.iter()) {
            *byte ^= mask;
        }
        tag
    }

    /// How much of a block has begun.
    fn filled(&self) -> usize {
        (self.bytes % BLOCK as u64) as usize
    }
}
