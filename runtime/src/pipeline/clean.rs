//! Removes what dead runs of a job left at its target: staged objects that nobody will publish.
//!
//! A run on this machine that was cut short is settled first, as the next run would. A run of another machine counts as
//! dead once it is older than the job lets any run be; until then it may still be writing, or be about to commit.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::guard::Guard;
use super::settle::{self, Recovered};
use super::{Ready, Stop};
use crate::capabilities::object_store::Leftover;
use crate::error::Result;
use crate::runs::{JobKey, Outcome, RunStore};

/// What was found, and what became of it.
#[derive(Debug, Default, Serialize)]
pub struct Cleaned {
    /// Earlier runs that were cut short.
    pub recovered: Vec<Recovered>,
    pub removed: Vec<Staged>,
    /// Of runs that may be alive.
    pub kept: Vec<Staged>,
    /// Of other jobs and tenants.
    pub foreign: u64,
    /// Multipart uploads that no run of this program began.
    pub unknown_uploads: u64,
}

#[derive(Debug, Serialize)]
pub struct Staged {
    pub run_id: String,
    pub url: String,
}

/// Fails as `state_conflict` while the job runs here.
pub async fn clean(ready: &Ready, store: &RunStore, stop: Stop) -> Result<Cleaned> {
    let key = ready.key();
    let run_id = uuid::Uuid::now_v7().to_string();
    let lease = store.begin(&key, &run_id, None)?;
    let guard = Guard::start(lease, ready.limits.deadline, stop);
    let cleaned = sweep(ready, store, &key, &run_id, guard.stop()).await;
    let outcome = match &cleaned {
        Ok(_) => Outcome::Empty,
        Err(error) => Outcome::failed(error),
    };
    store.finish(&run_id, &outcome)?;
    cleaned
}

async fn sweep(
    ready: &Ready,
    store: &RunStore,
    key: &JobKey,
    run_id: &str,
    stop: Stop,
) -> Result<Cleaned> {
    let settled = settle::settle(ready, store, key, run_id, stop).await?;
    let mut cleaned = Cleaned {
        recovered: settled.recovered,
        ..Cleaned::default()
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    for access in ready.stores() {
        let (leftovers, unknown) = access.leftovers().await?;
        cleaned.unknown_uploads += unknown;
        for leftover in leftovers {
            let has_ended = store.has_ended(key, &leftover.run)?;
            let staged = Staged {
                run_id: leftover.run.clone(),
                url: leftover.url.clone(),
            };
            match verdict(&leftover, key, has_ended, now, ready.limits.deadline) {
                Verdict::Foreign => cleaned.foreign += 1,
                Verdict::Keep => cleaned.kept.push(staged),
                Verdict::Remove => {
                    access.discard(&leftover).await?;
                    cleaned.removed.push(staged);
                }
            }
        }
    }
    Ok(cleaned)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Remove,
    Keep,
    Foreign,
}

/// `has_ended`: what this machine knows of the run; none where it ran elsewhere.
fn verdict(
    leftover: &Leftover,
    key: &JobKey,
    has_ended: Option<bool>,
    now: Duration,
    deadline: Duration,
) -> Verdict {
    let is_ours = match &leftover.owner {
        Some((tenant, job)) => (tenant, job) == (&key.tenant, &key.job),
        None => has_ended.is_some(),
    };
    if !is_ours {
        return Verdict::Foreign;
    }
    let is_over = match (has_ended, started(&leftover.run)) {
        (Some(has_ended), _) => has_ended,
        (None, Some(started)) => now.saturating_sub(started) > deadline,
        (None, None) => false,
    };
    match is_over {
        true => Verdict::Remove,
        false => Verdict::Keep,
    }
}

/// When a run began, since 1970: its id is a UUID of version 7.
fn started(run: &str) -> Option<Duration> {
    let (seconds, nanoseconds) = uuid::Uuid::try_parse(run).ok()?.get_timestamp()?.to_unix();
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_live_run_can_need_is_removed() {
        let key = JobKey {
            tenant: "acme".to_owned(),
            job: "orders".to_owned(),
        };
        let own = Some(("acme", "orders"));
        // 2024-01-01T00:00:00Z, and a deadline of an hour.
        let run = "018cc251-f400-7000-8000-000000000000";
        let check = |owner: Option<(&str, &str)>, has_ended, run: &str, age: u64, expected| {
            let leftover = Leftover {
                owner: owner.map(|(tenant, job)| (tenant.to_owned(), job.to_owned())),
                run: run.to_owned(),
                url: String::new(),
                token: String::new(),
            };
            let now = Duration::from_secs(1_704_067_200 + age);
            let found = verdict(&leftover, &key, has_ended, now, Duration::from_secs(3600));
            assert_eq!(found, expected, "{owner:?} {has_ended:?} {run} {age}");
        };
        check(own, Some(true), run, 1, Verdict::Remove);
        check(own, Some(false), run, 1, Verdict::Keep);
        check(own, Some(false), run, 1_000_000, Verdict::Keep);
        check(own, None, run, 3_599, Verdict::Keep);
        check(own, None, run, 3_601, Verdict::Remove);
        check(own, None, "a-run", 1_000_000, Verdict::Keep);
        check(
            Some(("evil", "orders")),
            None,
            run,
            1_000_000,
            Verdict::Foreign,
        );
        check(
            Some(("acme", "other")),
            Some(true),
            run,
            1_000_000,
            Verdict::Foreign,
        );
        check(None, None, run, 1_000_000, Verdict::Foreign);
        check(None, Some(true), run, 1, Verdict::Remove);
    }
}
