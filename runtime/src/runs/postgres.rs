//! The run store in a database of PostgreSQL, for several processes on several machines: its verbs.
//!
//! Times are of the server's clock. Transactions that write what belongs to a job begin with a lock of that job, so that of several
//! processes one goes first.

mod connection;
mod values;

use std::collections::HashMap;
use std::time::Duration;

use super::backend::{Backend, Beginning, Unsettled};
use super::holder::Holder;
use super::lease::LEASE_TERM;
use super::{Filter, JobKey, Listed, Pending, Unfinished, lost, not_due};
use crate::error::Result;
pub use connection::Postgres;
use connection::Transaction;
use values::{Parameter, Row, Values};

const WITHOUT_END: &str = "status IN ('running', 'pending')";
const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const NOW_SECS: &str = "extract(epoch FROM clock_timestamp())::bigint";

const LISTED: &str =
    "place, dativo_runs.run, tenant, job, status, started_at, ended_at, detail, cause, report
    FROM dativo_runs LEFT JOIN dativo_reports ON dativo_reports.run = dativo_runs.run";

impl Transaction<'_> {
    /// No other transaction that takes it writes what belongs to the job before this one ends.
    async fn lock(&mut self, key: &JobKey) -> Result<()> {
        let name = serde_json::json!(["dativo", key.tenant, key.job]).to_string();
        self.rows(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            &[&name],
        )
        .await?;
        Ok(())
    }

    /// Locks the job of a run. None where the run is not known.
    async fn lock_of(&mut self, run: &str) -> Result<Option<JobKey>> {
        let rows = self
            .rows(
                "SELECT tenant, job FROM dativo_runs WHERE run = $1",
                &[&run],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let key = Values::new(row).key()?;
        self.lock(&key).await?;
        Ok(Some(key))
    }

    async fn refuse_active(&mut self, key: &JobKey) -> Result<()> {
        let held = format!(
            "SELECT boot, pid, started, run, {NOW_SECS} - since FROM dativo_leases
             WHERE tenant = $1 AND job = $2 AND expires_ms > {NOW_MS}"
        );
        let rows = self.rows(&held, &[&key.tenant, &key.job]).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let mut values = Values::new(row);
        let (holder, run, age) = (values.holder()?, values.text()?, values.number()?);
        if holder.is_dead() {
            return Ok(());
        }
        let age = Duration::from_secs(u64::try_from(age).unwrap_or_default());
        Err(super::active(key, &run, holder.pid, age))
    }

    async fn is_due(&mut self, key: &JobKey, beginning: &Beginning) -> Result<bool> {
        if let Some(due) = beginning.due {
            let dealt_with =
                "SELECT 1 FROM dativo_schedules WHERE tenant = $1 AND job = $2 AND due_ms >= $3";
            if self
                .any(dealt_with, &[&key.tenant, &key.job, &due.first_ms])
                .await?
            {
                return Ok(false);
            }
        }
        if beginning.is_recovery {
            let unfinished = format!(
                "SELECT 1 FROM dativo_runs WHERE tenant = $1 AND job = $2 AND {WITHOUT_END} LIMIT 1"
            );
            return self.any(&unfinished, &[&key.tenant, &key.job]).await;
        }
        Ok(true)
    }
}

impl Backend for Postgres {
    fn begin(
        &self,
        key: &JobKey,
        run: &str,
        beginning: Option<&Beginning>,
        holder: &Holder,
    ) -> Result<()> {
        self.transact(async |transaction| {
            transaction.lock(key).await?;
            if let Some(beginning) = beginning {
                if !transaction.is_due(key, beginning).await? {
                    return Err(not_due());
                }
                let keep = "INSERT INTO dativo_reports (run, cause) VALUES ($1, $2) RETURNING 1";
                transaction.rows(keep, &[&run, &beginning.cause]).await?;
                if let Some(due) = beginning.due {
                    let keep = "INSERT INTO dativo_schedules AS known (tenant, job, due_ms) VALUES ($1, $2, $3)
                         ON CONFLICT (tenant, job) DO UPDATE SET due_ms = greatest(known.due_ms, excluded.due_ms) RETURNING 1";
                    transaction.rows(keep, &[&key.tenant, &key.job, &due.last_ms]).await?;
                }
            }
            transaction.refuse_active(key).await?;
            let lease = format!(
                "INSERT INTO dativo_leases (tenant, job, run, since, expires_ms, boot, pid, started)
                 VALUES ($1, $2, $3, {NOW_SECS}, {NOW_MS} + $4, $5, $6, $7)
                 ON CONFLICT (tenant, job) DO UPDATE SET run = excluded.run, since = excluded.since, expires_ms = excluded.expires_ms,
                 boot = excluded.boot, pid = excluded.pid, started = excluded.started, cancel = FALSE RETURNING 1"
            );
            let (pid, started) = (i64::from(holder.pid), holder.started.cast_signed());
            let values: [&dyn Parameter; 7] = [&key.tenant, &key.job, &run, &term_ms(), &holder.boot, &pid, &started];
            transaction.rows(&lease, &values).await?;
            let keep = format!(
                "INSERT INTO dativo_runs (run, tenant, job, status, started_at) VALUES ($1, $2, $3, 'running', {NOW_SECS}) RETURNING 1"
            );
            transaction.rows(&keep, &[&run, &key.tenant, &key.job]).await?;
            Ok(())
        })
    }

