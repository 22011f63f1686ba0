//! The runtime of dativo-wasm: job file in, sandboxed connectors, exactly-once commits out.
//!
//! `docs/ARCHITECTURE.md` is the map. The binary is a thin shell around [`cli`].

pub mod capabilities;
pub mod data;
pub mod error;
