//! The rows of a catalog in a database of PostgreSQL.
//!
//! Each change is one statement, which is a transaction of its own.

use super::pointers::{NAMESPACES, Row, TABLES, Written};
use super::sqlite::no_table;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::postgres::{Fault, Writer};
use crate::job::Secrets;

/// A null says that there are no tables of a catalog yet; the second, that the column is not there.
const LAYOUT: &str = "SELECT to_regclass('iceberg_tables')::text, (SELECT attname::text FROM pg_attribute \
     WHERE attrelid = to_regclass('iceberg_tables') AND attname = 'iceberg_type' AND NOT attisdropped), \
     to_regclass('iceberg_namespace_properties')::text";
const ROW: &str = "catalog_name = $1 AND table_namespace = $2 AND table_name = $3";

/// What roles need, for errors.
const NEEDS: &str = "the role needs SELECT, INSERT and UPDATE on `iceberg_tables` and `iceberg_namespace_properties`, \
     and CREATE on the schema where they are absent; a standby cannot hold a catalog";

pub struct Postgres {
    /// With placeholders of secrets.
    url: String,
    secrets: Secrets,
}

/// What the database has.
struct Layout {
    is_there: bool,
    has_kind: bool,
}

impl Postgres {
    pub fn open(uri: &str, secrets: &Secrets) -> Self {
        // SQLAlchemy's name of a driver, as in `postgresql+psycopg2://`.
        let url = match uri.split_once("://") {
            Some((_, rest)) => format!("postgresql://{rest}"),
            None => secrets.fill(uri).split_once("://").map_or_else(
                || uri.to_owned(),
                |(_, rest)| format!("postgresql://{rest}"),
            ),
        };
        Self {
            url,
            secrets: secrets.clone(),
        }
    }

    pub async fn get(&self, row: &Row) -> Result<Option<String>> {
        let mut writer = Writer::open(&self.url, &self.secrets).await?;
        let layout = layout(&mut writer).await?;
        if !layout.is_there {
            return Ok(None);
        }
        let kind = match layout.has_kind {
            true => "iceberg_type",
            false => "'TABLE'",
        };
        let statement = format!("SELECT metadata_location, {kind} FROM iceberg_tables WHERE {ROW}");
        let rows = writer.rows(&statement, &parameters(row, &[])).await;
        let mut rows = rows.map_err(|fault| with_needs(fault.failure))?.into_iter();
        let mut values = rows.next().unwrap_or_default().into_iter();
        let location = values.next().flatten();
        match values.next().flatten() {
            Some(kind) if kind != "TABLE" => Err(no_table(row)),
            _ => Ok(location),
        }
    }

    /// Makes the namespace, and the row.
    pub async fn insert(&self, row: &Row, location: &str) -> Written {
        let begun = async {
            let mut writer = Writer::open(&self.url, &self.secrets).await?;
            let mut found = layout(&mut writer).await?;
            if !found.is_there {
                create_tables(&mut writer).await?;
                found = layout(&mut writer).await?;
            }
            let namespace = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) \
                 VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING RETURNING 1";
            let of_row = [Some(row.catalog.clone()), Some(row.namespace.clone())];
            let made = writer.rows(namespace, &of_row).await;
            made.map_err(|fault| with_needs(fault.failure))?;
            Ok((writer, found.has_kind))
        };
        let (mut writer, has_kind) = match begun.await {
            Ok(begun) => begun,
            Err(failure) => return Written::Failed(failure),
        };
        let (column, value) = match has_kind {
            true => (", iceberg_type", ", 'TABLE'"),
            false => ("", ""),
        };
        let statement = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location{column}) \
             VALUES ($1, $2, $3, $4{value}) ON CONFLICT DO NOTHING RETURNING 1"
        );
        let inserted = writer.rows(&statement, &parameters(row, &[location])).await;
        written(inserted.map(|rows| rows.len()))
    }

    pub async fn swap(&self, row: &Row, old: &str, new: &str) -> Written {
        let mut writer = match Writer::open(&self.url, &self.secrets).await {
            Ok(writer) => writer,
            Err(failure) => return Written::Failed(failure),
        };
        let statement = format!(
            "UPDATE iceberg_tables SET metadata_location = $4, previous_metadata_location = $5 \
             WHERE {ROW} AND metadata_location = $5 RETURNING 1"
        );
        let swapped = writer.rows(&statement, &parameters(row, &[new, old])).await;
        written(swapped.map(|rows| rows.len()))
    }
}

fn parameters(row: &Row, more: &[&str]) -> Vec<Option<String>> {
    let of_row = [&row.catalog, &row.namespace, &row.table].map(String::as_str);
    let all = of_row.iter().chain(more);
    all.map(|text| Some((*text).to_owned())).collect()
}

async fn layout(writer: &mut Writer) -> Result<Layout> {
    let rows = writer.rows(LAYOUT, &[]).await;
    let rows = rows.map_err(|fault| with_needs(fault.failure))?;
    let mut values = rows.into_iter().next().unwrap_or_default().into_iter();
    let (tables, kind, namespaces) = (values.next(), values.next(), values.next());
    Ok(Layout {
        is_there: tables.flatten().is_some() && namespaces.flatten().is_some(),
        has_kind: kind.flatten().is_some(),
    })
}

async fn create_tables(writer: &mut Writer) -> Result<()> {
    for statement in [TABLES, NAMESPACES] {
        match writer.run(statement).await {
            // Two that create at the same time: the other did it, and the server names the index or the type of the row.
            Err(failure) if is_duplicate(&failure) => {}
            outcome => outcome.map_err(with_needs)?,
        }
    }
    Ok(())
}

fn is_duplicate(failure: &Failure) -> bool {
    ["(23505)", "(42P07)", "(42710)"]
        .iter()
        .any(|code| failure.message.ends_with(code))
}

fn written(rows: Result<usize, Fault>) -> Written {
    match rows {
        Ok(0) => Written::Lost,
        Ok(_) => Written::Done,
        Err(fault) if fault.is_unknown => Written::Unknown(Failure {
            hint: Some("look into the table before the job is run again".to_owned()),
            ..fault.failure
        }),
        Err(fault) => Written::Failed(with_needs(fault.failure)),
    }
}

/// The hints of the client are those for reading.
fn with_needs(failure: Failure) -> Failure {
    match failure.kind {
        ErrorKind::Rejected => failure.hint(NEEDS),
        _ => failure,
    }
}
