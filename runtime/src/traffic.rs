//! Bytes that the runs of a tenant move over networks, and how long they wait for it where the operator limits them.
//!
//! They are counted where they move, and paid for between batches: a request that is under way is not slowed down, since its server
//! would take it for dead. So a rate holds over seconds, and not for a single request.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of tenants with a rate.
static ACCOUNTS: LazyLock<Mutex<HashMap<String, Account>>> = LazyLock::new(Mutex::default);

struct Account {
    bytes_per_second: u64,
    /// When all that was counted so far will have passed at the rate.
    free_at: Instant,
}

/// Sets the rate of a tenant, in bytes per second, or none.
pub fn limit(tenant: &str, bytes_per_second: Option<u64>) {
    let mut accounts = accounts();
    match bytes_per_second {
        None => {
            accounts.remove(tenant);
        }
        Some(bytes_per_second) => {
            let account = accounts.entry(tenant.to_owned()).or_insert(Account {
                bytes_per_second,
                free_at: Instant::now(),
            });
            account.bytes_per_second = bytes_per_second.max(1);
        }
    }
}

/// Counts bytes that moved.
pub fn count(tenant: &str, bytes: u64) {
    if let Some(account) = accounts().get_mut(tenant) {
        let took = Duration::from_secs_f64(bytes as f64 / account.bytes_per_second as f64);
        account.free_at = account.free_at.max(Instant::now()) + took;
    }
}

/// Waits until the tenant is within its rate.
pub async fn settle(tenant: &str) {
    loop {
        let free_at = accounts().get(tenant).map(|account| account.free_at);
        match free_at {
            Some(free_at) if free_at > Instant::now() => {
                tokio::time::sleep_until(free_at.into()).await;
            }
            _ => return,
        }
    }
}

fn accounts() -> MutexGuard<'static, HashMap<String, Account>> {
    ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(tenant: &str) -> Duration {
        let free_at = accounts().get(tenant).map(|account| account.free_at);
        free_at.map_or(Duration::ZERO, |free_at| {
            free_at.saturating_duration_since(Instant::now())
        })
    }

    #[test]
    fn a_tenant_waits_for_what_it_moved_and_no_other_does() {
        let near = |found: Duration, seconds: f64| (found.as_secs_f64() - seconds).abs() < 0.5;
        limit("traffic-a", Some(1000));
        count("traffic-a", 10_000);
        count("traffic-b", 10_000);
        assert!(near(waits("traffic-a"), 10.0) && waits("traffic-b").is_zero());
        count("traffic-a", 5_000);
        assert!(near(waits("traffic-a"), 15.0));
        // A new rate is for what comes.
        limit("traffic-a", Some(5000));
        count("traffic-a", 5_000);
        assert!(near(waits("traffic-a"), 16.0));
        limit("traffic-a", None);
        assert!(waits("traffic-a").is_zero());
    }
}
