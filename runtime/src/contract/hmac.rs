//! HMAC-SHA-256 (RFC 2104), and the key that it is made with.

use std::fmt;

use sha2::{Digest, Sha256};

/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// The key of a mask, ready to hash with. It has no `Display` and no `Serialize`, and `Debug` tells nothing.
#[derive(Clone)]
pub struct MaskKey(Box<Begun>);

/// Both hashes after the block of the key.
#[derive(Clone)]
struct Begun {
    inner: Sha256,
    outer: Sha256,
}

impl MaskKey {
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        match key.len() {
            0..=BLOCK => block[..key.len()].copy_from_slice(key),
            _ => block[..32].copy_from_slice(&Sha256::digest(key)),
        }
        Self(Box::new(Begun {
            inner: Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36)),
            outer: Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c)),
        }))
    }

    pub fn hash(&self, text: &[u8]) -> [u8; 32] {
        let Begun { inner, outer } = self.0.as_ref().clone();
        let inner = inner.chain_update(text).finalize();
        outer.chain_update(inner).finalize().into()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::hex;

    fn check(key: &[u8], text: &[u8], expected: &str) {
        assert_eq!(hex(&MaskKey::new(key).hash(text)), expected);
    }

    #[test]
    fn gives_the_values_of_rfc_4231() {
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        // Longer than a block.
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", MaskKey::new(b"sesame")), "MaskKey");
    }
}
