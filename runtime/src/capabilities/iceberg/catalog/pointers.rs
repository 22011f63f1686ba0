//! The rows of a database catalog: for each table, the URL of its newest metadata file.
//!
//! The layout is that of pyiceberg's `SqlCatalog`, so that both work on one database. Knows no metadata.

use super::TableName;
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Secrets;

pub const TABLES: &str = "CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

pub const NAMESPACES: &str = "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";

/// Which row: `table_namespace` is written with dots.
#[derive(Debug, Clone)]
pub struct Row {
    pub catalog: String,
    pub namespace: String,
    pub table: String,
}

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    Done,
    /// The row is not as it was assumed to be: nothing was done.
    Lost,
    Failed(Failure),
    Unknown(Failure),
}

pub enum Pointers {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Row {
    pub fn new(catalog: &str, name: &TableName) -> Self {
        Self {
            catalog: catalog.to_owned(),
            namespace: name.namespace.join("."),
            table: name.table.clone(),
        }
    }
}

impl Pointers {
    pub fn open(uri: &str, secrets: &Secrets) -> Result<Self> {
        // A text that is one secret tells what it is when it is filled.
        let whole = (!uri.contains("://")).then(|| secrets.fill(uri));
        let known = whole.as_deref().unwrap_or(uri);
        let scheme = known.split_once("://").map_or("", |(scheme, _)| scheme);
        // SQLAlchemy names the driver after a `+`.
        let (dialect, _) = scheme.split_once('+').unwrap_or((scheme, ""));
        match dialect {
            "sqlite" => Sqlite::open(uri, secrets).map(Self::Sqlite),
            "postgresql" | "postgres" => Ok(Self::Postgres(Postgres::open(uri, secrets))),
            _ => Err(invalid("is neither of SQLite nor of PostgreSQL")),
        }
    }

    pub async fn get(&self, row: &Row) -> Result<Option<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.get(row).await,
            Self::Postgres(postgres) => postgres.get(row).await,
        }
    }

    pub async fn insert(&self, row: &Row, location: &str) -> Written {
        match self {
            Self::Sqlite(sqlite) => sqlite.insert(row, location).await,
            Self::Postgres(postgres) => postgres.insert(row, location).await,
        }
    }

    /// Puts `new` in place of `old`, if that is what is there.
    pub async fn swap(&self, row: &Row, old: &str, new: &str) -> Written {
        match self {
            Self::Sqlite(sqlite) => sqlite.swap(row, old, new).await,
            Self::Postgres(postgres) => postgres.swap(row, old, new).await,
        }
    }
}

/// About the address, which is not shown: it may hold a password.
pub fn invalid(what: &str) -> Failure {
    Failure::new(
        ErrorKind::InvalidConfig,
        format!("the `uri` of the catalog {what}"),
    )
    .hint("write it like `sqlite:///catalog.db` or `postgresql://user:${SECRET:PG_PASSWORD}@db.example:5432/catalog`")
}
