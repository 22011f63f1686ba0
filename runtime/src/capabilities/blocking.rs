//! Work that would hold up other instances: file I/O, hashing, encoding. Knows nothing of what is done.

use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// Does it on a thread that may be busy.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::new(ErrorKind::Internal, error.to_string())),
    }
}
