//! Work that blocks its thread, such as a transaction of the run store or a compilation.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `work`, and lets other tasks of this thread go on elsewhere.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}
