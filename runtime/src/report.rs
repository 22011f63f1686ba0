//! Placeholder for the lead's module.
pub mod errors;
