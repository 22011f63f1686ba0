//! How files are sealed with a key of their own, and opened: `docs/sealed-files.md` has both formats byte by byte.
//!
//! Pure: bytes and keys in, bytes out. Knows no network, no file, no clock, no key service and no wasm; what a wrapped
//! key means is up to whoever unwraps it. [`v0`] is one AES-256-GCM message, [`v1`] is a sequence of sealed chunks.
//!
//! aws-lc-rs does the work, since it finds the CPU's widest AES and multiplication (VAES, VPCLMULQDQ) when the program
//! runs, so that a binary built for any x86-64 has them. `examples/seal_speed.rs` measures it beside the alternatives.

mod context;
mod error;
mod keys;
mod local;
mod pieces;
pub mod v0;
pub mod v1;

pub use context::{Context, MAX_CONTEXT_BYTES, MAX_CONTEXT_PAIRS};
pub use error::SealError;
pub use keys::{DataKey, FreshKey, KEY_BYTES, MAX_WRAPPED_KEY_BYTES};
pub use local::LocalKey;

/// What [`Start::read`] needs to see of a file.
pub const START_BYTES: usize = 16;
/// No head of either format is longer: whoever fetches this much has it whole.
pub const MAX_HEAD_BYTES: usize = v1::MAX_HEAD_BYTES;

/// The tag of AES-GCM, in bytes.
const TAG_BYTES: usize = 16;

type Result<T, E = SealError> = std::result::Result<T, E>;

/// Where random bytes come from: the system, but for tests.
type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    V0,
    V1,
}

/// What the first bytes of a file say about it, before any key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub format: Format,
    /// How long the head is that the format's `Head::parse` wants to see.
    pub head_bytes: usize,
}

impl Start {
    /// Reads the first [`START_BYTES`] of a file, or all of a file that is shorter.
    pub fn read(start: &[u8]) -> Result<Self> {
        if start.starts_with(&v1::MAGIC) {
            let format = Format::V1;
            return v1::head_bytes(start).map(|head_bytes| Self { format, head_bytes });
        }
        let format = Format::V0;
        v0::head_bytes(start).map(|head_bytes| Self { format, head_bytes })
    }
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
