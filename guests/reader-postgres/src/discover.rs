//! What a database holds that the role may read: tables and views, with their keys and what an incremental run could
//! follow.

use dativo_connector::{Column, Dataset, Error, Result, log};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Name;
use crate::server::{Row, Server};
use crate::sql::Sql;

/// Tables and views that are listed at most.
const MOST_DATASETS: usize = 10_000;

/// Tables in one answer: at 1,600 columns each it stays below what the host takes.
const PAGE: usize = 100;

/// The tables and views after `$1`, in order of their oid. Partitions are part of their table.
const LIST: &str = "\
SELECT c.oid::text, n.nspname::text, c.relname::text, c.relkind::text,
  CASE c.relkind WHEN 'v' THEN NULL WHEN 'p' THEN (
    SELECT pg_catalog.sum(l.reltuples::numeric) FROM pg_catalog.pg_partition_tree(c.oid) t
    JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf
    HAVING pg_catalog.bool_and(l.reltuples > 0 OR l.reltuples = 0 AND l.relpages > 0))
  ELSE CASE WHEN c.reltuples > 0 OR c.reltuples = 0 AND c.relpages > 0 THEN c.reltuples::numeric END END::bigint::text,
  (SELECT pg_catalog.json_agg(a.attname ORDER BY k.position) FROM (
    SELECT i.indrelid, i.indkey, i.indnkeyatts FROM pg_catalog.pg_index i
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (
        SELECT FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) AS best,
    pg_catalog.unnest(best.indkey::int2[]) WITH ORDINALITY AS k (number, position)
    JOIN pg_catalog.pg_attribute a ON a.attnum = k.number
    WHERE a.attrelid = best.indrelid AND k.position <= best.indnkeyatts)::text,
  (SELECT pg_catalog.json_agg(a.attname) FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL)::text,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname,
      'source_type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'nullable', NOT a.attnotnull) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid > $1::oid AND c.relkind IN ('r', 'p', 'm', 'v', 'f') AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY c.oid
LIMIT $2::bigint";

/// All that the role may read, by name.
pub fn datasets(server: &Server) -> Result<Vec<Dataset>> {
    let (mut found, mut last) = (Vec::new(), "0".to_owned());
    loop {
        let page = server.rows(&Sql {
            text: LIST.to_owned(),
            parameters: vec![Some(last), Some(PAGE.to_string())],
        })?;
        for row in &page {
            found.push(dataset(row)?);
        }
        last = match page.last() {
            Some(row) if page.len() == PAGE && found.len() < MOST_DATASETS => row.text(0),
            Some(_) if page.len() == PAGE => {
                log::write(
                    log::Level::Warn,
                    &format!("only the first {MOST_DATASETS} tables are listed"),
                );
                break;
            }
            _ => break,
        };
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    source_type: String,
    nullable: bool,
}

fn dataset(row: &Row) -> Result<Dataset> {
    let name = Name {
        schema: Some(row.text(1)),
        table: row.text(2),
    };
    let key: Vec<String> = json(row.get(5))?;
    let indexed: Vec<String> = json(row.get(6))?;
    let columns: Vec<Listed> = json(row.get(7))?;
    Ok(Dataset {
        name: name.to_string(),
        kind: kind(&row.text(3)).to_owned(),
        rows: row.get(4).and_then(|rows| rows.parse().ok()),
        cursors: cursors(&columns, &key, &indexed),
        key,
        columns: columns
            .into_iter()
            .map(|column| Column {
                name: column.name,
                source_type: column.source_type,
                nullable: column.nullable,
            })
            .collect(),
    })
}

/// A list that is null where it is empty.
fn json<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T> {
    let Some(text) = text else {
        return Ok(T::default());
    };
    serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("the catalog cannot be read: {error}")))
}

fn kind(relkind: &str) -> &'static str {
    match relkind {
        "p" => "partitioned table",
        "m" => "materialized view",
        "v" => "view",
        "f" => "foreign table",
        _ => "table",
    }
}

/// What an incremental run could follow, best first: the time of the last change, other times that an index serves, and a
/// key that counts.
fn cursors(columns: &[Listed], key: &[String], indexed: &[String]) -> Vec<String> {
    let rank = |column: &Listed| {
        let name = column.name.to_lowercase();
        let is_time =
            column.source_type.starts_with("timestamp") && !column.source_type.ends_with("[]");
        let is_change = ["updat", "modif", "chang"]
            .iter()
            .any(|word| name.contains(word));
        let is_count = ["smallint", "integer", "bigint"].contains(&column.source_type.as_str());
        match () {
            () if is_time && is_change => Some(0),
            () if is_time && indexed.contains(&column.name) => Some(1),
            () if is_count && key == std::slice::from_ref(&column.name) => Some(2),
            () => None,
        }
    };
    let mut ranked: Vec<(i32, &str)> = columns
        .iter()
        .filter_map(|column| Some((rank(column)?, column.name.as_str())))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_comes_before_what_only_grows() {
        let column = |name: &str, kind: &str| Listed {
            name: name.to_owned(),
            source_type: kind.to_owned(),
            nullable: false,
        };
        let columns = [
            column("id", "bigint"),
            column("created_at", "timestamp with time zone"),
            column("seen_at", "timestamp with time zone"),
            column("Last_Modified", "timestamp(3) without time zone"),
            column("changes", "integer"),
            column("change_times", "timestamp with time zone[]"),
        ];
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let indexed = names(&["id", "created_at"]);
        assert_eq!(
            cursors(&columns, &names(&["id"]), &indexed),
            ["Last_Modified", "created_at", "id"]
        );
        // One number of several that make the key counts nothing by itself.
        assert_eq!(
            cursors(&columns[..1], &names(&["id", "at"]), &indexed),
            names(&[])
        );
    }
}
