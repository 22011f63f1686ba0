//! Parquet encoding: batches in, file bytes out, all in host memory.
//!
//! Needs no grant: it reaches nothing. The threat it bounds is memory: what an encoder buffers counts
//! toward the limit of the instance that holds it.

mod client;
mod host;

// Used without components by `examples/postgres_native.rs`.
pub use client::{Encoder, Encryption, FileKey, stored_values};
pub use host::HostEncoder;
