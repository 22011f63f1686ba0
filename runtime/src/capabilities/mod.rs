//! Capabilities.

pub mod failure;
pub mod object_store;
pub mod parquet;
