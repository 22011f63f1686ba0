//! The connector `postgres`: rows of tables, views and queries, all of one point in time.
//!
//! This file is the component. It decides which statements are run; the host runs them and holds the rows.
//! `open` does not connect, so that an instance which reads a split plans nothing.

mod config;
mod discover;
mod follow;
mod incremental;
mod pieces;
mod relation;
mod server;
mod sql;

use std::cell::OnceCell;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dativo_connector::arrow::batch_from_host;
use dativo_connector::{Batches, Dataset, Error, Reader, Result, postgres};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use config::{Config, Source};
use follow::Follow;
use incremental::{Cursor, State};
use pieces::{Part, Piece, RANGED};
use relation::Relation;
use server::Server;
use sql::{Sql, enclosed, list, quote};

struct PostgresReader {
    config: Config,
    source: Source,
    /// Of the last committed run.
    state: Option<String>,
    plan: OnceCell<Plan>,
}

/// What is known once the catalog was asked. Its connection stays open: it holds the snapshot, and keeps the table from
/// being rewritten while others read it.
struct Plan {
    server: Server,
    schema: SchemaRef,
    /// What a statement has before its `FROM`.
    select: String,
    /// The whole source; `parts` are all of it too.
    from: String,
    parts: Vec<Part>,
    /// Of all pieces.
    filter: Sql,
    decoding: String,
    rows: Option<f64>,
    /// Name and type.
    split_by: Option<(String, String)>,
    followed: Option<Followed>,
    /// Asked for with the splits: it may take as long as reading.
    follow: OnceCell<Follow>,
}

/// What an incremental run begins with.
struct Followed {
    cursor: Cursor,
    last: Option<State>,
    /// Oids of what holds the rows, where these show the transaction that wrote them.
    tables: Option<Vec<u32>>,
}

/// What one instance reads.
#[derive(Serialize, Deserialize)]
struct Split {
    snapshot: String,
    pieces: Vec<Piece>,
    select: String,
    decoding: String,
    /// About how many.
    rows: Option<f64>,
}

