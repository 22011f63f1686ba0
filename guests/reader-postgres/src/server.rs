//! What is asked of a server: statements in, rows of text out. The only file that calls the host's `postgres`.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use dativo_connector::arrow::schema_from_host;
use dativo_connector::postgres::{Connection, Rows};
use dativo_connector::{Error, Result};

use crate::sql::Sql;

/// A connection at one point in time.
pub struct Server(Connection);

/// One row of an answer.
pub struct Row(Vec<Option<String>>);

impl Server {
    /// Connects, at the point in time that `snapshot` names, or at the present one.
    pub fn open(url: &str, snapshot: Option<&str>) -> Result<Self> {
        Ok(Self(Connection::open(url, snapshot)?))
    }

    pub fn export_snapshot(&self) -> Result<String> {
        Ok(self.0.export_snapshot()?)
    }

    pub fn rows(&self, statement: &Sql) -> Result<Vec<Row>> {
        let rows = self.0.query(&statement.text, &statement.parameters)?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// The only row of a statement that has one.
    pub fn row(&self, statement: &Sql) -> Result<Row> {
        let first = self.rows(statement)?.into_iter().next();
        first.ok_or_else(|| Error::internal("the server answered no row where there is always one"))
    }

    pub fn describe(&self, statement: &str, decoding: &str) -> Result<SchemaRef> {
        let schema = self.0.describe(statement, decoding)?;
        Ok(Arc::clone(&schema_from_host(&schema)?))
    }

    pub fn read(&self, statement: &Sql, decoding: &str) -> Result<Rows> {
        Ok(self
            .0
            .read(&statement.text, &statement.parameters, decoding)?)
    }
}

impl Row {
    /// A field that may be null, or that the statement does not have.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }

    pub fn text(&self, index: usize) -> String {
        self.get(index).unwrap_or_default().to_owned()
    }

    /// Null is false.
    pub fn is(&self, index: usize) -> bool {
        self.get(index) == Some("t")
    }

    pub fn number<N: std::str::FromStr>(&self, index: usize) -> Result<N> {
        let text = self.get(index).unwrap_or_default();
        let number = text.parse();
        number.map_err(|_| Error::internal(format!("the server answered `{text}` for a number")))
    }
}
