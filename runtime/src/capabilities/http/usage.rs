//! What a run asked of HTTP: shared by its instances, shown in its summary.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

/// Counters of one side of a run.
#[derive(Debug, Default)]
pub struct Usage {
    /// Attempts that were sent, retries and redirects among them.
    pub requests: AtomicU64,
    pub retries: AtomicU64,
    /// Time spent waiting for a rate limit or before a retry, summed over all instances.
    pub waited_ms: AtomicU64,
    /// Of answers, decoded.
    pub received_bytes: AtomicU64,
    /// Answers in which the value of a secret stood and was replaced.
    pub concealed: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UsageReport {
    pub requests: u64,
    pub retries: u64,
    pub waited_ms: u64,
    pub received_bytes: u64,
    pub concealed: u64,
}

impl UsageReport {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            retries: self.retries + other.retries,
            waited_ms: self.waited_ms + other.waited_ms,
            received_bytes: self.received_bytes + other.received_bytes,
            concealed: self.concealed + other.concealed,
        }
    }
}

impl Usage {
    pub fn waited(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waited_ms.fetch_add(millis, Relaxed);
    }

    pub fn report(&self) -> UsageReport {
        UsageReport {
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            waited_ms: self.waited_ms.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            concealed: self.concealed.load(Relaxed),
        }
    }
}
