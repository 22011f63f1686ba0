//! Data keys: the plain ones, which leave no trace in memory, and the pair that seals one file.

use std::fmt;

use zeroize::Zeroizing;

use super::{Result, SealError};

/// The key of AES-256.
pub const KEY_BYTES: usize = 32;

/// Longest wrapped key, in bytes: the longest `CiphertextBlob` that the `Decrypt` of AWS KMS takes (`CiphertextType` in
/// its service model). A length field that says more is damaged, or belongs to another kind of file.
pub const MAX_WRAPPED_KEY_BYTES: usize = 6144;

/// The plain key of one file. It has no `Clone` and no `Display`, and is overwritten when it is dropped.
pub struct DataKey(Zeroizing<Vec<u8>>);

impl DataKey {
    /// What a key service unwrapped. A falsified file can make it unwrap something of another size.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        match bytes.len() {
            KEY_BYTES => Ok(Self(bytes)),
            other => Err(SealError::KeySize(other)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

/// A key that has sealed nothing yet, with its wrapped form. A sealer takes it and never gives it back, so one key seals
/// one file: get another from the key service for the next file, the next split and the next try.
pub struct FreshKey {
    pub(super) key: DataKey,
    pub(super) wrapped: Vec<u8>,
}

impl FreshKey {
    /// `key` must be new from the key service. One that opened a file has sealed that file.
    pub fn new(key: DataKey, wrapped: Vec<u8>) -> Result<Self> {
        check_wrapped(wrapped.len())?;
        Ok(Self { key, wrapped })
    }
}

impl FreshKey {
    /// The plain key and its wrapped form, for an encoder that seals one file by itself.
    pub fn into_parts(self) -> (Zeroizing<Vec<u8>>, Vec<u8>) {
        (self.key.0, self.wrapped)
    }
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshKey")
    }
}

/// Whether a wrapped key may have this many bytes.
pub(super) fn check_wrapped(bytes: usize) -> Result<()> {
    match (1..=MAX_WRAPPED_KEY_BYTES).contains(&bytes) {
        true => Ok(()),
        false => Err(SealError::WrappedKeySize(bytes)),
    }
}

/// The library's generator: seeded by the system, one a thread, and not repeated by a fork.
pub(super) fn random(bytes: &mut [u8]) -> Result<()> {
    Ok(aws_lc_rs::rand::fill(bytes)?)
}
