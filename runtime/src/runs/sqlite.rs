//! The run store in a SQLite file.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::lease::{Holder, LEASE_TERM, Lease};
use super::{JobKey, Outcome, Pending, RunRow, Unfinished};
use crate::error::{Error, Kind, Result};

/// The layout of the tables, kept in the file's `user_version`.
const LAYOUT: i64 = 1;

/// Identifies the file as ours, in its `application_id`: "dtvo".
const APPLICATION: i64 = 0x6474_766f;

const TABLES: &str = "
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, tenant TEXT NOT NULL, job TEXT NOT NULL, status TEXT NOT NULL,
        started_at INTEGER NOT NULL, ended_at INTEGER, detail TEXT,
        prepared TEXT, state TEXT, base TEXT);
    CREATE INDEX runs_of_job ON runs (tenant, job, run);
    CREATE TABLE leases (
        tenant TEXT NOT NULL, job TEXT NOT NULL, run TEXT NOT NULL, since INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
        started INTEGER NOT NULL, PRIMARY KEY (tenant, job));
    CREATE TABLE resets (
        tenant TEXT NOT NULL, job TEXT NOT NULL, target_run TEXT, PRIMARY KEY (tenant, job));
";

/// A run store. Calls are short; they block.
pub struct RunStore(Arc<Connection>);

/// What a store and its leases share.
pub struct Connection {
    database: Mutex<rusqlite::Connection>,
    place: String,
}

impl RunStore {
    /// Opens `sqlite://PATH`, relative to the working directory or `sqlite:///PATH`, made where absent.
    pub fn open(url: &str) -> Result<Self> {
        let Some(path) = url
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty())
        else {
            return Err(
                Error::new(Kind::JobInvalid, format!("`{url}` is no run store"))
                    .hint("use `--state sqlite://PATH`; three slashes begin an absolute path"),
            );
        };
        let unusable = |error: &dyn std::fmt::Display| {
            Error::new(
                Kind::Unavailable,
                format!("cannot open the run store `{path}`"),
            )
            .caused_by(error)
            .hint("check the path and its permissions, or name another with `--state`")
        };
        if let Some(folder) = Path::new(path)
            .parent()
            .filter(|f| !f.as_os_str().is_empty())
        {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| unusable(&error))?;
        }
        let database = rusqlite::Connection::open(path).map_err(|error| unusable(&error))?;
        let connection = Connection {
            database: Mutex::new(database),
            place: path.to_owned(),
        };
        connection.prepare().map_err(|error| match error.kind() {
            Kind::Internal => unusable(&error),
            _ => error,
        })?;
        Ok(Self(Arc::new(connection)))
    }

    /// Takes the lease of a job and records that the run began. Fails as `state_conflict` where
    /// another run is active.
    pub fn begin(&self, key: &JobKey, run: &str) -> Result<Lease> {
        self.0.write(|transaction| {
            take_lease(transaction, key, run, &Holder::this())?;
            transaction.execute(
                "INSERT INTO runs (run, tenant, job, status, started_at) VALUES (?, ?, ?, 'running', ?)",
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
            let mut query = database.prepare(
                "SELECT run, prepared, state, base FROM runs WHERE tenant = ? AND job = ?
                 AND status IN ('running', 'pending') AND run <> ? ORDER BY run",
            )?;
            let rows = query.query_map(params![key.tenant, key.job, except], |row| {
                let prepared: Option<String> = row.get(1)?;
                // Written by `record_pending` alone; anything else would be a damaged file.
                let prepared = prepared.map(|list| serde_json::from_str(&list)).transpose();
                let prepared = prepared.map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        1,
                        rusqlite::types::Type::Text,
                        Box::new(error),
                    )
                })?;
                let (state, base) = (row.get(2)?, row.get(3)?);
                let pending = prepared.map(|prepared| Pending {
                    prepared,
                    state,
                    base,
                });
                Ok(Unfinished {
                    run: row.get(0)?,
                    pending,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Remembers a commit before it is sent: durable when this returns.
    pub fn record_pending(&self, run: &str, pending: &Pending) -> Result<()> {
        let prepared = serde_json::json!(pending.prepared).to_string();
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE runs SET status = 'pending', prepared = ?, state = ?, base = ? WHERE run = ?",
                params![prepared, pending.state, pending.base, run],
            )?;
            Ok(())
        })
    }

    /// Remembers how a run ended.
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
                "UPDATE runs SET status = ?, detail = ?, ended_at = ?, prepared = NULL WHERE run = ?",
                params![status, detail, now_secs(), run],
            )?;
            Ok(())
        })
    }

    /// The next run after the target's last commit `target_run` starts without a state.
    pub fn reset(&self, key: &JobKey, target_run: Option<&str>) -> Result<()> {
        self.0.write(|transaction| {
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
                 WHERE tenant = ? AND job = ? ORDER BY run DESC LIMIT ?",
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

/// A failure inside a transaction: of the database, or one that has its own words.
enum Failure {
    Database(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Connection {
    /// Settings, and the tables of a new file.
    fn prepare(&self) -> Result<()> {
        let database = self.lock();
        let settings = || {
            database.busy_timeout(Duration::from_secs(10))?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            // A pending commit must be on disk before the commit is sent.
            database.pragma_update(None, "synchronous", "FULL")
        };
        settings().map_err(|error| self.failed(Failure::Database(error)))?;
        drop(database);
        self.write(|transaction| {
            let get = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let tables: i64 =
                transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
            match (get("application_id")?, get("user_version")?, tables) {
                (0, 0, 0) => {
                    transaction.execute_batch(TABLES)?;
                    transaction.pragma_update(None, "application_id", APPLICATION)?;
                    transaction.pragma_update(None, "user_version", LAYOUT)?;
                    Ok(())
                }
                (APPLICATION, LAYOUT, _) => Ok(()),
                (APPLICATION, newer, _) => Err(Failure::Refused(
                    Error::new(
                        Kind::JobInvalid,
                        format!("the run store `{}` has layout {newer}; this version knows {LAYOUT}", self.place),
                    )
                    .hint("run it with the version of dativo-wasm that wrote it, or name another with `--state`"),
                )),
                _ => Err(Failure::Refused(
                    Error::new(
                        Kind::JobInvalid,
                        format!("`{}` is the database of another program", self.place),
                    )
                    .hint("name another file with `--state sqlite://PATH`"),
                )),
            }
        })
    }

    pub(super) fn renew(&self, key: &JobKey, run: &str) -> Result<()> {
        self.write(|transaction| {
            let renewed = transaction.execute(
                "UPDATE leases SET expires_ms = ? WHERE tenant = ? AND job = ? AND run = ?",
                params![expiry_ms(), key.tenant, key.job, run],
            )?;
            if renewed == 1 {
                return Ok(());
            }
            Err(Failure::Refused(Error::new(
                Kind::StateConflict,
                format!("the lease of job `{}` was lost to another run", key.job),
            )))
        })
    }

    pub(super) fn release(&self, key: &JobKey, run: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE tenant = ? AND job = ? AND run = ?",
                params![key.tenant, key.job, run],
            )?;
            Ok(())
        })
    }

    fn read<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> Result<T, Failure>) -> Result<T> {
        work(&self.lock()).map_err(|failure| self.failed(failure))
    }

    /// Does `work` in one transaction that excludes other writers.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T> {
        let mut database = self.lock();
        let all = || {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        let all: Result<T, Failure> = { all }();
        all.map_err(|failure| self.failed(failure))
    }

    fn lock(&self) -> MutexGuard<'_, rusqlite::Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, failure: Failure) -> Error {
        let error = match failure {
            Failure::Refused(error) => return error,
            Failure::Database(error) => error,
        };
        let damaged = matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
        );
        let failed = Error::new(
            if damaged {
                Kind::JobInvalid
            } else {
                Kind::Unavailable
            },
            match damaged {
                true => format!("`{}` is damaged or no run store", self.place),
                false => format!("the run store `{}` failed", self.place),
            },
        )
        .caused_by(error);
        match damaged {
            true => failed.hint(
                "move the file away: targets hold the state of their jobs, and a new run store finds it there",
            ),
            false => failed.hint("check that the disk is not full and the file can be written"),
        }
    }
}

