//! How many connections the runs of this process have at a time: sessions with databases, and requests under way over HTTP and to S3 and
//! KMS, each within a limit for all tenants, of which one tenant may have a part.
//!
//! Sessions are held for as long as a split is read, and requests until they are answered; they have separate places, so that runs whose
//! sources wait for their targets cannot hold up each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::{ErrorKind, Failure, Result};

/// Sessions, and requests, where the operator says nothing.
pub const DEFAULT: usize = 256;

/// One tenant may have one of so many places, but not fewer than [`LEAST`].
const PART: usize = 4;
const LEAST: usize = 20;

static LIMIT: OnceLock<usize> = OnceLock::new();
static SESSIONS: LazyLock<Places> = LazyLock::new(Places::of_process);
static REQUESTS: LazyLock<Places> = LazyLock::new(Places::of_process);

/// Sets the limit. To be called before anything is connected to.
pub fn limit(most: usize) {
    let _ = LIMIT.set(most.max(1));
}

/// A place for a session with a database, which is asked for at most so long.
pub async fn session(tenant: &str, timeout: Duration) -> Result<Permit> {
    SESSIONS.take(tenant, timeout).await
}

/// Whether somebody waits for the place of a session: one that is idle is better closed.
pub fn are_sessions_wanted() -> bool {
    SESSIONS.waiting.load(Relaxed) > 0
}

/// A place for a request.
pub async fn request(tenant: &str, timeout: Duration) -> Result<Permit> {
    REQUESTS.take(tenant, timeout).await
}

/// A place, until dropped.
#[derive(Debug)]
pub struct Permit {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

struct Places {
    most: usize,
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<String, Arc<Semaphore>>>,
    waiting: AtomicUsize,
}

impl Places {
    fn of_process() -> Self {
        Self::new(*LIMIT.get_or_init(|| DEFAULT))
    }

    fn new(most: usize) -> Self {
        Self {
            most,
            all: Arc::new(Semaphore::new(most)),
            tenants: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn take(&self, tenant: &str, timeout: Duration) -> Result<Permit> {
        let of_tenant = self.of_tenant(tenant);
        let _waits = Waits::new(&self.waiting);
        let both = async {
            // A tenant's own places first: whoever waits for them holds up nobody else.
            let of_tenant = of_tenant.acquire_owned().await.ok()?;
            let of_all = self.all.clone().acquire_owned().await.ok()?;
            Some(Permit {
                _of_tenant: of_tenant,
                _of_all: of_all,
            })
        };
        match tokio::time::timeout(timeout, both).await {
            Ok(Some(permit)) => Ok(permit),
            _ => Err(Failure::new(
                ErrorKind::Unavailable,
                format!(
                    "no connection is free: this process may have {}, and {} for one tenant",
                    self.most,
                    self.most_of_tenant()
                ),
            )
            .hint(
                "lower `parallelism`, let fewer jobs run at a time, or raise `serve --connections`",
            )),
        }
    }

    fn most_of_tenant(&self) -> usize {
        (self.most / PART).max(LEAST).min(self.most)
    }

    fn of_tenant(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.most_of_tenant()));
        tenants.entry(tenant.to_owned()).or_insert_with(new).clone()
    }
}

/// Counts somebody who waits.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn one_tenant_has_a_part_and_all_have_the_whole() {
        let places = Places::new(100);
        let mut held = Vec::new();
        for tenant in ["a", "b", "c", "d"] {
            for _ in 0..25 {
                held.push(places.take(tenant, SOON).await.unwrap());
            }
            let refused = places.take(tenant, SOON).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Unavailable);
            assert!(
                refused.message.contains("may have 100, and 25"),
                "{refused}"
            );
        }
        assert!(places.take("e", SOON).await.is_err());
        held.pop();
        // Whoever waits for a place of its tenant takes none of all.
        assert!(places.take("a", SOON).await.is_err());
        assert!(places.take("e", SOON).await.is_ok());
        assert_eq!(places.waiting.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_place_goes_to_whoever_waits() {
        let places = Arc::new(Places::new(1));
        let held = places.take("a", SOON).await.unwrap();
        let waiting = places.clone();
        let next = tokio::spawn(async move { waiting.take("b", 100 * SOON).await.is_ok() });
        while places.waiting.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert!(next.await.unwrap());
    }
}
