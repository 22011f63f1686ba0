//! The runtime of dativo-wasm: job file in, sandboxed connectors, exactly-once commits out.
//!
//! `docs/ARCHITECTURE.md` is the map. The binary is a thin shell around [`cli`].

pub mod blocking;
pub mod capabilities;
pub mod cli;
pub mod component;
pub mod contract;
pub mod data;
pub mod decrypt;
pub mod error;
pub mod job;
pub mod memory;
pub mod pipeline;
pub mod plan;
pub mod plugins;
pub mod report;
pub mod runs;
pub mod seal;
pub mod serve;
pub mod staging;
pub mod telemetry;
pub mod trace;
pub mod traffic;
