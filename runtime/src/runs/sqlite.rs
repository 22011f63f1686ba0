//! The run store in a SQLite file: its verbs, each one transaction.
//!
//! Times are of this machine's clock. The driver is named here and in `file.rs` alone.

mod file;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSql, Type};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::backend::{Backend, Beginning, Unsettled};
use super::holder::Holder;
use super::lease::LEASE_TERM;
use super::{Filter, JobKey, Listed, Pending, RunRow, Unfinished, lost, not_due};
use crate::error::Result;
use file::{Connection, Failure};

#[cfg(test)]
pub use file::LAYOUT;

/// Whether a run has no end, as the index says it.
const WITHOUT_END: &str = "status IN ('running', 'pending')";

const LISTED: &str =
    "runs.rowid, runs.run, tenant, job, status, started_at, ended_at, detail, cause, report
    FROM runs LEFT JOIN reports ON reports.run = runs.run";

pub struct Sqlite(Connection);

impl Sqlite {
    pub fn open(url: &str) -> Result<Self> {
        Ok(Self(Connection::open(url)?))
    }

    #[cfg(test)]
    pub fn read<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Failure>,
    ) -> Result<T> {
        self.0.read(work)
    }
}

impl Backend for Sqlite {
    fn begin(
        &self,
        key: &JobKey,
        run: &str,
        beginning: Option<&Beginning>,
        holder: &Holder,
    ) -> Result<()> {
        self.0.write(|transaction| {
            if let Some(beginning) = beginning {
                keep_beginning(transaction, key, run, beginning)?;
            }
            take_lease(transaction, key, run, holder)?;
            transaction.execute(
                "INSERT INTO runs (run, tenant, job, status, started_at)
                 VALUES (?, ?, ?, 'running', ?)",
                params![run, key.tenant, key.job, now_secs()],
            )?;
            Ok(())
        })
    }

    fn is_due(&self, key: &JobKey, beginning: &Beginning) -> Result<bool> {
        self.0.read(|database| is_due(database, key, beginning))
    }

    fn check_free(&self, key: &JobKey) -> Result<()> {
        self.0.read(|database| refuse_active(database, key))
    }

    fn request_cancel(&self, run: &str) -> Result<bool> {
        self.0.write(|transaction| {
            let asked = transaction.execute(
                "UPDATE leases SET cancel = 1 WHERE run = ? AND expires_ms > ?",
                params![run, now_ms()],
            )?;
            Ok(asked == 1)
        })
    }

    fn renew(&self, key: &JobKey, run: &str) -> Result<bool> {
        self.0.write(|transaction| {
            let renewed = transaction
                .query_row(
                    "UPDATE leases SET expires_ms = ? WHERE tenant = ? AND job = ? AND run = ? RETURNING cancel",
                    params![expiry_ms(), key.tenant, key.job, run],
                    |row| row.get(0),
                )
                .optional()?;
            renewed.ok_or_else(|| Failure::Refused(lost(run)))
        })
    }