impl Reader for PostgresReader {
    const NAME: &'static str = "postgres";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        config::schema()
    }

    fn discover(config: Config) -> Result<Vec<Dataset>> {
        discover::datasets(&Server::open(&config.connection_string, None)?)
    }

    fn open(config: Config, state: Option<String>) -> Result<Self> {
        Ok(Self {
            source: config.source()?,
            config,
            state,
            plan: OnceCell::new(),
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(self.plan()?.schema.clone())
    }

    fn splits(&self, max: u32) -> Result<Vec<String>> {
        let plan = self.plan()?;
        let splits = plan.splits(max)?;
        let snapshot = plan.server.export_snapshot()?;
        let rows = plan.rows.map(|rows| rows / splits.len().max(1) as f64);
        let split = |pieces| Split {
            snapshot: snapshot.clone(),
            pieces,
            select: plan.select.clone(),
            decoding: plan.decoding.clone(),
            rows,
        };
        splits
            .into_iter()
            .map(|pieces| split(pieces).to_text())
            .collect()
    }

    fn state(&self, _ends: Vec<String>) -> Result<Option<String>> {
        let plan = self.plan()?;
        let Some(follow) = plan.follow()? else {
            return Ok(None);
        };
        let state = follow.state(&plan.server)?;
        let text = serde_json::to_string(&state);
        text.map(Some)
            .map_err(|error| Error::internal(error.to_string()))
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let mut split: Split = serde_json::from_str(split)
            .map_err(|error| Error::internal(format!("a split cannot be read: {error}")))?;
        split.pieces.reverse();
        Ok(Box::new(Pieces {
            rows: None,
            server: Server::open(&self.config.connection_string, Some(&split.snapshot))?,
            split,
            batch_rows: self.config.batch_size.unwrap_or(u32::MAX) as usize,
            rows_read: 0,
        }))
    }
}

impl PostgresReader {
    /// Asks the catalog, once.
    fn plan(&self) -> Result<&Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan);
        }
        let server = Server::open(&self.config.connection_string, None)?;
        let plan = match &self.source {
            Source::Table(name) => {
                let relation = Relation::find(&server, name)?;
                self.plan_table(server, &relation)?
            }
            Source::Query(query) => self.plan_query(server, query)?,
        };
        Ok(self.plan.get_or_init(|| plan))
    }

    fn plan_table(&self, server: Server, relation: &Relation) -> Result<Plan> {
        let config = &self.config;
        let columns = relation.selected(&config.columns)?;
        for name in config.types.keys() {
            relation.column(name, "types")?;
        }
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let decoding = config.decoding(relation.decoding(&columns));
        let select = format!("SELECT {}", list(&names));
        let from = format!("\nFROM {}", relation.quoted());
        let filter = self.filter();
        let split_by = match &config.split_by {
            Some(name) => {
                let column = relation.column(name, "split_by")?;
                Some(ranged(name, &column.kind)?)
            }
            None => None,
        };
        // Describing locks the table until the connection ends.
        let schema = server.describe(&format!("{select}{from}{}", filter.text), &decoding)?;
        let storage = relation.storage(&server)?;
        let followed = match &config.incremental {
            Some(incremental) => {
                let kind = |name: &str, key: &str| Ok(relation.column(name, key)?.kind.clone());
                let cursor = Cursor::new(incremental, &relation.key, kind)?;
                Some(self.followed(cursor, storage.tables)?)
            }
            None => None,
        };
        let is_all = config.filter.is_none() && followed.is_none();
        Ok(Plan {
            server,
            schema,
            select,
            from,
            parts: storage.parts,
            filter,
            decoding,
            rows: storage.rows.filter(|_| is_all),
            split_by,
            followed,
            follow: OnceCell::new(),
        })
    }

    fn plan_query(&self, server: Server, query: &str) -> Result<Plan> {
        let config = &self.config;
        let decoding = config.decoding(Map::new());
        let filter = self.filter();
        let wrapped = format!("\nFROM {} AS q", enclosed(query));
        let split_by = match &config.split_by {
            Some(name) => Some(ranged(name, &type_in(&server, &wrapped, name)?)?),
            None => None,
        };
        let followed = match &config.incremental {
            Some(incremental) => {
                let kind = |name: &str, _: &str| type_in(&server, &wrapped, name);
                Some(self.followed(Cursor::new(incremental, &[], kind)?, None)?)
            }
            None => None,
        };
        let is_plain = config.columns.is_empty()
            && filter.text.is_empty()
            && split_by.is_none()
            && followed.is_none();
        let (select, from) = match is_plain {
            true => (query.to_owned(), String::new()),
            false if config.columns.is_empty() => ("SELECT *".to_owned(), wrapped),
            false => (format!("SELECT {}", list(&config.columns)), wrapped),
        };
        let schema = server.describe(&format!("{select}{from}{}", filter.text), &decoding)?;
        let whole = Part {
            from: from.clone(),
            blocks: 0,
            is_cuttable: false,
        };
        Ok(Plan {
            server,
            schema,
            select,
            from,
            parts: vec![whole],
            filter,
            decoding,
            rows: None,
            split_by,
            followed,
            follow: OnceCell::new(),
        })
    }

    fn followed(&self, cursor: Cursor, tables: Option<Vec<u32>>) -> Result<Followed> {
        if tables.is_none() && !cursor.is_unique {
            return Err(Error::invalid_config(
                "`incremental` needs a `key`: what is read has no primary key",
            )
            .hint("name the columns that tell rows of an equal cursor apart: `key: id`"));
        }
        let last = self.state.as_deref();
        let last = last.map(|text| State::parse(text, &cursor)).transpose()?;
        Ok(Followed {
            cursor,
            last,
            tables,
        })
    }

    /// The job's own condition.
    fn filter(&self) -> Sql {
        let mut filter = Sql::default();
        if let Some(condition) = &self.config.filter {
            filter.and().push(&enclosed(condition));
        }
        filter
    }
}

