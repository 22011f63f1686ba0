//! Turns: who may send to an origin next. Shared by all instances and jobs of a tenant in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::rate::{Gcra, Rate};

/// Origins from which on those that nobody waits for are forgotten.
const MANY: usize = 4096;

static BUCKETS: LazyLock<Mutex<HashMap<Key, Bucket>>> = LazyLock::new(Mutex::default);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Tenant and origin.
type Key = (String, String);

#[derive(Default)]
struct Bucket {
    gate: Gcra,
    /// What the clients that are open ask for.
    rates: HashMap<u64, Rate>,
    /// The server wants nothing before this.
    held: Duration,
    /// The last turn that was given.
    last: Duration,
}

/// One client's place among those that send.
pub struct Pace {
    id: u64,
    tenant: String,
    rate: Option<Rate>,
}

/// A turn is further away than the caller may wait.
pub struct TooLong(pub Duration);

impl Pace {
    pub fn new(tenant: &str, rate: Option<Rate>) -> Self {
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            tenant: tenant.to_owned(),
            rate,
        }
    }

    /// Waits for a turn, at most for `most`; how long that took.
    pub async fn turn(&self, origin: &str, most: Duration) -> Result<Duration, TooLong> {
        let start = START.elapsed();
        loop {
            let now = START.elapsed();
            let turn = self.take(origin, now, start + most)?;
            if turn <= now {
                return Ok(now - start);
            }
            tokio::time::sleep(turn - now).await;
            // What another answer asked for meanwhile counts for those who wait, too.
            if self.held(origin) <= turn {
                return Ok(START.elapsed() - start);
            }
        }
    }

    /// Lets nobody of the tenant send to `origin` for a time.
    pub fn hold_back(&self, origin: &str, time: Duration) {
        self.with(origin, |bucket| {
            bucket.held = bucket.held.max(START.elapsed() + time);
        });
    }

    fn take(&self, origin: &str, now: Duration, latest: Duration) -> Result<Duration, TooLong> {
        self.with(origin, |bucket| {
            if let Some(rate) = self.rate {
                bucket.rates.insert(self.id, rate);
            }
            let from = now.max(bucket.held);
            let rate = bucket.rates.values().copied().reduce(Rate::lower);
            let turn = rate.map_or(from, |rate| bucket.gate.next(from, rate));
            if turn > latest.max(now) {
                return Err(TooLong(turn - now));
            }
            if let Some(rate) = rate {
                bucket.gate.take(from, rate);
            }
            bucket.last = turn;
            Ok(turn)
        })
    }

    fn held(&self, origin: &str) -> Duration {
        self.with(origin, |bucket| bucket.held)
    }

    fn with<T>(&self, origin: &str, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = buckets();
        if buckets.len() >= MANY {
            let now = START.elapsed();
            buckets.retain(|_, bucket| {
                !bucket.rates.is_empty() || bucket.held > now || bucket.last > now
            });
        }
        let key = (self.tenant.clone(), origin.to_owned());
        change(buckets.entry(key).or_default())
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        if self.rate.is_some() {
            let mut buckets = buckets();
            let own = buckets
                .iter_mut()
                .filter(|((tenant, _), _)| *tenant == self.tenant);
            for (_, bucket) in own {
                bucket.rates.remove(&self.id);
            }
        }
    }
}

fn buckets() -> MutexGuard<'static, HashMap<Key, Bucket>> {
    BUCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}
