//! What can be wrong with a sealed file, its key or a request to seal, each with its own text.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealError {
    /// Neither format begins like this.
    NotSealed,
    /// A v1 file of a later version.
    Version(u8),
    /// The header of a v1 file is not the one that was written.
    HeaderDamaged,
    /// The file ends before its last chunk, or within its head.
    Cut,
    /// The key is not the one that this v1 file was sealed with.
    WrongKey,
    /// A local master key did not wrap this, or wrapped it for someone else.
    Unwrap,
    /// The file was sealed for someone else.
    OtherContext {
        key: String,
        expected: String,
        found: Option<String>,
    },
    /// A chunk of a v1 file, counted from 0.
    Chunk(u32),
    /// The chunk where a v1 file ends: one that was cut short, or goes on, looks like one that was changed.
    LastChunk(u32),
    /// A v0 file, which cannot tell a wrong key from damage.
    Tag,
    /// The second pass over a v0 file met other bytes than the first.
    Changed,
    /// What was asked for is no chunk of this file, or has another length.
    NoSuchChunk(u32),
    KeySize(usize),
    WrappedKeySize(usize),
    ChunkSize(usize),
    /// What is wrong with an encryption context.
    Context(&'static str),
    /// More plaintext than one file may hold, in bytes.
    TooLong(u64),
    /// The system gave no random bytes, or the library refused its own input.
    Library,
}

impl SealError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotSealed => "give the object as it was written, not what is inside",
            Self::Version(_) => "use a newer dativo-wasm",
            Self::HeaderDamaged | Self::Chunk(_) => {
                "fetch the file again; where that does not help, take it from a backup"
            }
            Self::Cut | Self::LastChunk(_) => {
                "fetch the file again and compare its length with the length in the store"
            }
            Self::WrongKey => "unwrap the key that stands in the file's own header",
            Self::Unwrap => "give the key file that the file was sealed with",
            Self::OtherContext { .. } => {
                "look where the file came from: it may have been put in the place of another"
            }
            Self::Tag => "fetch the file again, and unwrap the key that stands in its own head",
            Self::Changed => "keep the file from being written to while it is opened",
            Self::NoSuchChunk(_) => "ask for the bytes that the layout of the file gives",
            Self::KeySize(_) | Self::WrappedKeySize(_) => {
                "ask the key service for a data key with the key spec `AES_256`"
            }
            Self::ChunkSize(_) => "use a power of two from 4096 to 16777216",
            Self::Context(_) => "shorten the names of tenant and job",
            Self::TooLong(_) => "let files roll at a smaller `target_file_size`",
            Self::Library => "try again",
        }
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("this is not a sealed file"),
            Self::Version(version) => write!(
                f,
                "the file has version {version} of the sealed format; this program reads version 1"
            ),
            Self::HeaderDamaged => f.write_str("the header of the sealed file is damaged"),
            Self::Cut => f.write_str("the sealed file is cut: its end is missing"),
            Self::WrongKey => f.write_str(
                "the key does not open the file: it was sealed with another, or its header was replaced",
            ),
            Self::Unwrap => f.write_str(
                "the key file does not unwrap the key of the file: it holds another key, or the head of the file was changed",
            ),
            Self::OtherContext {
                key,
                expected,
                found: Some(found),
            } => write!(
                f,
                "the file was sealed for {key} `{}`, not `{}`",
                found.escape_debug(),
                expected.escape_debug()
            ),
            Self::OtherContext { key, expected, .. } => write!(
                f,
                "the file was sealed without a {key}, not for `{}`",
                expected.escape_debug()
            ),
            Self::Chunk(number) => write!(f, "chunk {number} of the sealed file is damaged"),
            Self::LastChunk(number) => write!(
                f,
                "chunk {number}, where the sealed file ends, is damaged, cut or followed by more"
            ),
            Self::Tag => f.write_str(
                "the tag of the sealed file does not match: it is damaged or cut, or its key is another",
            ),
            Self::Changed => f.write_str("the sealed file changed while it was opened"),
            Self::NoSuchChunk(number) => {
                write!(f, "these bytes are not chunk {number} of the sealed file")
            }
            Self::KeySize(bytes) => {
                write!(f, "the data key has {bytes} bytes; AES-256 takes 32")
            }
            Self::WrappedKeySize(bytes) => {
                write!(f, "the wrapped key has {bytes} bytes; from 1 to 6144 fit")
            }
            Self::ChunkSize(bytes) => write!(f, "chunks of {bytes} bytes cannot be sealed"),
            Self::Context(problem) => write!(f, "the encryption context {problem}"),
            Self::TooLong(bytes) => write!(f, "a sealed file holds at most {bytes} bytes"),
            Self::Library => f.write_str("the library for encryption failed"),
        }
    }
}

impl std::error::Error for SealError {}

/// The library says no more than that it failed.
impl From<aws_lc_rs::error::Unspecified> for SealError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}