    fn is_due(&self, key: &JobKey, beginning: &Beginning) -> Result<bool> {
        self.transact(async |transaction| transaction.is_due(key, beginning).await)
    }

    fn check_free(&self, key: &JobKey) -> Result<()> {
        self.transact(async |transaction| transaction.refuse_active(key).await)
    }

    fn request_cancel(&self, run: &str) -> Result<bool> {
        self.transact(async |transaction| {
            let ask = format!("UPDATE dativo_leases SET cancel = TRUE WHERE run = $1 AND expires_ms > {NOW_MS} RETURNING 1");
            transaction.any(&ask, &[&run]).await
        })
    }

    fn renew(&self, key: &JobKey, run: &str) -> Result<bool> {
        self.transact(async |transaction| {
            let renew = format!(
                "UPDATE dativo_leases SET expires_ms = {NOW_MS} + $4 WHERE tenant = $1 AND job = $2 AND run = $3 RETURNING cancel::int"
            );
            let rows = transaction.rows(&renew, &[&key.tenant, &key.job, &run, &term_ms()]).await?;
            let row = rows.first().ok_or_else(|| lost(run))?;
            Ok(Values::new(row).number()? == 1)
        })
    }

    fn release(&self, key: &JobKey, run: &str) -> Result<()> {
        self.transact(async |transaction| {
            let release =
                "DELETE FROM dativo_leases WHERE tenant = $1 AND job = $2 AND run = $3 RETURNING 1";
            transaction
                .rows(release, &[&key.tenant, &key.job, &run])
                .await?;
            Ok(())
        })
    }

    fn unfinished(&self, key: &JobKey, except: &str) -> Result<Vec<Unfinished>> {
        self.transact(async |transaction| {
            let query = format!(
                "SELECT run, prepared, state, base FROM dativo_runs
                 WHERE tenant = $1 AND job = $2 AND {WITHOUT_END} AND run <> $3 ORDER BY place"
            );
            let rows = transaction
                .rows(&query, &[&key.tenant, &key.job, &except])
                .await?;
            rows.iter()
                .map(|row| Values::new(row).unfinished())
                .collect()
        })
    }

    fn record_pending(&self, run: &str, pending: &Pending) -> Result<()> {
        let prepared = serde_json::json!(pending.prepared).to_string();
        self.transact(async |transaction| {
            // Whoever takes the job over waits for this, or this finds the lease gone.
            let key = transaction.lock_of(run).await?.ok_or_else(|| lost(run))?;
            let record =
                "UPDATE dativo_runs SET status = 'pending', prepared = $2, state = $3, base = $4
                 WHERE run = $1 AND status = 'running' AND EXISTS (SELECT 1 FROM dativo_leases
                 WHERE tenant = $5 AND job = $6 AND dativo_leases.run = $1) RETURNING 1";
            let values: [&dyn Parameter; 6] = [
                &run,
                &prepared,
                &pending.state,
                &pending.base,
                &key.tenant,
                &key.job,
            ];
            match transaction.any(record, &values).await? {
                true => Ok(()),
                false => Err(lost(run)),
            }
        })
    }

    fn withdraw(&self, run: &str) -> Result<()> {
        self.transact(async |transaction| {
            transaction.lock_of(run).await?;
            let withdraw = "UPDATE dativo_runs SET status = 'running', prepared = NULL, state = NULL, base = NULL
                 WHERE run = $1 AND status = 'pending' RETURNING 1";
            transaction.rows(withdraw, &[&run]).await?;
            Ok(())
        })
    }

    fn finish(&self, run: &str, status: &str, detail: Option<&str>) -> Result<()> {
        self.transact(async |transaction| {
            transaction.lock_of(run).await?;
            let finish = format!(
                "UPDATE dativo_runs SET status = $2, detail = $3, ended_at = {NOW_SECS}, prepared = NULL
                 WHERE run = $1 AND {WITHOUT_END} RETURNING 1"
            );
            transaction.rows(&finish, &[&run, &status, &detail]).await?;
            Ok(())
        })
    }

    fn is_committed(&self, run: &str) -> Result<bool> {
        self.transact(async |transaction| {
            let query = "SELECT 1 FROM dativo_runs WHERE run = $1 AND status = 'committed'";
            transaction.any(query, &[&run]).await
        })
    }

    fn has_ended(&self, key: &JobKey, run: &str) -> Result<Option<bool>> {
        self.transact(async |transaction| {
            let query = "SELECT (ended_at IS NOT NULL)::int FROM dativo_runs WHERE run = $1 AND tenant = $2 AND job = $3";
            let rows = transaction.rows(query, &[&run, &key.tenant, &key.job]).await?;
            rows.first().map(|row| Ok(Values::new(row).number()? == 1)).transpose()
        })
    }

    fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        self.transact(async |transaction| {
            transaction.lock(key).await?;
            transaction.refuse_active(key).await?;
            let reset = "INSERT INTO dativo_resets (tenant, job, target_run) VALUES ($1, $2, $3)
                 ON CONFLICT (tenant, job) DO UPDATE SET target_run = excluded.target_run RETURNING 1";
            transaction.rows(reset, &[&key.tenant, &key.job, &target_run]).await?;
            Ok(())
        })
    }

    fn is_reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<bool> {
        self.transact(async |transaction| {
            let query = "SELECT 1 FROM dativo_resets WHERE tenant = $1 AND job = $2 AND target_run IS NOT DISTINCT FROM $3";
            transaction.any(query, &[&key.tenant, &key.job, &target_run]).await
        })
    }

    fn dealt_with(&self) -> Result<HashMap<JobKey, i64>> {
        let query = "SELECT tenant, job, due_ms FROM dativo_schedules";
        let rows = self.transact(async |transaction| transaction.rows(query, &[]).await)?;
        let pair = |row: &Row| {
            let mut values = Values::new(row);
            Ok((values.key()?, values.number()?))
        };
        rows.iter().map(pair).collect()
    }

    fn unsettled(&self) -> Result<Vec<Unsettled>> {
        let query = format!(
            "SELECT dativo_runs.tenant, dativo_runs.job, boot, pid, started, (expires_ms <= {NOW_MS})::int
             FROM dativo_runs LEFT JOIN dativo_leases AS leases
             ON leases.tenant = dativo_runs.tenant AND leases.job = dativo_runs.job WHERE {WITHOUT_END}"
        );
        let rows = self.transact(async |transaction| transaction.rows(&query, &[]).await)?;
        let mut found = Vec::new();
        for row in &rows {
            let mut values = Values::new(row);
            let key = values.key()?;
            if values.0.as_slice().first().is_some_and(Option::is_none) {
                found.push(Unsettled {
                    key,
                    is_given_back: true,
                });
                continue;
            }
            let (holder, expired) = (values.holder()?, values.number()?);
            if expired == 1 || holder.is_dead() {
                found.push(Unsettled {
                    key,
                    is_given_back: false,
                });
            }
        }
        Ok(found)
    }

    fn record_report(&self, run: &str, report: &str) -> Result<()> {
        self.transact(async |transaction| {
            let keep = "UPDATE dativo_reports SET report = $2 WHERE run = $1 RETURNING 1";
            transaction.rows(keep, &[&run, &report]).await?;
            Ok(())
        })
    }

    fn list(&self, filter: &Filter<'_>, limit: u32) -> Result<Vec<Listed>> {
        let conditions: [(&str, &dyn Parameter); 4] = [
            ("tenant =", &filter.tenant),
            ("job =", &filter.job),
            ("status =", &filter.status),
            ("place <", &filter.before),
        ];
        let given = conditions
            .into_iter()
            .filter(|(_, value)| value.text().is_some());
        let (mut query, mut values) = (format!("SELECT {LISTED}"), Vec::new());
        for (condition, value) in given {
            values.push(value);
            let word = if values.len() == 1 { "WHERE" } else { "AND" };
            query = format!("{query} {word} {condition} ${}", values.len());
        }
        query = format!("{query} ORDER BY place DESC LIMIT {limit}");
        let rows = self.transact(async |transaction| transaction.rows(&query, &values).await)?;
        rows.iter().map(|row| Values::new(row).listed()).collect()
    }

    fn find(&self, run: &str) -> Result<Option<Listed>> {
        let query = format!("SELECT {LISTED} WHERE dativo_runs.run = $1");
        let rows = self.transact(async |transaction| transaction.rows(&query, &[&run]).await)?;
        rows.first()
            .map(|row| Values::new(row).listed())
            .transpose()
    }

    fn forget(&self, before: i64) -> Result<u64> {
        let forget = "WITH gone AS (DELETE FROM dativo_runs WHERE ended_at < $1 AND NOT (status = 'committed' AND place =
             (SELECT max(others.place) FROM dativo_runs AS others WHERE others.tenant = dativo_runs.tenant
             AND others.job = dativo_runs.job AND others.status = 'committed')) RETURNING run),
             reports AS (DELETE FROM dativo_reports USING gone WHERE dativo_reports.run = gone.run)
             SELECT count(*) FROM gone";
        let rows = self.transact(async |transaction| transaction.rows(forget, &[&before]).await)?;
        let gone = rows
            .first()
            .map_or(Ok(0), |row| Values::new(row).number())?;
        Ok(u64::try_from(gone).unwrap_or_default())
    }

    #[cfg(test)]
    fn raw(&self, statements: &str) {
        let statements = statements.replace("leases", "dativo_leases");
        self.transact(async |transaction| transaction.run(&statements).await)
            .unwrap();
    }
}

fn term_ms() -> i64 {
    i64::try_from(LEASE_TERM.as_millis()).unwrap_or(i64::MAX)
}
