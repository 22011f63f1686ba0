//! Bytes that the runs of this process have staged, in files and in buckets, from their upload to the end of their run: counted by tenant,
//! within the limits of the operator.
//!
//! A run that alone has more than its tenant may have is refused for good. One that others have left too little room for may be tried again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytesize::ByteSize;

use crate::capabilities::failure::{ErrorKind, Failure};

static LEDGER: LazyLock<Mutex<Ledger>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Ledger {
    total: Account,
    tenants: HashMap<String, Account>,
}

#[derive(Default)]
struct Account {
    bytes: u64,
    most: Option<u64>,
}

/// What all runs of this process may have staged together.
pub fn limit_all(most: Option<u64>) {
    ledger().total.most = most;
}

/// What all runs of a tenant may have staged together.
pub fn limit(tenant: &str, most: Option<u64>) {
    ledger().tenants.entry(tenant.to_owned()).or_default().most = most;
}

/// What one component of a run has staged. Dropped with its run, it is no longer counted: it was committed, or removed.
pub struct StagedBytes {
    tenant: String,
    bytes: AtomicU64,
}

impl StagedBytes {
    pub fn new(tenant: &str) -> Arc<Self> {
        Arc::new(Self {
            tenant: tenant.to_owned(),
            bytes: AtomicU64::new(0),
        })
    }

    /// For one upload.
    pub fn portion(self: &Arc<Self>) -> Portion {
        Portion {
            of: self.clone(),
            bytes: 0,
        }
    }

    fn add(&self, bytes: u64) -> Result<(), Failure> {
        let mut ledger = ledger();
        let ledger = &mut *ledger;
        let tenant = ledger.tenants.entry(self.tenant.clone()).or_default();
        let own = self.bytes.load(Relaxed) + bytes;
        if let Some(most) = tenant.over(bytes) {
            let (kind, whose) = match own > most {
                true => (ErrorKind::LimitExceeded, "this run"),
                false => (ErrorKind::Unavailable, "the runs of its tenant"),
            };
            return Err(refused(kind, whose, "`limits.staged` of the tenant", most)
                .hint("ask the operator to raise it, or move less in one run"));
        }
        if let Some(most) = ledger.total.over(bytes) {
            let (kind, whose) = match own > most {
                true => (ErrorKind::LimitExceeded, "this run"),
                false => (ErrorKind::Unavailable, "the runs of this process"),
            };
            return Err(refused(kind, whose, "`--staged`", most)
                .hint("ask the operator to raise it, or let fewer jobs run at a time"));
        }
        tenant.bytes += bytes;
        ledger.total.bytes += bytes;
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }

    fn remove(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
        let mut ledger = ledger();
        ledger.total.bytes -= bytes;
        if let Some(tenant) = ledger.tenants.get_mut(&self.tenant) {
            tenant.bytes -= bytes;
        }
    }
}

impl Drop for StagedBytes {
    fn drop(&mut self) {
        self.remove(self.bytes.load(Relaxed));
    }
}

/// What one upload wrote. Dropped before it is kept, it was removed.
pub struct Portion {
    of: Arc<StagedBytes>,
    bytes: u64,
}

impl Portion {
    /// Counts bytes, before they are written.
    pub fn add(&mut self, bytes: u64) -> Result<(), Failure> {
        self.of.add(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The upload is whole: it stays until the run ends.
    pub fn keep(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.of.remove(self.bytes);
    }
}

impl Account {
    /// The limit, where `bytes` more are too many.
    fn over(&self, bytes: u64) -> Option<u64> {
        self.most.filter(|most| self.bytes + bytes > *most)
    }
}

fn refused(kind: ErrorKind, whose: &str, limit: &str, most: u64) -> Failure {
    let most = ByteSize(most);
    Failure::new(
        kind,
        format!("{whose} would have more than {most} staged, which is {limit}"),
    )
}

fn ledger() -> MutexGuard<'static, Ledger> {
    LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tenant: &str) -> u64 {
        ledger().tenants[tenant].bytes
    }

    fn kind(refused: Result<(), Failure>) -> ErrorKind {
        refused.unwrap_err().kind
    }

    #[test]
    fn what_is_staged_counts_until_it_is_removed_or_its_run_ends() {
        limit("staging-a", Some(100));
        let (one, other) = (StagedBytes::new("staging-a"), StagedBytes::new("staging-a"));
        let (mut kept, mut lost) = (one.portion(), one.portion());
        kept.add(30).unwrap();
        lost.add(40).unwrap();
        kept.keep();
        assert_eq!(bytes("staging-a"), 70);
        // What others hold may be free later, what one run wants alone never fits.
        assert_eq!(kind(other.portion().add(31)), ErrorKind::Unavailable);
        assert_eq!(kind(one.portion().add(31)), ErrorKind::LimitExceeded);
        drop(lost);
        assert_eq!(bytes("staging-a"), 30);
        let mut rest = other.portion();
        rest.add(70).unwrap();
        rest.keep();
        drop((kept, one));
        assert_eq!(bytes("staging-a"), 70);
        drop((rest, other));
        assert_eq!(bytes("staging-a"), 0);
    }

    #[test]
    fn a_refusal_says_whose_limit_it_is() {
        limit("staging-b", Some(1 << 30));
        let refused = StagedBytes::new("staging-b").portion().add(2 << 30);
        let refused = refused.unwrap_err();
        assert_eq!(
            refused.message,
            "this run would have more than 1.0 GiB staged, which is `limits.staged` of the tenant"
        );
    }
}
