//! The header of a v1 file: its encoding, its checks, and the keys that follow from it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Okm, Salt};
use zeroize::Zeroizing;

use super::super::keys::check_wrapped;
use super::super::{Context, DataKey, MAX_CONTEXT_BYTES, MAX_WRAPPED_KEY_BYTES, Result, SealError};
use super::{ChunkKey, ChunkSize, Opener};

/// What a v1 file begins with. The first byte is no ASCII and the last one a line feed, so that a transfer as text shows.
pub const MAGIC: [u8; 8] = *b"\x89DATIVO\n";
/// Largest header, in bytes.
pub const MAX_HEAD_BYTES: usize = FIXED_BYTES + MAX_WRAPPED_KEY_BYTES + MAX_CONTEXT_BYTES;

const VERSION: u8 = 1;
/// Magic number, version, chunk size and length of the header.
const LEAD_BYTES: usize = 12;
pub const ID_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
/// All but the wrapped key and the context.
const FIXED_BYTES: usize = LEAD_BYTES + ID_BYTES + 2 + 2 * HASH_BYTES;
const SMALLEST_BYTES: usize = FIXED_BYTES + 2;

const LABEL: &[u8] = b"dativo sealed file v1";

/// Reads the length of the header from the begin of a file that has the magic number.
pub fn head_bytes(start: &[u8]) -> Result<usize> {
    let lead: &[u8; LEAD_BYTES] = start.first_chunk().ok_or(SealError::Cut)?;
    let [.., version, _, high, low] = *lead;
    if version != VERSION {
        return Err(SealError::Version(version));
    }
    let bytes = u16::from_be_bytes([high, low]).into();
    match (SMALLEST_BYTES..=MAX_HEAD_BYTES).contains(&bytes) {
        true => Ok(bytes),
        false => Err(SealError::HeaderDamaged),
    }
}

/// What a v1 file says about itself. Nothing of it is to be trusted before [`Header::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    chunk_size: ChunkSize,
    id: [u8; ID_BYTES],
    wrapped: Vec<u8>,
    context: Context,
    /// Over all that stands before the key check.
    hash: [u8; HASH_BYTES],
    key_check: [u8; HASH_BYTES],
    head_bytes: usize,
}

impl Header {
    /// Makes the header of a new file: its bytes, and the key of its chunks.
    pub(super) fn create(
        key: &DataKey,
        wrapped: &[u8],
        context: &Context,
        chunk_size: ChunkSize,
        id: [u8; ID_BYTES],
    ) -> Result<(Vec<u8>, ChunkKey)> {
        let mut tail = Vec::new();
        tail.extend_from_slice(&id);
        // A wrapped key has at most 6144 bytes, and a header 10,350.
        let wrapped_bytes = u16::try_from(wrapped.len()).unwrap_or(u16::MAX);
        tail.extend_from_slice(&wrapped_bytes.to_be_bytes());
        tail.extend_from_slice(wrapped);
        context.encode(&mut tail);
        let head_bytes = LEAD_BYTES + tail.len() + 2 * HASH_BYTES;
        let head_bytes = u16::try_from(head_bytes).unwrap_or(u16::MAX);

        let mut header = MAGIC.to_vec();
        header.push(VERSION);
        header.push(chunk_size.0);
        header.extend_from_slice(&head_bytes.to_be_bytes());
        header.extend_from_slice(&tail);
        let keys = Keys::derive(key, &id, &hash(&header))?;
        header.extend_from_slice(keys.check());
        header.extend_from_slice(&hash(&header));
        Ok((header, ChunkKey::new(keys.chunks())?))
    }

    /// Reads the header from the beginning of a file. Damage by accident ends here, before anyone is asked for the key.
    pub fn parse(file: &[u8]) -> Result<Self> {
        if !file.starts_with(&MAGIC) {
            return Err(SealError::NotSealed);
        }
        let header = file.get(..head_bytes(file)?).ok_or(SealError::Cut)?;
        Self::decode(header).ok_or(SealError::HeaderDamaged)
    }

    fn decode(header: &[u8]) -> Option<Self> {
        let (checked, checksum) = header.split_last_chunk()?;
        if hash(checked) != *checksum {
            return None;
        }
        let (fields, key_check) = checked.split_last_chunk()?;
        let (lead, rest) = fields.split_first_chunk::<LEAD_BYTES>()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (wrapped_bytes, rest) = rest.split_first_chunk()?;
        let wrapped_bytes = u16::from_be_bytes(*wrapped_bytes).into();
        check_wrapped(wrapped_bytes).ok()?;
        let (wrapped, context) = rest.split_at_checked(wrapped_bytes)?;
        let chunk_bytes = 1_usize.checked_shl(lead[MAGIC.len() + 1].into())?;
        Some(Self {
            chunk_size: ChunkSize::new(chunk_bytes).ok()?,
            id: *id,
            wrapped: wrapped.to_vec(),
            context: Context::decode(context)?,
            hash: hash(fields),
            key_check: *key_check,
            head_bytes: header.len(),
        })
    }

    /// What to unwrap for the data key, with [`Header::context`] as the encryption context.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Where the first chunk begins.
    pub fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Verifies the header with the key, and that the file was sealed for each name and value of `expected`. Who does not
    /// say whom a file should be for takes the file of anyone whose key the key service unwraps.
    pub fn open(&self, key: &DataKey, expected: &[(&str, &str)]) -> Result<Opener> {
        let keys = Keys::derive(key, &self.id, &self.hash)?;
        verify_slices_are_equal(keys.check(), &self.key_check).map_err(|_| SealError::WrongKey)?;
        self.context.check(expected)?;
        let key = ChunkKey::new(keys.chunks())?;
        Ok(Opener::new(key, self.chunk_size, self.head_bytes))
    }
}

fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The key of the chunks, and the key check.
struct Keys(Zeroizing<[u8; Keys::BYTES]>);

impl Keys {
    const KEY_BYTES: usize = 32;
    const BYTES: usize = Self::KEY_BYTES + HASH_BYTES;

    fn derive(key: &DataKey, id: &[u8; ID_BYTES], header: &[u8; HASH_BYTES]) -> Result<Self> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                Keys::BYTES
            }
        }
        let secret = Salt::new(HKDF_SHA256, id).extract(key.bytes());
        let mut keys = Zeroizing::new([0; Self::BYTES]);
        let info = [LABEL, header];
        Okm::fill(secret.expand(&info, Length)?, keys.as_mut())?;
        Ok(Self(keys))
    }

    fn chunks(&self) -> &[u8] {
        &self.0[..Self::KEY_BYTES]
    }

    fn check(&self) -> &[u8] {
        &self.0[Self::KEY_BYTES..]
    }
}