    fn release(&self, key: &JobKey, run: &str) -> Result<()> {
        self.0.write(|transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE tenant = ? AND job = ? AND run = ?",
                params![key.tenant, key.job, run],
            )?;
            Ok(())
        })
    }

    fn unfinished(&self, key: &JobKey, except: &str) -> Result<Vec<Unfinished>> {
        self.0.read(|database| {
            // By `rowid`, the order of insertion: a clock that was set back cannot change it.
            let mut query = database.prepare_cached(&format!(
                "SELECT run, prepared, state, base FROM runs WHERE tenant = ? AND job = ?
                 AND {WITHOUT_END} AND run <> ? ORDER BY rowid"
            ))?;
            let rows = query.query_map(params![key.tenant, key.job, except], unfinished)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn record_pending(&self, run: &str, pending: &Pending) -> Result<()> {
        let prepared = serde_json::json!(pending.prepared).to_string();
        self.0.write(|transaction| {
            let recorded = transaction.execute(
                "UPDATE runs SET status = 'pending', prepared = ?, state = ?, base = ?
                 WHERE run = ? AND status = 'running' AND EXISTS (SELECT 1 FROM leases
                 WHERE leases.tenant = runs.tenant AND leases.job = runs.job AND leases.run = runs.run)",
                params![prepared, pending.state, pending.base, run],
            )?;
            match recorded {
                1 => Ok(()),
                _ => Err(Failure::Refused(lost(run))),
            }
        })
    }

    fn withdraw(&self, run: &str) -> Result<()> {
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE runs SET status = 'running', prepared = NULL, state = NULL, base = NULL
                 WHERE run = ? AND status = 'pending'",
                params![run],
            )?;
            Ok(())
        })
    }

    fn finish(&self, run: &str, status: &str, detail: Option<&str>) -> Result<()> {
        self.0.write(|transaction| {
            let finish = format!(
                "UPDATE runs SET status = ?, detail = ?, ended_at = ?, prepared = NULL
                 WHERE run = ? AND {WITHOUT_END}"
            );
            transaction.execute(&finish, params![status, detail, now_secs(), run])?;
            Ok(())
        })
    }

    fn is_committed(&self, run: &str) -> Result<bool> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT 1 FROM runs WHERE run = ? AND status = 'committed'",
                params![run],
                |_| Ok(()),
            );
            Ok(found.optional()?.is_some())
        })
    }

    fn has_ended(&self, key: &JobKey, run: &str) -> Result<Option<bool>> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT ended_at IS NOT NULL FROM runs WHERE run = ? AND tenant = ? AND job = ?",
                params![run, key.tenant, key.job],
                |row| row.get(0),
            );
            Ok(found.optional()?)
        })
    }

    fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        self.0.write(|transaction| {
            refuse_active(transaction, key)?;
            transaction.execute(
                "INSERT OR REPLACE INTO resets (tenant, job, target_run) VALUES (?, ?, ?)",
                params![key.tenant, key.job, target_run],
            )?;
            Ok(())
        })
    }

    fn is_reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<bool> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT 1 FROM resets WHERE tenant = ? AND job = ? AND target_run IS ?",
                params![key.tenant, key.job, target_run],
                |_| Ok(()),
            );
            Ok(found.optional()?.is_some())
        })
    }

    fn dealt_with(&self) -> Result<HashMap<JobKey, i64>> {
        self.0.read(|database| {
            let mut query = database.prepare("SELECT tenant, job, due_ms FROM schedules")?;
            let rows = query.query_map([], |row| Ok((job_key(row)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn unsettled(&self) -> Result<Vec<Unsettled>> {
        self.0.read(|database| {
            let mut query = database.prepare_cached(&format!(
                "SELECT runs.tenant, runs.job, boot, pid, started, expires_ms FROM runs LEFT JOIN leases
                 ON leases.tenant = runs.tenant AND leases.job = runs.job WHERE {WITHOUT_END}"
            ))?;
            let rows = query.query_map([], |row| {
                let (key, expires_ms) = (job_key(row)?, row.get::<_, Option<i64>>(5)?);
                let is_over = match expires_ms {
                    None => true,
                    Some(expires_ms) => expires_ms <= now_ms() || holder(row, 2)?.is_dead(),
                };
                let is_given_back = expires_ms.is_none();
                Ok(is_over.then_some(Unsettled { key, is_given_back }))
            })?;
            let found: Vec<Option<Unsettled>> = rows.collect::<Result<_, _>>()?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn record_report(&self, run: &str, report: &str) -> Result<()> {
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE reports SET report = ? WHERE run = ?",
                params![report, run],
            )?;
            Ok(())
        })
    }

    fn list(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<Listed>> {
        let conditions = [
            (
                "tenant = ?",
                filter.tenant.map(|value| Box::new(value) as Box<dyn ToSql>),
            ),
            ("job = ?", filter.job.map(|value| Box::new(value) as _)),
            (
                "status = ?",
                filter.status.map(|value| Box::new(value) as _),
            ),
            (
                "runs.rowid < ?",
                filter.before.map(|value| Box::new(value) as _),
            ),
        ];
        let mut query = format!("SELECT {LISTED}");
        let mut values: Vec<Box<dyn ToSql + '_>> = Vec::new();
        for (condition, value) in conditions {
            let Some(value) = value else { continue };
            query.push_str(if values.is_empty() {
                " WHERE "
            } else {
                " AND "
            });
            query.push_str(condition);
            values.push(value);
        }
        query.push_str(" ORDER BY runs.rowid DESC LIMIT ?");
        values.push(Box::new(limit));
        self.0.read(|database| {
            let mut query = database.prepare_cached(&query)?;
            let rows = query.query_map(rusqlite::params_from_iter(values), listed)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn find(&self, run: &str) -> Result<Option<Listed>> {
        self.0.read(|database| {
            let query = format!("SELECT {LISTED} WHERE runs.run = ?");
            Ok(database
                .query_row(&query, params![run], listed)
                .optional()?)
        })
    }

    fn forget(&self, before: i64) -> Result<u64> {
        self.0.write(|transaction| {
            let forgotten = transaction.execute(
                "DELETE FROM runs WHERE ended_at < ? AND NOT (status = 'committed' AND rowid = (SELECT max(rowid) FROM runs AS others
                 WHERE others.tenant = runs.tenant AND others.job = runs.job AND others.status = 'committed'))",
                params![before],
            )?;
            transaction.execute("DELETE FROM reports WHERE run NOT IN (SELECT run FROM runs)", [])?;
            Ok(forgotten as u64)
        })
    }

    #[cfg(test)]
    fn raw(&self, statements: &str) {
        let run = |transaction: &Transaction<'_>| Ok(transaction.execute_batch(statements)?);
        self.0.write(run).unwrap();
    }
}

/// Keeps why a run begins. Refused where that was done meanwhile.
fn keep_beginning(
    transaction: &Transaction<'_>,
    key: &JobKey,
    run: &str,
    beginning: &Beginning,
) -> Result<(), Failure> {
    if !is_due(transaction, key, beginning)? {
        return Err(Failure::Refused(not_due()));
    }
    transaction.execute(
        "INSERT INTO reports (run, cause) VALUES (?, ?)",
        params![run, beginning.cause],
    )?;
    if let Some(due) = beginning.due {
        transaction.execute(
            "INSERT INTO schedules (tenant, job, due_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET due_ms = max(due_ms, ?3)",
            params![key.tenant, key.job, due.last_ms],
        )?;
    }
    Ok(())
}

fn is_due(
    database: &rusqlite::Connection,
    key: &JobKey,
    beginning: &Beginning,
) -> Result<bool, Failure> {
    if let Some(due) = beginning.due {
        let dealt_with = "SELECT 1 FROM schedules WHERE tenant = ? AND job = ? AND due_ms >= ?";
        let mut query = database.prepare_cached(dealt_with)?;
        if query.exists(params![key.tenant, key.job, due.first_ms])? {
            return Ok(false);
        }
    }
    if beginning.is_recovery {
        let unfinished =
            format!("SELECT 1 FROM runs WHERE tenant = ? AND job = ? AND {WITHOUT_END}");
        let mut query = database.prepare_cached(&unfinished)?;
        return Ok(query.exists(params![key.tenant, key.job])?);
    }
    Ok(true)
}

/// Gives the job to `run`. The transaction excludes other writers, so exactly one of several wins.
fn take_lease(
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
fn refuse_active(database: &rusqlite::Connection, key: &JobKey) -> Result<(), Failure> {
    let held = database
        .query_row(
            "SELECT run, since, expires_ms, boot, pid, started FROM leases
             WHERE tenant = ? AND job = ?",
            params![key.tenant, key.job],
            |row| {
                let (run, since, expires_ms): (String, i64, i64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((run, since, expires_ms, holder(row, 3)?))
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
    let active = super::active(key, &run, holder.pid, Duration::from_secs(age));
    Err(Failure::Refused(active))
}

fn expiry_ms() -> i64 {
    now_ms().saturating_add(i64::try_from(LEASE_TERM.as_millis()).unwrap_or(i64::MAX))
}

fn unfinished(row: &Row<'_>) -> rusqlite::Result<Unfinished> {
    let prepared: Option<String> = row.get(1)?;
    let pending = match prepared {
        None => None,
        Some(list) => Some(Pending {
            // Written by `record_pending` alone; anything else is a damaged file.
            prepared: serde_json::from_str(&list).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
            })?,
            state: row.get(2)?,
            base: row.get(3)?,
        }),
    };
    Ok(Unfinished {
        run: row.get(0)?,
        pending,
    })
}

fn job_key(row: &Row<'_>) -> rusqlite::Result<JobKey> {
    let (tenant, job) = (row.get(0)?, row.get(1)?);
    Ok(JobKey { tenant, job })
}

/// From the columns `boot`, `pid`, `started`, the first of which is at `index`.
fn holder(row: &Row<'_>, index: usize) -> rusqlite::Result<Holder> {
    Ok(Holder {
        boot: row.get(index)?,
        pid: row.get(index + 1)?,
        started: row.get(index + 2)?,
    })
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        place: row.get(0)?,
        row: RunRow {
            run_id: row.get(1)?,
            tenant: row.get(2)?,
            job: row.get(3)?,
            status: row.get(4)?,
            started_at: row.get(5)?,
            ended_at: row.get(6)?,
            detail: row.get(7)?,
        },
        cause: row.get(8)?,
        report: row.get(9)?,
    })
}

fn now_secs() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
