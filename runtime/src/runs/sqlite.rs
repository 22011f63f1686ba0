//! The run store in a SQLite file: its verbs, each one transaction; below them the file, opened and
//! recognised, and its failures in words.
//!
//! The only file that names the driver.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::types::Type;
use rusqlite::{
    ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};

use super::history::{self, Beginning};
use super::holder::Holder;
use super::lease::{LEASE_TERM, Lease};
use super::{JobKey, Outcome, Pending, Unfinished};
use crate::error::{Error, Kind, Result};

/// The layout of the tables, kept in the file's `user_version`.
pub const LAYOUT: i64 = 2;

/// Identifies the file as ours, in its `application_id`: "dtvo".
const APPLICATION: i64 = 0x6474_766f;

/// How long a call waits for another process that writes. Writes take milliseconds; a run can wait
/// for a slow disk, and a lease outlives the wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, tenant TEXT NOT NULL, job TEXT NOT NULL, status TEXT NOT NULL,
        started_at INTEGER NOT NULL, ended_at INTEGER, detail TEXT,
        prepared TEXT, state TEXT, base TEXT);
    CREATE INDEX runs_of_job ON runs (tenant, job);
    CREATE INDEX unfinished_runs ON runs (tenant, job) WHERE status IN ('running', 'pending');
    CREATE TABLE leases (
        tenant TEXT NOT NULL, job TEXT NOT NULL, run TEXT NOT NULL, since INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
        started INTEGER NOT NULL, PRIMARY KEY (tenant, job));
    CREATE TABLE resets (
        tenant TEXT NOT NULL, job TEXT NOT NULL, target_run TEXT, PRIMARY KEY (tenant, job));
";

/// A run store. Calls are short; they block.
pub struct RunStore(pub(super) Arc<Connection>);

impl RunStore {
    /// Opens `sqlite://PATH`, relative to the working directory or `sqlite:///PATH`, made where absent.
    pub fn open(url: &str) -> Result<Self> {
        Ok(Self(Arc::new(Connection::open(url)?)))
    }

    /// Takes the lease of a job and records that the run began. Fails as `state_conflict` where
    /// another run is active.
    pub fn begin(&self, key: &JobKey, run: &str, beginning: Option<&Beginning>) -> Result<Lease> {
        self.begin_as(key, run, beginning, &Holder::this())
    }

