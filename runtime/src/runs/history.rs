//! Lists of runs, and what a process that serves keeps beside: why each began, its report, and the times of schedules that were
//! dealt with.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, params};

use super::sqlite::{Failure, RunStore};
use super::{JobKey, RunRow};
use crate::error::Result;

pub const TABLES: &str = "
    CREATE TABLE schedules (
        tenant TEXT NOT NULL, job TEXT NOT NULL, due_ms INTEGER NOT NULL, PRIMARY KEY (tenant, job));
    CREATE TABLE reports (run TEXT PRIMARY KEY, cause TEXT NOT NULL, report TEXT);
    CREATE INDEX ends_of_runs ON runs (ended_at);
";

/// Why a run began, kept in the transaction that begins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub cause: &'static str,
    /// In milliseconds: all times of the schedule up to this one are dealt with.
    pub due_ms: Option<i64>,
}

/// A run as `serve` lists it. `place` goes on in the list from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub place: i64,
    pub row: RunRow,
    pub cause: Option<String>,
    /// JSON.
    pub report: Option<String>,
}

/// Which runs are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    pub tenant: Option<&'a str>,
    pub job: Option<&'a str>,
    pub status: Option<&'a str>,
    pub before: Option<i64>,
}

const COLUMNS: &str =
    "runs.rowid, runs.run, tenant, job, status, started_at, ended_at, detail, cause, report
    FROM runs LEFT JOIN reports ON reports.run = runs.run";

impl RunStore {
    /// The last time of each schedule that was dealt with, in milliseconds.
    pub fn dealt_with(&self) -> Result<HashMap<JobKey, i64>> {
        self.0.read(|database| {
            let mut query = database.prepare("SELECT tenant, job, due_ms FROM schedules")?;
            let rows = query.query_map([], |row| {
                let (tenant, job) = (row.get(0)?, row.get(1)?);
                Ok((JobKey { tenant, job }, row.get(2)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Jobs with a run that has no end, and no lease that holds it.
    pub fn cut_short(&self) -> Result<Vec<JobKey>> {
        self.0.read(|database| {
            let mut query = database.prepare(
                "SELECT DISTINCT tenant, job FROM runs WHERE status IN ('running', 'pending')",
            )?;
            let rows = query.query_map([], |row| {
                let (tenant, job) = (row.get(0)?, row.get(1)?);
                Ok(JobKey { tenant, job })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps the report of a run that was begun with a cause.
    pub fn record_report(&self, run: &str, report: &str) -> Result<()> {
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE reports SET report = ? WHERE run = ?",
                params![report, run],
            )?;
            Ok(())
        })
    }

    /// The last runs of a job, the newest first.
    pub fn history(&self, key: &JobKey, limit: u32) -> Result<Vec<RunRow>> {
        let filter = Filter {
            tenant: Some(&key.tenant),
            job: Some(&key.job),
            ..Filter::default()
        };
        let listed = self.list(&filter, limit)?;
        Ok(listed.into_iter().map(|listed| listed.row).collect())
    }

    /// Runs, the newest first.
    pub fn list(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<Listed>> {
        self.0.read(|database| {
            let mut query = database.prepare(&format!(
                "SELECT {COLUMNS} WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR job = ?2)
                 AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR runs.rowid < ?4)
                 ORDER BY runs.rowid DESC LIMIT ?5"
            ))?;
            let Filter {
                tenant,
                job,
                status,
                before,
            } = *filter;
            let rows = query.query_map(params![tenant, job, status, before, limit], listed)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub fn find(&self, run: &str) -> Result<Option<Listed>> {
        self.0.read(|database| {
            let query = format!("SELECT {COLUMNS} WHERE runs.run = ?");
            Ok(database
                .query_row(&query, params![run], listed)
                .optional()?)
        })
    }
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

/// Keeps why a run begins.
pub fn begin(
    transaction: &rusqlite::Transaction<'_>,
    key: &JobKey,
    run: &str,
    beginning: &Beginning,
) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO reports (run, cause) VALUES (?, ?)",
        params![run, beginning.cause],
    )?;
    if let Some(due_ms) = beginning.due_ms {
        transaction.execute(
            "INSERT INTO schedules (tenant, job, due_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET due_ms = max(due_ms, ?3)",
            params![key.tenant, key.job, due_ms],
        )?;
    }
    Ok(())
}
