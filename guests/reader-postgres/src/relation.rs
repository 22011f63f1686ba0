//! A table or view as the catalog knows it: its columns, its key, and the parts that hold its rows.

use dativo_connector::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use crate::config::Name;
use crate::pieces::Part;
use crate::server::{Row, Server};
use crate::sql::{Sql, quote};

/// Names that a message lists at most.
const LISTED_NAMES: usize = 20;

pub struct Relation {
    pub name: Name,
    pub kind: Kind,
    pub columns: Vec<Column>,
    /// Of the primary key.
    pub key: Vec<String>,
    oid: String,
    has_children: bool,
    has_policies: bool,
    version: u32,
    /// Whether the role may read all columns, those of the system too: the block and the transaction of a row.
    is_readable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Table,
    Partitioned,
    Materialized,
    View,
    Foreign,
}

pub struct Column {
    pub name: String,
    /// As `format_type` prints it, without a length: a value that is cast to it stays whole.
    pub kind: String,
    pub not_null: bool,
    dimensions: u32,
}

/// Where the rows of a relation are.
pub struct Storage {
    pub parts: Vec<Part>,
    /// About how many.
    pub rows: Option<f64>,
    /// Oids of the tables that hold them, where all are heaps of this server, whose rows show the transaction that wrote
    /// them.
    pub tables: Option<Vec<u32>>,
}

impl Relation {
    /// Looks a relation up by exactly this name.
    pub fn find(server: &Server, name: &Name) -> Result<Self> {
        let mut sql = Sql::new(
            "SELECT c.oid::text, n.nspname::text, c.relname::text, c.relkind::text, c.relhassubclass, \
             c.relrowsecurity, pg_catalog.current_setting('server_version_num'), \
             pg_catalog.has_table_privilege(c.oid, 'SELECT')\n\
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
             WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND c.relname = ",
        );
        sql.push_value(&name.table, "text");
        sql.push(" AND ");
        match &name.schema {
            Some(schema) => {
                sql.push("n.nspname = ");
                sql.push_value(schema, "text");
            }
            None => sql.push("pg_catalog.pg_table_is_visible(c.oid)"),
        }
        let Some(row) = server.rows(&sql)?.into_iter().next() else {
            return Err(not_found(server, name)?);
        };
        let (columns, key) = columns(server, &row)?;
        Ok(Self {
            name: Name {
                schema: Some(row.text(1)),
                table: row.text(2),
            },
            kind: kind(&row.text(3)),
            columns,
            key,
            oid: row.text(0),
            has_children: row.is(4),
            has_policies: row.is(5),
            version: row.number(6)?,
            is_readable: row.is(7),
        })
    }

    /// The columns to read, all where the job names none.
    pub fn selected(&self, wanted: &[String]) -> Result<Vec<&Column>> {
        if wanted.is_empty() {
            return Ok(self.columns.iter().collect());
        }
        let column = |name: &String| self.column(name, "columns");
        wanted.iter().map(column).collect()
    }

    /// The column that the config names under `key`.
    pub fn column(&self, name: &str, key: &str) -> Result<&Column> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| {
            let near = self
                .columns
                .iter()
                .find(|column| column.name.to_lowercase() == name.to_lowercase());
            let names: Vec<String> = self
                .columns
                .iter()
                .take(LISTED_NAMES)
                .map(|column| format!("`{}`", column.name))
                .collect();
            let more = match self.columns.len() > LISTED_NAMES {
                true => " and more",
                false => "",
            };
            Error::invalid_config(format!("`{}` has no column `{name}`", self.name)).hint(
                match near {
                    Some(near) => format!("write `{}` under `{key}`: capitals count", near.name),
                    None => format!("`{key}` may name {}{more}", names.join(", ")),
                },
            )
        })
    }

    /// What the catalog says of `columns` that decoding can use.
    pub fn decoding(&self, columns: &[&Column]) -> Map<String, Value> {
        // Views and foreign tables promise nothing, and a child may allow what its parent does not.
        let is_kept = match self.kind {
            Kind::Table => !self.has_children,
            Kind::Partitioned => true,
            Kind::Materialized | Kind::View | Kind::Foreign => false,
        };
        let known = columns.iter().filter_map(|column| {
            let mut says = Map::new();
            if column.not_null && is_kept {
                says.insert("not_null".to_owned(), json!(true));
            }
            if column.dimensions > 1 {
                says.insert("dimensions".to_owned(), json!(column.dimensions));
            }
            (!says.is_empty()).then(|| (column.name.clone(), says.into()))
        });
        known.collect()
    }

    /// `"sales"."orders"`
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }

    /// Where the rows are. From here to the end of the connection no part can be rewritten, so that blocks
    /// which are cut now mean the same to whoever reads them.
    pub fn storage(&self, server: &Server) -> Result<Storage> {
        if self.has_children || self.kind == Kind::Partitioned {
            // Planning locks every child; describing locks the parent only.
            server.rows(&Sql::new(format!(
                "SELECT 1 FROM {} LIMIT 0",
                self.quoted()
            )))?;
        }
        let tree = match self.kind {
            Kind::Partitioned => {
                "SELECT relid AS oid FROM pg_catalog.pg_partition_tree($1::oid::regclass)"
            }
            _ => {
                "SELECT $1::oid AS oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i \
                 JOIN tree ON i.inhparent = tree.oid"
            }
        };
        let sql = Sql {
            text: format!(
                "WITH RECURSIVE tree AS (\n{tree}\n)\n\
                 SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'm') AND c.relam = 2, \
                 c.relrowsecurity, pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
                 CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid) \
                 / pg_catalog.current_setting('block_size')::bigint ELSE c.relpages END, c.reltuples::text, c.oid::text\n\
                 FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
                 WHERE c.relkind <> 'p'\nORDER BY c.oid"
            ),
            parameters: vec![Some(self.oid.clone())],
        };
        let leaves = server.rows(&sql)?;
        let leaves: Vec<Leaf> = leaves.iter().map(Leaf::new).collect::<Result<_>>()?;
        Ok(self.divided(leaves))
    }

    fn divided(&self, leaves: Vec<Leaf>) -> Storage {
        let has_transactions = self.is_readable
            && matches!(self.kind, Kind::Table | Kind::Partitioned)
            && leaves.iter().all(|leaf| leaf.is_heap);
        let tables = has_transactions.then(|| leaves.iter().map(|leaf| leaf.oid).collect());
        let is_counted = !leaves.is_empty() && leaves.iter().all(|leaf| leaf.rows >= 0.0);
        let rows = is_counted.then(|| leaves.iter().map(|leaf| leaf.rows).sum());
        // Before version 14 a range of blocks is found by reading all of them.
        let has_ranges = self.version >= 140_000 && self.is_readable;
        let blocks = leaves.iter().map(|leaf| leaf.blocks);
        let parts = if self.kind != Kind::Partitioned {
            // A range of blocks applies to each child, so the largest one decides where to cut.
            let is_cuttable = has_ranges && leaves.iter().all(|leaf| leaf.is_heap);
            vec![self.whole(blocks.max().unwrap_or_default(), is_cuttable)]
        } else if self.has_policies
            || leaves
                .iter()
                .any(|leaf| leaf.has_policies || !leaf.is_readable)
        {
            // Read by itself, a partition has its own policies and privileges instead of its parent's.
            vec![self.whole(blocks.sum(), false)]
        } else {
            let part = |leaf: &Leaf| Part {
                // The condition of a job may name the parent.
                from: format!(
                    "\nFROM {} AS {}",
                    quoted(&leaf.name),
                    quote(&self.name.table)
                ),
                blocks: leaf.blocks,
                is_cuttable: has_ranges && leaf.is_heap,
            };
            leaves.iter().map(part).collect()
        };
        // A partitioned table without partitions is an empty table.
        let parts = match parts.is_empty() {
            true => vec![self.whole(0, false)],
            false => parts,
        };
        Storage {
            parts,
            rows,
            tables,
        }
    }

    /// All rows, by the relation's own name.
    fn whole(&self, blocks: u64, is_cuttable: bool) -> Part {
        Part {
            from: format!("\nFROM {}", self.quoted()),
            blocks,
            is_cuttable,
        }
    }
}

