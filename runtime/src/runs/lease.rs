//! One active run a job: who holds its lease, and when another may take it.
//!
//! A lease expires when it is not renewed. A holder that provably died on this machine since it
//! booted is replaced at once, so that a run after `kill -9` need not wait.

use std::sync::Arc;
use std::time::Duration;

use super::{Backend, JobKey};
use crate::blocking::blocking;
use crate::error::Result;

/// A lease that was not renewed for this long is anybody's. Long enough for a machine that swaps,
/// short enough that a job whose host died is soon run elsewhere.
pub const LEASE_TERM: Duration = Duration::from_secs(30);

/// The right to run a job, given back when dropped.
pub struct Lease {
    pub(super) store: Arc<dyn Backend>,
    pub(super) key: JobKey,
    pub(super) run: String,
}

impl Lease {
    /// Holds the job for another 30 s. Fails as `state_conflict` where it was lost. Whether somebody asked for the run to stop.
    pub fn renew(&self) -> Result<bool> {
        blocking(|| self.store.renew(&self.key, &self.run))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = blocking(|| self.store.release(&self.key, &self.run)) {
            tracing::warn!(run_id = self.run, %error, "the lease was not given back; it expires");
        }
    }
}