impl Plan {
    fn splits(&self, max: u32) -> Result<Vec<Vec<Piece>>> {
        let (filter, max) = match self.follow()? {
            None => (&self.filter, max),
            Some(follow) if !follow.has_rows => return Ok(Vec::new()),
            Some(follow) if follow.is_small => (&follow.filter, 1),
            Some(follow) => (&follow.filter, max),
        };
        let Some((column, kind)) = self.split_by.as_ref().filter(|_| max > 1) else {
            return Ok(pieces::by_blocks(&self.parts, filter, max));
        };
        let bounds = pieces::bounds(column, kind, &self.from, filter, max);
        let rows = self.server.rows(&bounds)?;
        let bounds: Vec<String> = rows.iter().map(|row| row.text(0)).collect();
        Ok(pieces::by_ranges(column, kind, &bounds, &self.from, filter))
    }

    /// What an incremental run has to read; asks the server once.
    fn follow(&self) -> Result<Option<&Follow>> {
        let Some(followed) = &self.followed else {
            return Ok(None);
        };
        if let Some(follow) = self.follow.get() {
            return Ok(Some(follow));
        }
        let follow = Follow::new(
            &self.server,
            &followed.cursor,
            &self.from,
            self.filter.clone(),
            followed.tables.as_deref(),
            followed.last.as_ref(),
        )?;
        Ok(Some(self.follow.get_or_init(|| follow)))
    }
}

/// The type of a column of a query, which is not run for it.
fn type_in(server: &Server, from: &str, column: &str) -> Result<String> {
    let sql = format!(
        "SELECT pg_catalog.format_type(pg_catalog.pg_typeof(q.{})::oid, -1)\nFROM (SELECT 1) AS one LEFT JOIN LATERAL (SELECT *{from}) AS q ON false",
        quote(column)
    );
    Ok(server.row(&Sql::new(sql))?.text(0))
}

/// A column that can be cut into ranges, with its type.
fn ranged(name: &str, kind: &str) -> Result<(String, String)> {
    if pieces::has_ranges(kind) {
        return Ok((name.to_owned(), kind.to_owned()));
    }
    Err(Error::invalid_config(format!(
        "`split_by` cannot cut column `{name}` of type `{kind}` into ranges"
    ))
    .hint(format!("name a column of type {}", RANGED.join(", "))))
}

impl Split {
    fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal(error.to_string()))
    }
}

/// The pieces of a split, one after the other.
struct Pieces {
    /// Dropped before the connection that they come from.
    rows: Option<postgres::Rows>,
    server: Server,
    /// Its pieces are in reverse order, without those that were begun.
    split: Split,
    batch_rows: usize,
    rows_read: u64,
}

impl Batches for Pieces {
    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let batch = self.next_from_host(max_rows)?;
        batch.as_ref().map(batch_from_host).transpose()
    }

    fn next_from_host(&mut self, max_rows: usize) -> Result<Option<dativo_connector::RecordBatch>> {
        let max_rows = u32::try_from(max_rows.min(self.batch_rows)).unwrap_or(u32::MAX);
        loop {
            if let Some(rows) = &self.rows {
                if let Some(batch) = rows.next(max_rows)? {
                    self.rows_read += batch.rows();
                    return Ok(Some(batch));
                }
                self.rows = None;
            }
            let Some(piece) = self.split.pieces.pop() else {
                return Ok(None);
            };
            let statement = Sql {
                text: format!("{}{}{}", self.split.select, piece.from, piece.filter),
                parameters: piece.parameters,
            };
            self.rows = Some(self.server.read(&statement, &self.split.decoding)?);
        }
    }

    fn progress(&self) -> Option<f32> {
        let rows = self.split.rows.filter(|rows| *rows > 0.0)?;
        Some((self.rows_read as f64 / rows).min(1.0) as f32)
    }
}

dativo_connector::export_reader!(PostgresReader);
