//! The verbs of the run store, each one transaction.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params};

use super::holder::Holder;
use super::lease::{self, Lease};
use super::sqlite::{Connection, now_secs};
use super::{JobKey, Outcome, Pending, RunRow, Unfinished};
use crate::error::Result;

/// A run store. Calls are short; they block.
pub struct RunStore(pub(super) Arc<Connection>);

impl RunStore {
    /// Opens `sqlite://PATH`, relative to the working directory or `sqlite:///PATH`, made where absent.
    pub fn open(url: &str) -> Result<Self> {
        Ok(Self(Arc::new(Connection::open(url)?)))
    }

    /// Takes the lease of a job and records that the run began. Fails as `state_conflict` where
    /// another run is active.
    pub fn begin(&self, key: &JobKey, run: &str) -> Result<Lease> {
        self.begin_as(key, run, &Holder::this())
    }

    pub(super) fn begin_as(&self, key: &JobKey, run: &str, holder: &Holder) -> Result<Lease> {
        self.0.write(|transaction| {
            lease::take(transaction, key, run, holder)?;
            transaction.execute(
                "INSERT INTO runs (run, tenant, job, status, started_at)
                 VALUES (?, ?, ?, 'running', ?)",
                params![run, key.tenant, key.job, now_secs()],
            )?;
            Ok(())
        })?;
        Ok(Lease {
            connection: self.0.clone(),
            key: key.clone(),
            run: run.to_owned(),
        })
    }

    /// Runs of the job without an end, but for `except`, in the order in which they began. Whoever
    /// holds the lease knows that none of them is active.
    pub fn unfinished(&self, key: &JobKey, except: &str) -> Result<Vec<Unfinished>> {
        self.0.read(|database| {
            // By `rowid`, the order of insertion: a clock that was set back cannot change it.
            let mut query = database.prepare(
                "SELECT run, prepared, state, base FROM runs WHERE tenant = ? AND job = ?
                 AND status IN ('running', 'pending') AND run <> ? ORDER BY rowid",
            )?;
            let rows = query.query_map(params![key.tenant, key.job, except], unfinished)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Remembers a commit before it is sent: durable when this returns. Fails as `state_conflict`
    /// where the run lost its lease, since another may be removing what it staged.
    pub fn record_pending(&self, run: &str, pending: &Pending) -> Result<()> {
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
                _ => Err(lease::lost(run)),
            }
        })
    }

    /// Remembers how a run ended. The first end stays: a run that lost its lease does not overwrite
    /// what its successor found out about it.
    pub fn finish(&self, run: &str, outcome: &Outcome) -> Result<()> {
        let (status, detail) = match outcome {
            Outcome::Committed { receipt } => ("committed", Some(receipt.clone())),
            Outcome::Empty => ("empty", None),
            Outcome::Failed { kind, message } => ("failed", Some(format!("{kind}: {message}"))),
            Outcome::Cancelled => ("cancelled", None),
            Outcome::Removed => ("removed", None),
        };
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE runs SET status = ?, detail = ?, ended_at = ?, prepared = NULL
                 WHERE run = ? AND status IN ('running', 'pending')",
                params![status, detail, now_secs(), run],
            )?;
            Ok(())
        })
    }

    /// The next run after the target's last commit `target_run` starts without a state. Fails as
    /// `state_conflict` while a run is active: its commit would carry the old state on.
    pub fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        self.0.write(|transaction| {
            lease::refuse_active(transaction, key)?;
            transaction.execute(
                "INSERT OR REPLACE INTO resets (tenant, job, target_run) VALUES (?, ?, ?)",
                params![key.tenant, key.job, target_run],
            )?;
            Ok(())
        })
    }

    /// Whether the job was reset and the target's last commit is still `target_run`.
    pub fn is_reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<bool> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT 1 FROM resets WHERE tenant = ? AND job = ? AND target_run IS ?",
                params![key.tenant, key.job, target_run],
                |_| Ok(()),
            );
            Ok(found.optional()?.is_some())
        })
    }

    /// The last runs, newest first.
    pub fn history(&self, key: &JobKey, limit: u32) -> Result<Vec<RunRow>> {
        self.0.read(|database| {
            let mut query = database.prepare(
                "SELECT run, tenant, job, status, started_at, ended_at, detail FROM runs
                 WHERE tenant = ? AND job = ? ORDER BY rowid DESC LIMIT ?",
            )?;
            let rows = query.query_map(params![key.tenant, key.job, limit], |row| {
                Ok(RunRow {
                    run_id: row.get(0)?,
                    tenant: row.get(1)?,
                    job: row.get(2)?,
                    status: row.get(3)?,
                    started_at: row.get(4)?,
                    ended_at: row.get(5)?,
                    detail: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
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
