//! One active run a job: who holds its lease, and when another may take it.
//!
//! A lease expires when it is not renewed. A holder that provably died on this machine since it
//! booted is replaced at once, so that a run after `kill -9` need not wait.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::JobKey;
use super::holder::Holder;
use super::sqlite::{Connection, Failure, now_ms, now_secs};
use crate::error::{Error, Kind, Result};

/// A lease that was not renewed for this long is anybody's. Long enough for a machine that swaps,
/// short enough that a job whose host died is soon run elsewhere.
pub const LEASE_TERM: Duration = Duration::from_secs(30);

/// The right to run a job, given back when dropped.
pub struct Lease {
    pub(super) connection: Arc<Connection>,
    pub(super) key: JobKey,
    pub(super) run: String,
}

impl Lease {
    /// Holds the job for another [`LEASE_TERM`]. Fails as `state_conflict` where it was lost.
    pub fn renew(&self) -> Result<()> {
        self.connection.write(|transaction| {
            let renewed = transaction.execute(
                "UPDATE leases SET expires_ms = ? WHERE tenant = ? AND job = ? AND run = ?",
                params![expiry_ms(), self.key.tenant, self.key.job, self.run],
            )?;
            match renewed {
                1 => Ok(()),
                _ => Err(lost(&self.run)),
            }
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let released = self.connection.write(|transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE tenant = ? AND job = ? AND run = ?",
                params![self.key.tenant, self.key.job, self.run],
            )?;
            Ok(())
        });
        if let Err(error) = released {
            tracing::warn!(run_id = self.run, %error, "the lease was not given back; it expires");
        }
    }
}

/// The answer to a run that goes on after another took its job.
pub fn lost(run: &str) -> Failure {
    Failure::Refused(
        Error::new(
            Kind::StateConflict,
            format!("run {run} lost the lease of its job to another run"),
        )
        .hint("run the job again: it starts from the last commit, and nothing arrives twice"),
    )
}

/// Gives the job to `run`. The transaction excludes other writers, so exactly one of several wins.
pub fn take(
    transaction: &Transaction<'_>,
    key: &JobKey,
    run: &str,
    holder: &Holder,
) -> Result<(), Failure> {
    refuse_active(transaction, key)?;
    transaction.execute(
        "INSERT OR REPLACE INTO leases (tenant, job, run, since, expires_ms, boot, pid, started)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            key.tenant,
            key.job,
            run,
            now_secs(),
            expiry_ms(),
            holder.boot,
            holder.pid,
            holder.started
        ],
    )?;
    Ok(())
}

/// Fails as `state_conflict` where a run of the job is active.
pub fn refuse_active(transaction: &Transaction<'_>, key: &JobKey) -> Result<(), Failure> {
    let held = transaction
        .query_row(
            "SELECT run, since, expires_ms, boot, pid, started FROM leases
             WHERE tenant = ? AND job = ?",
            params![key.tenant, key.job],
            |row| {
                let holder = Holder {
                    boot: row.get(3)?,
                    pid: row.get(4)?,
                    started: row.get(5)?,
                };
                let (run, since, expires_ms): (String, i64, i64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((run, since, expires_ms, holder))
            },
        )
        .optional()?;
    let Some((run, since, expires_ms, holder)) = held else {
        return Ok(());
    };
    if expires_ms <= now_ms() || holder.is_dead() {
        return Ok(());
    }
    let age = u64::try_from(now_secs().saturating_sub(since)).unwrap_or_default();
    let age = humantime::format_duration(Duration::from_secs(age));
    Err(Failure::Refused(
        Error::new(
            Kind::StateConflict,
            format!("another run of job `{}` is active", key.job),
        )
        .with("run", run)
        .with("process", holder.pid)
        .with("since", format!("{age} ago"))
        .hint("wait for it to end, or stop it"),
    ))
}

fn expiry_ms() -> i64 {
    now_ms().saturating_add(i64::try_from(LEASE_TERM.as_millis()).unwrap_or(i64::MAX))
}
