//! A master key that is at hand instead of in a key service: it makes data keys and wraps them. For development.
//!
//! `docs/sealed-files.md` has the layout of what it wraps. The nonces are random, so one key is good for some 2^32 files.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::keys::random;
use super::{Context, DataKey, FreshKey, KEY_BYTES, Random, Result, SealError, TAG_BYTES};

/// What a key begins with that was wrapped here; the last byte is the version.
const MAGIC: [u8; 8] = *b"\x89DATKEY\x01";
const WRAPPED_BYTES: usize = MAGIC.len() + NONCE_LEN + KEY_BYTES + TAG_BYTES;

/// Like [`DataKey`] it has no `Clone` and no `Display`, and leaves no trace.
pub struct LocalKey(DataKey);

impl LocalKey {
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        DataKey::new(bytes).map(Self)
    }

    /// Whether a key of this kind wrapped `wrapped`, and no key service.
    pub fn has_wrapped(wrapped: &[u8]) -> bool {
        wrapped.starts_with(&MAGIC)
    }

    /// A new data key, wrapped for `context` alone.
    pub fn generate(&self, context: Option<&Context>) -> Result<FreshKey> {
        self.generate_with(context, &mut random)
    }

    pub(super) fn generate_with(
        &self,
        context: Option<&Context>,
        random: Random<'_>,
    ) -> Result<FreshKey> {
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        random(&mut key)?;
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;

        let mut wrapped = Vec::with_capacity(WRAPPED_BYTES);
        wrapped.extend_from_slice(&MAGIC);
        wrapped.extend_from_slice(&nonce);
        let start = wrapped.len();
        wrapped.extend_from_slice(&key);
        let tag = self.aead()?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            associated(context),
            &mut wrapped[start..],
        )?;
        wrapped.extend_from_slice(tag.as_ref());
        FreshKey::new(DataKey::new(key)?, wrapped)
    }

    /// The data key, where this key wrapped it for `context`.
    pub fn unwrap(&self, wrapped: &[u8], context: Option<&Context>) -> Result<DataKey> {
        let sealed = wrapped
            .strip_prefix(&MAGIC)
            .and_then(|rest| rest.split_first_chunk::<NONCE_LEN>())
            .and_then(|(nonce, rest)| Some((nonce, rest.split_last_chunk::<TAG_BYTES>()?)));
        let Some((nonce, (ciphertext, tag))) = sealed else {
            return Err(SealError::Unwrap);
        };
        let mut key = Zeroizing::new(ciphertext.to_vec());
        self.aead()?
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                associated(context),
                tag,
                &mut key,
            )
            .map_err(|_| SealError::Unwrap)?;
        DataKey::new(key)
    }

    fn aead(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.bytes())?;
        Ok(LessSafeKey::new(key))
    }
}

/// Nothing without a context; a context without pairs is one byte.
fn associated(context: Option<&Context>) -> Aad<Vec<u8>> {
    let mut encoded = Vec::new();
    if let Some(context) = context {
        context.encode(&mut encoded);
    }
    Aad::from(encoded)
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(byte: u8) -> LocalKey {
        LocalKey::new(Zeroizing::new(vec![byte; KEY_BYTES])).unwrap()
    }

    fn context(tenant: &str) -> Context {
        Context::of_run(tenant, "orders", "7f3a").unwrap()
    }

    #[test]
    fn refuses_what_it_did_not_wrap_for_this_context() {
        let acme = context("acme");
        let wrapped = local(1).generate(Some(&acme)).unwrap().wrapped;
        assert!(LocalKey::has_wrapped(&wrapped));
        let refused = |key: &LocalKey, wrapped: &[u8], context: Option<&Context>| {
            let error = key.unwrap(wrapped, context).unwrap_err();
            assert_eq!(error, SealError::Unwrap, "{wrapped:02x?}");
        };
        refused(&local(2), &wrapped, Some(&acme));
        refused(&local(1), &wrapped, Some(&context("evil")));
        refused(&local(1), &wrapped, None);
        let none = Context::new([]).unwrap();
        refused(&local(1), &wrapped, Some(&none));
        for end in 0..wrapped.len() {
            refused(&local(1), &wrapped[..end], Some(&acme));
        }
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&local(1), &flipped, Some(&acme));
        }
        let bare = local(1).generate(None).unwrap().wrapped;
        refused(&local(1), &bare, Some(&none));
        refused(&local(1), &[&bare[..], b"x"].concat(), None);
    }

    #[test]
    fn makes_a_new_key_for_each_file_and_opens_it_again() {
        let acme = context("acme");
        for context in [None, Some(&acme)] {
            let [one, other] = [(); 2].map(|()| local(1).generate(context).unwrap());
            assert_ne!(one.key.bytes(), other.key.bytes());
            assert_ne!(one.wrapped[8..20], other.wrapped[8..20]);
            let opened = local(1).unwrap(&one.wrapped, context).unwrap();
            assert_eq!(opened.bytes(), one.key.bytes());
            assert_eq!(one.wrapped.len(), WRAPPED_BYTES);
        }
        assert_eq!(format!("{:?}", local(1)), "LocalKey");
    }
}