fn take_lease(
    transaction: &Transaction<'_>,
    key: &JobKey,
    run: &str,
    holder: &Holder,
) -> Result<(), Failure> {
    let held = transaction
        .query_row(
            "SELECT run, since, expires_ms, boot, pid, started FROM leases WHERE tenant = ? AND job = ?",
            params![key.tenant, key.job],
            |row| {
                let holder = Holder { boot: row.get(3)?, pid: row.get(4)?, started: row.get::<_, i64>(5)? as u64 };
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, holder))
            },
        )
        .optional()?;
    if let Some((active, since, expires_ms, by)) = held
        && expires_ms > now_ms()
        && !by.is_dead()
    {
        let age = Duration::from_secs(u64::try_from(now_secs() - since).unwrap_or_default());
        return Err(Failure::Refused(
            Error::new(
                Kind::StateConflict,
                format!("another run of job `{}` is active", key.job),
            )
            .with("run", active)
            .with("process", by.pid)
            .with("since", format!("{} ago", humantime::format_duration(age)))
            .hint("wait for it to end, or stop it"),
        ));
    }
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
            holder.started as i64
        ],
    )?;
    Ok(())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn now_secs() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

fn expiry_ms() -> i64 {
    now_ms().saturating_add(LEASE_TERM.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> JobKey {
        JobKey {
            tenant: "t".to_owned(),
            job: "j".to_owned(),
        }
    }

    fn url(folder: &tempfile::TempDir) -> String {
        format!("sqlite://{}/deep/state.db", folder.path().display())
    }

    fn refused(url: &str) -> Error {
        RunStore::open(url).err().unwrap()
    }

    #[test]
    fn refuses_what_is_no_run_store_and_leaves_it_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            refused("postgres://db/x")
                .hint_text()
                .unwrap()
                .contains("sqlite://PATH")
        );
        let file = folder.path().join("text");
        std::fs::write(
            &file,
            "this is a text of more than sixteen bytes, and no database",
        )
        .unwrap();
        let error = refused(&format!("sqlite://{}", file.display()));
        assert!(
            error.message().contains("is damaged or no run store"),
            "{error}"
        );
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .starts_with("this is a text")
        );

        let other = folder.path().join("other.db");
        rusqlite::Connection::open(&other)
            .unwrap()
            .execute_batch("CREATE TABLE x (y)")
            .unwrap();
        let error = refused(&format!("sqlite://{}", other.display()));
        assert!(
            error.message().contains("database of another program"),
            "{error}"
        );
    }

    #[test]
    fn refuses_a_newer_layout() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunStore::open(&url(&folder)).unwrap());
        let path = folder.path().join("deep/state.db");
        let database = rusqlite::Connection::open(path).unwrap();
        database
            .pragma_update(None, "user_version", LAYOUT + 1)
            .unwrap();
        drop(database);
        assert!(
            refused(&url(&folder))
                .message()
                .contains("has layout 2; this version knows 1")
        );
    }

    #[test]
    fn one_run_of_a_job_is_active_and_other_jobs_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        let lease = store.begin(&key(), "a").unwrap();
        let second = RunStore::open(&url(&folder)).unwrap();
        assert_eq!(
            second.begin(&key(), "b").err().unwrap().kind(),
            Kind::StateConflict
        );
        let other = JobKey {
            job: "other".to_owned(),
            ..key()
        };
        second.begin(&other, "c").unwrap();
        lease.renew().unwrap();
        drop(lease);
        second.begin(&key(), "b").unwrap();
    }

    #[test]
    fn of_many_at_once_exactly_one_gets_the_lease_of_a_dead_run() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        let dead = Holder {
            started: 1,
            ..Holder::this()
        };
        store
            .0
            .write(|transaction| take_lease(transaction, &key(), "dead", &dead))
            .unwrap();
        let winners: Vec<bool> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|n| {
                    let url = url(&folder);
                    scope.spawn(move || {
                        let store = RunStore::open(&url).unwrap();
                        store
                            .begin(&key(), &format!("r{n}"))
                            .map(std::mem::forget)
                            .is_ok()
                    })
                })
                .collect();
            tries
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(winners.iter().filter(|won| **won).count(), 1);
    }

    #[test]
    fn an_expired_lease_is_taken_over_and_its_holder_notices() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        let first = store.begin(&key(), "a").unwrap();
        let expire = |transaction: &Transaction<'_>| {
            transaction.execute("UPDATE leases SET expires_ms = 0", [])?;
            Ok(())
        };
        store.0.write(expire).unwrap();
        let _second = store.begin(&key(), "b").unwrap();
        assert_eq!(first.renew().unwrap_err().kind(), Kind::StateConflict);
        drop(first);
        assert_eq!(
            store.begin(&key(), "c").err().unwrap().kind(),
            Kind::StateConflict
        );
    }

    #[test]
    fn a_run_without_an_end_is_found_with_what_it_prepared() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        for run in ["a", "b", "c"] {
            drop(store.begin(&key(), run).unwrap());
        }
        let pending = Pending {
            prepared: vec!["one".to_owned(), "two".to_owned()],
            state: Some("s".to_owned()),
            base: None,
        };
        store.record_pending("b", &pending).unwrap();
        store.finish("a", &Outcome::Empty).unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        let found = store.unfinished(&key(), "c").unwrap();
        assert_eq!(
            found,
            [Unfinished {
                run: "b".to_owned(),
                pending: Some(pending)
            }]
        );
        store
            .finish(
                "b",
                &Outcome::Committed {
                    receipt: "{}".to_owned(),
                },
            )
            .unwrap();
        assert!(store.unfinished(&key(), "c").unwrap().is_empty());
        let statuses: Vec<String> = store
            .history(&key(), 10)
            .unwrap()
            .into_iter()
            .map(|row| row.status)
            .collect();
        assert_eq!(statuses, ["running", "committed", "empty"]);
    }

    #[test]
    fn a_reset_holds_until_the_target_moves_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::open(&url(&folder)).unwrap();
        assert!(!store.is_reset(&key(), None).unwrap());
        store.reset(&key(), None).unwrap();
        assert!(store.is_reset(&key(), None).unwrap());
        assert!(!store.is_reset(&key(), Some("a")).unwrap());
        store.reset(&key(), Some("a")).unwrap();
        assert!(store.is_reset(&key(), Some("a")).unwrap());
        assert!(!store.is_reset(&key(), Some("b")).unwrap());
    }
}
