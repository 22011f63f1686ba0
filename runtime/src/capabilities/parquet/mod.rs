//! Parquet encoding.

pub mod client;
