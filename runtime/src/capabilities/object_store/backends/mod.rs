//! Where objects live.

pub mod local;
