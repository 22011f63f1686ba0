//! The rows of a catalog in a file of SQLite.
//!
//! The file is opened for each call and closed after it, so that other programs can work on it between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, Error, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params,
};

use super::pointers::{NAMESPACES, Row, TABLES, Written, invalid};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Secrets;

/// How long another writer is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

const GET: &str = "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3";
const KIND: &str = "SELECT iceberg_type FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3";
const HAS_TABLES: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('iceberg_tables', 'iceberg_namespace_properties')";
const HAS_KIND: &str =
    "SELECT count(*) FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'";
const NAMESPACE: &str = "INSERT OR IGNORE INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) VALUES (?1, ?2, 'exists', 'true')";
const INSERT: &str = "INSERT OR IGNORE INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) VALUES (?1, ?2, ?3, ?4)";
const SET_KIND: &str = "UPDATE iceberg_tables SET iceberg_type = 'TABLE' WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3";
const SWAP: &str = "UPDATE iceberg_tables SET metadata_location = ?4, previous_metadata_location = ?5 WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3 AND metadata_location = ?5";

#[derive(Clone)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// As in SQLAlchemy: `sqlite:///a.db` is in the current folder, `sqlite:////a.db` is not.
    pub fn open(uri: &str, secrets: &Secrets) -> Result<Self> {
        let filled = secrets.fill(uri);
        let (_, rest) = filled.split_once("://").unwrap_or_default();
        let path = rest.strip_prefix('/').filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| invalid("names no file"))?;
        if path.contains('?') || path.starts_with(':') || path.starts_with("file:") {
            return Err(invalid("names more than a file"));
        }
        let path = std::path::absolute(path).map_err(|_| invalid("names no file"))?;
        Ok(Self { path })
    }

    pub async fn get(&self, row: &Row) -> Result<Option<String>> {
        let (row, path) = (row.clone(), self.path.clone());
        self.work(move |connection| {
            let of_row = params![row.catalog, row.namespace, row.table];
            if !has_tables(connection).map_err(about(&path))? {
                return Ok(None);
            }
            let kind = || match connection.query_row(HAS_KIND, [], |row| row.get::<_, i64>(0))? {
                0 => Ok(None),
                _ => connection
                    .query_row(KIND, of_row, |row| row.get::<_, Option<String>>(0))
                    .optional(),
            };
            let kind = kind().map_err(about(&path))?.flatten();
            if kind.is_some_and(|kind| kind != "TABLE") {
                return Err(no_table(&row));
            }
            let found = connection.query_row(GET, of_row, |row| row.get::<_, Option<String>>(0));
            Ok(found.optional().map_err(about(&path))?.flatten())
        })
        .await
    }

    /// Makes the namespace and the row, at the same time.
    pub async fn insert(&self, row: &Row, location: &str) -> Written {
        let (row, location) = (row.clone(), location.to_owned());
        self.write(move |transaction| {
            transaction.execute(NAMESPACE, params![row.catalog, row.namespace])?;
            let inserted = transaction.execute(
                INSERT,
                params![row.catalog, row.namespace, row.table, location],
            )?;
            let has_kind: i64 = transaction.query_row(HAS_KIND, [], |row| row.get(0))?;
            if inserted == 1 && has_kind == 1 {
                transaction.execute(SET_KIND, params![row.catalog, row.namespace, row.table])?;
            }
            Ok(inserted)
        })
        .await
    }

    pub async fn swap(&self, row: &Row, old: &str, new: &str) -> Written {
        let (row, old, new) = (row.clone(), old.to_owned(), new.to_owned());
        self.write(move |transaction| {
            transaction.execute(
                SWAP,
                params![row.catalog, row.namespace, row.table, new, old],
            )
        })
        .await
    }

    /// `change` gives the number of rows that it changed.
    async fn write(
        &self,
        change: impl FnOnce(&Transaction) -> rusqlite::Result<usize> + Send + 'static,
    ) -> Written {
        let path = self.path.clone();
        let written = self
            .work(move |connection| {
                let behaviour = TransactionBehavior::Immediate;
                let changed =
                    Transaction::new_unchecked(connection, behaviour).and_then(|transaction| {
                        if !has_tables(&transaction)? {
                            transaction.execute(TABLES, [])?;
                            transaction.execute(NAMESPACES, [])?;
                        }
                        let changed = change(&transaction)?;
                        Ok((transaction, changed))
                    });
                let (transaction, changed) = changed.map_err(about(&path))?;
                Ok(match (changed, transaction.commit()) {
                    (0, _) => Written::Lost,
                    (_, Ok(())) => Written::Done,
                    // It was not begun, and is rolled back when the connection closes.
                    (_, Err(error)) if is_busy(&error) => Written::Failed(about(&path)(error)),
                    (_, Err(error)) => Written::Unknown(about(&path)(error)),
                })
            })
            .await;
        written.unwrap_or_else(Written::Failed)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        blocking(move || work(&connect(&path)?)).await
    }
}

fn connect(path: &Path) -> Result<Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("the folder `{}` cannot be made: {error}", folder.display());
            Failure::new(ErrorKind::Rejected, message)
                .hint("name a folder for the catalog that this user may write to")
        })?;
    }
    let connection = Connection::open(path).map_err(about(path))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(about(path))?;
    Ok(connection)
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let found: i64 = connection.query_row(HAS_TABLES, [], |row| row.get(0))?;
    Ok(found == 2)
}

fn is_busy(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

pub fn no_table(row: &Row) -> Failure {
    let Row {
        namespace, table, ..
    } = row;
    Failure::new(
        ErrorKind::Rejected,
        format!("`{namespace}.{table}` is a view, not a table"),
    )
    .hint("give the table another name")
}

fn about(path: &Path) -> impl Fn(Error) -> Failure {
    move |error| {
        let new = |kind, hint: &str| {
            let name = path.display();
            Failure::new(
                kind,
                format!("the catalog `{name}` cannot be used: {error}"),
            )
            .hint(hint)
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => new(
                ErrorKind::Unavailable,
                "another program holds the file: end it, or use a catalog in PostgreSQL",
            ),
            Some(ErrorCode::DiskFull) => new(ErrorKind::Unavailable, "free some space there"),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => new(
                ErrorKind::InvalidData,
                "name a file of SQLite that is whole, or a new one",
            ),
            _ => new(
                ErrorKind::Rejected,
                "check that this user may write the file and its folder",
            ),
        }
    }
}