/// A relation that holds rows itself.
struct Leaf {
    oid: u32,
    name: Name,
    is_heap: bool,
    has_policies: bool,
    is_readable: bool,
    blocks: u64,
    /// Below 0: never counted.
    rows: f64,
}

impl Leaf {
    fn new(row: &Row) -> Result<Self> {
        Ok(Self {
            oid: row.number(7)?,
            name: Name {
                schema: Some(row.text(0)),
                table: row.text(1),
            },
            is_heap: row.is(2),
            has_policies: row.is(3),
            is_readable: row.is(4),
            blocks: row.number(5)?,
            rows: row.number(6)?,
        })
    }
}

fn quoted(name: &Name) -> String {
    match &name.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&name.table)),
        None => quote(&name.table),
    }
}

fn kind(relkind: &str) -> Kind {
    match relkind {
        "p" => Kind::Partitioned,
        "m" => Kind::Materialized,
        "v" => Kind::View,
        "f" => Kind::Foreign,
        _ => Kind::Table,
    }
}

/// The columns of the relation `row` begins with, and those of its primary key in the key's order.
fn columns(server: &Server, row: &Row) -> Result<(Vec<Column>, Vec<String>)> {
    // Version 18 has constraints that are not valid yet; before there are none of this kind.
    let mut sql = Sql::new(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, -1), a.attnotnull AND NOT EXISTS (\n\
         SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' \
         AND NOT k.convalidated AND a.attnum = ANY (k.conkey)), a.attndims::text, (\n\
         SELECT k.position::text FROM pg_catalog.pg_index i, \
         pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position) \
         WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.number = a.attnum AND k.position <= i.indnkeyatts)\n\
         FROM pg_catalog.pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ",
    );
    sql.push_value(&row.text(0), "oid");
    sql.push("\nORDER BY a.attnum");
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for row in server.rows(&sql)? {
        if row.get(4).is_some() {
            key.push((row.number::<i32>(4)?, row.text(0)));
        }
        columns.push(Column {
            name: row.text(0),
            kind: row.text(1),
            not_null: row.is(2),
            dimensions: row.number(3)?,
        });
    }
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// Says that there is no such relation, and which ones have nearly its name.
fn not_found(server: &Server, name: &Name) -> Result<Error> {
    let mut sql = Sql::new(
        "SELECT n.nspname::text, c.relname::text\n\
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
         WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND pg_catalog.lower(c.relname::text) = pg_catalog.lower(",
    );
    sql.push_value(&name.table, "text");
    sql.push(")\nORDER BY c.relname <> ");
    sql.push_value(&name.table, "text");
    sql.push(", n.nspname\nLIMIT 5");
    let near: Vec<String> = server
        .rows(&sql)?
        .iter()
        .map(|row| Name {
            schema: Some(row.text(0)),
            table: row.text(1),
        })
        .map(|name| format!("`table: {name}`"))
        .collect();
    let error = Error::new(
        ErrorKind::NotFound,
        format!("there is no table or view `{name}`"),
    );
    Ok(error.hint(match near.as_slice() {
        [] => "see what there is with `dativo-wasm discover JOB`".to_owned(),
        near => format!(
            "write {}: names are exact, capitals count",
            near.join(" or ")
        ),
    }))
}