    pub(super) fn begin_as(
        &self,
        key: &JobKey,
        run: &str,
        beginning: Option<&Beginning>,
        holder: &Holder,
    ) -> Result<Lease> {
        self.0.write(|transaction| {
            if let Some(beginning) = beginning {
                history::begin(transaction, key, run, beginning)?;
            }
            take_lease(transaction, key, run, holder)?;
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
                _ => Err(lost(run)),
            }
        })
    }

    /// Forgets a commit before what it would publish is removed: half of it is nothing to commit again.
    pub fn withdraw(&self, run: &str) -> Result<()> {
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE runs SET status = 'running', prepared = NULL, state = NULL, base = NULL
                 WHERE run = ? AND status = 'pending'",
                params![run],
            )?;
            Ok(())
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

    /// Whether the run ended, and what it wrote is visible.
    pub fn is_committed(&self, run: &str) -> Result<bool> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT 1 FROM runs WHERE run = ? AND status = 'committed'",
                params![run],
                |_| Ok(()),
            );
            Ok(found.optional()?.is_some())
        })
    }

    /// Whether this job's `run` has ended; none where it is not known here.
    pub fn has_ended(&self, key: &JobKey, run: &str) -> Result<Option<bool>> {
        self.0.read(|database| {
            let found = database.query_row(
                "SELECT ended_at IS NOT NULL FROM runs WHERE run = ? AND tenant = ? AND job = ?",
                params![run, key.tenant, key.job],
                |row| row.get(0),
            );
            Ok(found.optional()?)
        })
    }

    /// The next run after the target's last commit `target_run` starts without a state. Fails as
    /// `state_conflict` while a run is active: its commit would carry the old state on.
    pub fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        self.0.write(|transaction| {
            refuse_active(transaction, key)?;
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
}

/// What a store and its leases share.
pub struct Connection {
    database: Mutex<rusqlite::Connection>,
    place: String,
}

/// A failure inside a transaction: of the database, or one that has its own words.
pub enum Failure {
    Database(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// What a file turned out to be.
enum Found {
    Nothing,
    /// Of a version that did not serve.
    Older,
    RunStore,
}

impl Connection {
    /// Opens the file that `url` names, made where absent. A file that is no run store stays as it is.
    fn open(url: &str) -> Result<Self> {
        let path = path(url)?;
        let place = path
            .strip_prefix(".")
            .unwrap_or(&path)
            .display()
            .to_string();
        let unusable = |error: &dyn std::fmt::Display| {
            Error::new(
                Kind::Unavailable,
                format!("cannot open the run store `{place}`"),
            )
            .caused_by(error)
            .hint("check the path and its permissions, or name another with `--state`")
        };
        if let Some(folder) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            // States and receipts are nobody else's business.
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| unusable(&error))?;
        }
        // Without `SQLITE_OPEN_URI`, which would read a meaning into `file:` and `?`.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = rusqlite::Connection::open_with_flags(&path, flags)
            .map_err(|error| unusable(&error))?;
        let connection = Self {
            database: Mutex::new(database),
            place,
        };
        connection.prepare()?;
        Ok(connection)
    }

    /// Recognises the file before anything is written to it, then makes the tables of a new one.
    fn prepare(&self) -> Result<()> {
        let settle = || {
            let mut database = self.lock();
            database.busy_timeout(BUSY_TIMEOUT)?;
            self.recognise(&database.transaction()?)?;
            // A pending commit must be on disk before the commit is sent.
            database.pragma_update(None, "synchronous", "FULL")?;
            write_ahead(&database)
        };
        settle().map_err(|failure| self.failed(failure))?;
        self.write(|transaction| {
            match self.recognise(transaction)? {
                Found::Nothing => transaction.execute_batch(TABLES)?,
                Found::Older => {}
                Found::RunStore => return Ok(()),
            }
            transaction.execute_batch(history::TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
            Ok(())
        })
    }

    fn recognise(&self, transaction: &Transaction<'_>) -> Result<Found, Failure> {
        let get = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        let refused = |message: String, hint: &str| {
            Err(Failure::Refused(
                Error::new(Kind::JobInvalid, message).hint(hint),
            ))
        };
        match (get("application_id")?, get("user_version")?, tables) {
            (0, 0, 0) => Ok(Found::Nothing),
            (APPLICATION, LAYOUT, _) => Ok(Found::RunStore),
            (APPLICATION, 1, _) => Ok(Found::Older),
            (APPLICATION, other, _) => refused(
                format!(
                    "the run store `{}` has layout {other}; this version knows {LAYOUT}",
                    self.place
                ),
                "run it with the version of dativo-wasm that wrote it, or name another with `--state`",
            ),
            _ => refused(
                format!("`{}` is the database of another program", self.place),
                "name another file with `--state sqlite://PATH`",
            ),
        }
    }

    pub fn renew(&self, key: &JobKey, run: &str) -> Result<()> {
        self.write(|transaction| {
            let renewed = transaction.execute(
                "UPDATE leases SET expires_ms = ? WHERE tenant = ? AND job = ? AND run = ?",
                params![expiry_ms(), key.tenant, key.job, run],
            )?;
            match renewed {
                1 => Ok(()),
                _ => Err(lost(run)),
            }
        })
    }

    pub fn release(&self, key: &JobKey, run: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE tenant = ? AND job = ? AND run = ?",
                params![key.tenant, key.job, run],
            )?;
            Ok(())
        })
    }

    pub fn read<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Failure>,
    ) -> Result<T> {
        work(&self.lock()).map_err(|failure| self.failed(failure))
    }

    /// Does `work` in one transaction that excludes other writers; durable when this returns.
    pub fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T> {
        let mut database = self.lock();
        let written = database
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::from)
            .and_then(|transaction| {
                let done = work(&transaction)?;
                transaction.commit()?;
                Ok(done)
            });
        written.map_err(|failure| self.failed(failure))
    }

    fn lock(&self) -> MutexGuard<'_, rusqlite::Connection> {
        // A panic inside a transaction rolled it back: the connection is sound.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, failure: Failure) -> Error {
        let error = match failure {
            Failure::Refused(error) => return error,
            Failure::Database(error) => error,
        };
        let place = &self.place;
        let (kind, message, hint) = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
                Kind::JobInvalid,
                format!("`{place}` is damaged or no run store"),
                "move the file away: targets hold the state of their jobs, and a new run store finds it there",
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                Kind::Unavailable,
                format!("the run store `{place}` is locked by another process"),
                "end the program that holds it open, or run the job again later",
            ),
            _ => (
                Kind::Unavailable,
                format!("the run store `{place}` failed"),
                "check that the disk is not full and the file can be written",
            ),
        };
        Error::new(kind, message).caused_by(error).hint(hint)
    }
}

/// The answer to a run that goes on after another took its job.
fn lost(run: &str) -> Failure {
    Failure::Refused(
        Error::new(
            Kind::StateConflict,
            format!("run {run} lost the lease of its job to another run"),
        )
        .hint("run the job again: it starts from the last commit, and nothing arrives twice"),
    )
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
fn refuse_active(transaction: &Transaction<'_>, key: &JobKey) -> Result<(), Failure> {
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

/// The path in `url`, in a form that SQLite takes for nothing but a file.
fn path(url: &str) -> Result<PathBuf> {
    // The rest of the URL is not shown: another scheme's may hold a password.
    let problem = match url.split_once("://") {
        Some(("sqlite", path)) if path.ends_with('/') => {
            format!("the run store `{url}` names a folder")
        }
        Some(("sqlite", path)) if !path.is_empty() => return Ok(Path::new(".").join(path)),
        Some(("sqlite", _)) => "the run store `sqlite://` names no file".to_owned(),
        Some((scheme, _)) => format!("a run store of kind `{scheme}` is not supported"),
        None => "the run store is no URL".to_owned(),
    };
    Err(Error::new(Kind::JobInvalid, problem)
        .hint("use `--state sqlite://PATH`; three slashes begin an absolute path"))
}

/// Switches to a write-ahead log. SQLite gives up at once where two processes switch a new file at
/// the same time, so that waiting is done here.
fn write_ahead(database: &rusqlite::Connection) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match database.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            switched => return Ok(switched?),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_something_to_sqlite_is_a_file_like_any_other() {
        for (url, file) in [
            ("sqlite://.dativo/state.db", "./.dativo/state.db"),
            ("sqlite:///var/state.db", "/var/state.db"),
            ("sqlite://:memory:", "./:memory:"),
            ("sqlite://file:x?mode=memory", "./file:x?mode=memory"),
        ] {
            assert_eq!(path(url).unwrap(), Path::new(file));
        }
    }
}
