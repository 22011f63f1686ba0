//! The `config` block: keys, defaults, and what they mean. Knows no server.

use std::collections::BTreeMap;
use std::fmt;

use dativo_connector::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::sql::trimmed;

/// `text`, `float64` or `decimal(p,s)`.
const NUMERIC_PATTERN: &str = r"^(text|float64|decimal\([1-9][0-9]?, ?[0-9]{1,2}\))$";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub connection_string: String,
    table: Option<String>,
    query: Option<String>,
    #[serde(default)]
    pub columns: Vec<String>,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    pub batch_size: Option<u32>,
    pub split_by: Option<String>,
    pub numeric: Option<String>,
    pub infinity: Option<String>,
    pub nan: Option<String>,
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    pub incremental: Option<Incremental>,
}

/// How a run finds what is new.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    pub cursor: String,
    #[serde(default, deserialize_with = "one_or_more")]
    pub key: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lag")]
    pub lag: Option<Lag>,
}

/// How far behind the greatest value of a cursor a new row may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    Number(i64),
    Seconds(u32),
}

/// What a job reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Table(Name),
    /// Without what ends a statement.
    Query(String),
}

/// A table as the job names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// None: the first of the search path that has the table.
    pub schema: Option<String>,
    pub table: String,
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        More(Vec<String>),
    }
    Ok(match Option::<Names>::deserialize(from)? {
        Some(Names::One(name)) => Some(vec![name]),
        Some(Names::More(names)) => Some(names),
        None => None,
    })
}

fn lag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Lag>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Duration(String),
    }
    match Option::<Written>::deserialize(from)? {
        Some(Written::Number(number)) => Ok(Some(Lag::Number(number))),
        Some(Written::Duration(text)) => match seconds(&text) {
            Some(seconds) => Ok(Some(Lag::Seconds(seconds))),
            None => Err(serde::de::Error::custom(format!(
                "`{text}` is not a duration such as `15m`"
            ))),
        },
        None => Ok(None),
    }
}

/// `90s`, `15m`, `2h`, `7d`
fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(seconds)
}

impl Config {
    pub fn source(&self) -> Result<Source> {
        match (&self.table, &self.query) {
            (Some(table), None) => Name::parse(table).map(Source::Table),
            (None, Some(query)) if trimmed(query).is_empty() => {
                Err(Error::invalid_config("`query` is empty"))
            }
            (None, Some(query)) => Ok(Source::Query(trimmed(query).to_owned())),
            (Some(_), Some(_)) => Err(Error::invalid_config(
                "`table` and `query` exclude each other",
            )
            .hint("keep the one that says what to read")),
            (None, None) => Err(Error::invalid_config(
                "the config names neither a `table` nor a `query`",
            )
            .hint("add `table: orders`; `dativo-wasm discover JOB` lists what there is")),
        }
    }

    /// What the host has to know to decode rows, beside what `columns` says of each of them.
    pub fn decoding(&self, mut columns: Map<String, Value>) -> String {
        for (name, kind) in &self.types {
            let column = columns.entry(name.clone()).or_insert_with(|| json!({}));
            column["as"] = json!(kind);
        }
        let mut decoding = Map::new();
        for (key, value) in [
            ("numeric", &self.numeric),
            ("infinity", &self.infinity),
            ("nan", &self.nan),
        ] {
            if let Some(value) = value {
                decoding.insert(key.to_owned(), json!(value));
            }
        }
        decoding.insert("columns".to_owned(), columns.into());
        Value::from(decoding).to_string()
    }
}

impl Name {
    /// Reads `orders`, `sales.orders` or `"Odd.Name"."x""y"`. What is not quoted is taken as it is
    /// written, with its capitals.
    fn parse(text: &str) -> Result<Self> {
        let malformed = |what: &str| {
            Error::invalid_config(format!("`table` is {what}: `{text}`")).hint(
                "write `table: schema.name`; a part that holds a dot or a quote stands in double quotes: \
                 `table: '\"odd.name\"'`",
            )
        };
        let mut parts = parts(text).ok_or_else(|| malformed("not a name"))?;
        let table = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        if !parts.is_empty() {
            return Err(malformed("a name of more than two parts")
                .hint("the database stands in `connection_string`; write `table: schema.name`"));
        }
        Ok(Self { schema, table })
    }
}

