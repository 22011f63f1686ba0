//! Catalogs: which metadata file a table has now, and how it gets the next one.
//!
//! Owns what a job says about a catalog and what became of a commit. Knows no data files. It never tries a commit twice:
//! the caller knows how to make one that fits the new state of the table.

mod pointers;
mod postgres;
mod rest;
mod sql;
mod sqlite;

use std::collections::HashMap;
use std::fmt;

use iceberg::spec::{Schema, SortOrder, TableMetadataRef, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use serde::Deserialize;

use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Secrets;

/// Where a job names no catalog.
const DEFAULT_URI: &str = "sqlite:///.dativo/catalog.db";

/// What pyiceberg calls a catalog without a name.
const DEFAULT_NAME: &str = "default";

/// How to reach a catalog. Texts may hold placeholders of secrets, which are filled when a connection is made.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum CatalogSpec {
    /// A database with the layout of pyiceberg's `SqlCatalog`.
    Sql {
        /// `sqlite:///catalog.db` in the current folder, `sqlite:////data/catalog.db`, or
        /// `postgresql://user:${SECRET:PASSWORD}@db.example:5432/catalog`.
        uri: String,
        /// The name of the catalog inside the database; `default` where there is none.
        name: Option<String>,
    },
    /// A server with the Iceberg REST API.
    Rest {
        /// What `/v1/config` is added to.
        uri: String,
        /// What the server calls the warehouse.
        warehouse: Option<String>,
        /// `client_id:client_secret`, with which a token is got.
        credential: Option<String>,
        token: Option<String>,
        /// An absolute URL, or a path at the server; `v1/oauth/tokens` below the URI where there is none.
        oauth2_server_uri: Option<String>,
        /// `catalog` where there is none.
        scope: Option<String>,
    },
}

impl Default for CatalogSpec {
    fn default() -> Self {
        Self::Sql {
            uri: DEFAULT_URI.to_owned(),
            name: None,
        }
    }
}

/// Shows the type alone: the rest may hold passwords.
impl fmt::Debug for CatalogSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql { .. } => f.write_str("Sql(…)"),
            Self::Rest { .. } => f.write_str("Rest(…)"),
        }
    }
}

/// Shown as `namespace.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub namespace: Vec<String>,
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.namespace {
            write!(f, "{part}.")?;
        }
        f.write_str(&self.table)
    }
}

/// A table as it was at one time.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub metadata: TableMetadataRef,
    pub metadata_location: String,
}

/// A table to be.
#[derive(Debug, Clone)]
pub struct Creation {
    pub schema: Schema,
    pub partition_spec: UnboundPartitionSpec,
    pub sort_order: SortOrder,
    /// `format-version` is among them where it is not 2.
    pub properties: HashMap<String, String>,
    /// The catalog's own choice where there is none.
    pub location: Option<String>,
}

/// What became of a commit.
#[derive(Debug)]
pub enum Commit {
    Landed(Loaded),
    /// The table is not as the commit assumes: load it and make another.
    Conflict(Failure),
    /// Nothing was done, and the same commit would not be taken either. Where the failure says `Unavailable`, it would
    /// later.
    Refused(Failure),
    /// It was sent and may have landed, now or a little later.
    Unknown(Failure),
}

pub struct Catalog(Kind);

enum Kind {
    Sql(sql::Sql),
    Rest(Box<rest::Rest>),
}

impl Catalog {
    /// Reaches nothing yet. `warehouse` is where a database catalog keeps metadata; a server keeps its own.
    pub fn open(
        spec: &CatalogSpec,
        warehouse: Option<Warehouse>,
        secrets: &Secrets,
    ) -> Result<Self> {
        Ok(Self(match spec {
            CatalogSpec::Sql { uri, name } => {
                let name = name.as_deref().unwrap_or(DEFAULT_NAME);
                let warehouse = warehouse.ok_or_else(|| {
                    Failure::new(
                        ErrorKind::InvalidConfig,
                        "a database catalog has no warehouse",
                    )
                    .hint("name a folder or `s3://bucket/prefix` as `warehouse`")
                })?;
                Kind::Sql(sql::Sql::open(uri, name, warehouse, secrets)?)
            }
            CatalogSpec::Rest { .. } => Kind::Rest(Box::new(rest::Rest::open(spec, secrets)?)),
        }))
    }

    /// Whether it is a server, which keeps the metadata and says where tables are.
    pub fn is_server(&self) -> bool {
        matches!(self.0, Kind::Rest(_))
    }

    /// The table as it is, if there is one.
    pub async fn load(&self, name: &TableName) -> Result<Option<Loaded>> {
        check_name(name)?;
        match &self.0 {
            Kind::Sql(sql) => sql.load(name).await,
            Kind::Rest(rest) => rest.load(name).await,
        }
    }

    /// Makes a table, and its namespace where that is absent. Nothing where there is a table by now: load it.
    pub async fn create(&self, name: &TableName, creation: &Creation) -> Result<Option<Loaded>> {
        check_name(name)?;
        match &self.0 {
            Kind::Sql(sql) => sql.create(name, creation).await,
            Kind::Rest(rest) => rest.create(name, creation).await,
        }
    }

    /// Changes the table that was `base`, once.
    pub async fn commit(
        &self,
        name: &TableName,
        base: &Loaded,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Commit {
        if let Err(failure) = check_name(name) {
            return Commit::Refused(failure);
        }
        match &self.0 {
            Kind::Sql(sql) => sql.commit(name, base, &requirements, updates).await,
            Kind::Rest(rest) => rest.commit(name, &requirements, &updates).await,
        }
    }
}

/// Names become parts of paths, and a namespace is written with dots.
fn check_name(name: &TableName) -> Result<()> {
    let is_part = |part: &String| {
        !matches!(part.as_str(), "" | "." | "..")
            && !part.contains(['/', '\\'])
            && !part.chars().any(char::is_control)
    };
    let is_level = |part: &String| is_part(part) && !part.contains('.');
    if !name.namespace.is_empty() && name.namespace.iter().all(is_level) && is_part(&name.table) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::InvalidConfig,
        format!(
            "`{}` does not name a table",
            name.to_string().escape_debug()
        ),
    )
    .hint("write it like `namespace.table`, without `/` and empty parts"))
}
