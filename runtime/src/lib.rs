//! The runtime of dativo-wasm: job file in, sandboxed connectors, exactly-once commits out.

pub mod error;
pub mod job;
pub mod report;