/// The parts between the dots. None where one is empty or a quote is not closed.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if part.is_empty() || part.contains('\0') {
            return None;
        }
        parts.push(part);
        if after.is_empty() {
            return Some(parts);
        }
        rest = after.strip_prefix('.')?;
    }
}

/// The text up to the closing quote, and what stands after it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Some((part, after)),
        }
    }
}

impl fmt::Display for Name {
    /// As the config would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", written(schema))?;
        }
        f.write_str(&written(&self.table))
    }
}

fn written(part: &str) -> String {
    match part.contains(['.', '"']) {
        true => crate::sql::quote(part),
        false => part.to_owned(),
    }
}

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    json!({
        "type": "object",
        "required": ["connection_string"],
        "additionalProperties": false,
        "properties": {
            "connection_string": { "type": "string", "minLength": 1,
                "description": "The server and the database: \
                    `postgresql://user:${SECRET:PG_PASSWORD}@host:5432/database?sslmode=verify-full`. A role that may \
                    only read is all that is needed; a replica will do." },
            "table": { "type": "string", "minLength": 1,
                "description": "The table, view, materialized view, partitioned or foreign table to read: `orders` or \
                    `sales.orders`, in exactly these letters. A part that holds a dot or a quote stands in double \
                    quotes, `\"odd.name\"`. Either this or `query`." },
            "query": { "type": "string", "minLength": 1,
                "description": "One `SELECT` to read instead of a table. Its columns need names that differ." },
            "columns": { "type": "array", "items": { "type": "string", "minLength": 1 }, "uniqueItems": true, "default": [],
                "description": "The columns to read, in this order; all by default." },
            "where": { "type": "string", "minLength": 1,
                "description": "A condition in SQL on the rows to read: `status = 'paid' AND amount > 0`." },
            "batch_size": { "type": "integer", "minimum": 1,
                "description": "Rows in a batch at most. Batches also end at about 2 MiB, and at the job's own limit." },
            "split_by": { "type": "string", "minLength": 1,
                "description": "A column of whole numbers, dates or timestamps by whose ranges several instances share \
                    the rows. Tables are shared by their blocks and need none; views, foreign tables and queries are \
                    read by one instance without it. An index on it pays." },
            "numeric": { "type": "string", "pattern": NUMERIC_PATTERN,
                "description": "How to read `numeric` without a precision: `text` (the default, exact), `decimal(p,s)` \
                    (exact, or the run fails) or `float64`." },
            "infinity": { "enum": ["error", "null", "saturate"],
                "description": "What becomes of infinite dates and timestamps: the run fails (the default), null, or the \
                    least and greatest value of the type." },
            "nan": { "enum": ["error", "null"],
                "description": "What becomes of NaN and infinity in a `numeric` that is read as a decimal: the run fails \
                    (the default), or null." },
            "types": { "type": "object", "default": {},
                "additionalProperties": { "type": "string", "pattern": NUMERIC_PATTERN },
                "description": "How to read single columns: `{amount: \"decimal(18,4)\"}`. `text` is the server's text \
                    form and works for any type; the others for `numeric`." },
            "incremental": { "type": "object", "required": ["cursor"], "additionalProperties": false,
                "description": "Read what is new since the last committed run. Of tables, each committed version of a row \
                    is read once, late commits and equal cursors included; of views, foreign tables and queries, the rows \
                    behind the last position. Deleted rows are not seen.",
                "properties": {
                    "cursor": { "type": "string", "minLength": 1,
                        "description": "A column whose value grows with each insert or update: whole numbers, a date, a \
                            timestamp, a UUID of version 7 or text." },
                    "key": { "type": ["string", "array"], "minLength": 1, "items": { "type": "string", "minLength": 1 },
                        "description": "The column or columns that tell rows of an equal cursor apart; the primary key by \
                            default." },
                    "lag": { "type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]{1,6}[smhd]$",
                        "description": "A duration (`90s`, `15m`, `2h`, `7d`), or a number where the cursor is one. Of a \
                            table: how far below the greatest cursor a new row may come, so that an index on the cursor \
                            finds the new rows; without it each run looks through the whole table, and misses nothing. Of \
                            anything else: rows this young wait for a later run, since others may yet come before them." },
                } },
        },
        "x-dativo-grants": [
            { "capability": "postgres", "access": "connect", "target": "{connection_string}" },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = text.strip_prefix('{').unwrap();
        serde_json::from_str(&format!(
            r#"{{"connection_string": "postgresql://h/d", {text}"#
        ))
        .unwrap()
    }

    #[test]
    fn refuses_what_names_no_source() {
        for (text, message) in [
            (r#"{"columns": []}"#, "neither a `table` nor a `query`"),
            (
                r#"{"table": "t", "query": "SELECT 1"}"#,
                "exclude each other",
            ),
            (r#"{"query": " ; "}"#, "`query` is empty"),
            (r#"{"table": "a..b"}"#, "not a name"),
            (r#"{"table": "a."}"#, "not a name"),
            (r#"{"table": "\"a"}"#, "not a name"),
            (r#"{"table": "\"a\"b"}"#, "not a name"),
            (r#"{"table": "\"\""}"#, "not a name"),
            (r#"{"table": "db.s.t"}"#, "more than two parts"),
        ] {
            let error = config(text).source().unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_table_is_named_in_exactly_these_letters() {
        let check = |text: &str, schema: Option<&str>, table: &str| {
            let name = Name::parse(text).unwrap();
            assert_eq!(
                (name.schema.as_deref(), name.table.as_str()),
                (schema, table)
            );
            assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        };
        check("orders", None, "orders");
        check("Sales.Orders", Some("Sales"), "Orders");
        check(r#""Odd.Name"."x""y""#, Some("Odd.Name"), r#"x"y"#);
        check(r#"s."; drop table t""#, Some("s"), "; drop table t");
        check("größe", None, "größe");
        check("a b", None, "a b");
    }

    #[test]
    fn the_schema_and_the_type_know_the_same_keys() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let refused = serde_json::from_str::<Config>(r#"{"?": 1}"#).unwrap_err();
        for key in &keys {
            assert!(refused.to_string().contains(&format!("`{key}`")), "{key}");
        }
        let known = refused.to_string().matches('`').count() / 2 - 1;
        assert_eq!(known, keys.len());
    }

    #[test]
    fn a_lag_is_a_duration_or_a_number() {
        let check = |lag: &str, expected: Option<Lag>| {
            let text = format!(r#"{{"cursor": "at", "key": "id", "lag": {lag}}}"#);
            let read = serde_json::from_str::<Incremental>(&text);
            assert_eq!(read.ok().and_then(|read| read.lag), expected, "{lag}");
        };
        check(r#""90s""#, Some(Lag::Seconds(90)));
        check(r#""7d""#, Some(Lag::Seconds(604_800)));
        check("1000", Some(Lag::Number(1000)));
        for wrong in [
            r#""""#,
            r#""7""#,
            r#""d""#,
            r#""-1d""#,
            r#""99999999d""#,
            r#""1é""#,
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn decoding_says_what_the_job_and_the_catalog_say() {
        let config = config(r#"{"numeric": "float64", "types": {"a": "text", "b": "text"}}"#);
        let mut columns = Map::new();
        columns.insert("a".to_owned(), json!({"not_null": true}));
        let decoding: Value = serde_json::from_str(&config.decoding(columns)).unwrap();
        assert_eq!(
            decoding,
            json!({"numeric": "float64",
                "columns": {"a": {"not_null": true, "as": "text"}, "b": {"as": "text"}}})
        );
    }
}
