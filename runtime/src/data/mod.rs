//! Host side of handles.

pub mod ipc;
pub mod memory;
pub mod partition;
