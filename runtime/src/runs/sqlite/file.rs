//! The SQLite file of a run store: opened, recognised before anything is written to it, and its failures in words.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, Kind, Result};

/// The layout of the tables, kept in the file's `user_version`.
pub const LAYOUT: i64 = 3;

/// Identifies the file as ours, in its `application_id`: "dtvo".
const APPLICATION: i64 = 0x6474_766f;

/// How long a call waits for another process that writes. Writes take milliseconds; a run can wait
/// for a slow disk, and a lease outlives the wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What each layout added.
const LAYOUTS: [(i64, &str); 3] = [
    (
        1,
        "CREATE TABLE runs (
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
            tenant TEXT NOT NULL, job TEXT NOT NULL, target_run TEXT, PRIMARY KEY (tenant, job));",
    ),
    (
        2,
        "CREATE TABLE schedules (
            tenant TEXT NOT NULL, job TEXT NOT NULL, due_ms INTEGER NOT NULL, PRIMARY KEY (tenant, job));
        CREATE TABLE reports (run TEXT PRIMARY KEY, cause TEXT NOT NULL, report TEXT);
        CREATE INDEX ends_of_runs ON runs (ended_at);",
    ),
    (
        LAYOUT,
        "ALTER TABLE leases ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX runs_of_tenant ON runs (tenant);",
    ),
];

/// An open file, used by one at a time.
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
    /// Of an earlier layout.
    Older(i64),
    RunStore,
}

impl Connection {
    /// Opens the file that `url` names, made where absent. A file that is no run store stays as it is.
    pub fn open(url: &str) -> Result<Self> {
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
            let layout = match self.recognise(transaction)? {
                Found::Nothing => 0,
                Found::Older(layout) => layout,
                Found::RunStore => return Ok(()),
            };
            for (since, statements) in LAYOUTS {
                if layout < since {
                    transaction.execute_batch(statements)?;
                }
            }
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
            (APPLICATION, older @ 1..LAYOUT, _) => Ok(Found::Older(older)),
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
