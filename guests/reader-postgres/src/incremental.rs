//! Where an incremental run begins and ends. Pure: statements and decisions; `follow.rs` asks the server.
//!
//! A table is followed by transactions: a run takes the row versions of all transactions that were over when it began
//! and not over when the run before began. Nothing is missed or repeated, whatever the values of the cursor are. Where
//! transactions are not known (views, foreign tables, queries) a run takes the rows behind the position of the one before,
//! a position being the cursor and the key together.
//!
//! All comparisons are the server's.

use dativo_connector::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Incremental, Lag};
use crate::sql::{Sql, quote};

/// Transaction ids of rows have 32 bits, so their order is known within half of that.
const MOST_TRANSACTIONS: i64 = 1 << 31;

/// What a committed run leaves to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The cursor and the key.
    pub columns: Vec<String>,
    /// Their greatest values so far, in text form. None before the first row that has a cursor.
    pub position: Option<Vec<String>>,
    /// Every transaction below was over, and all of its rows were read.
    pub horizon: Option<i64>,
    /// The database cluster that the horizon is of.
    pub system: Option<String>,
    /// Oids of the tables and partitions that were read.
    pub tables: Vec<u32>,
    /// The least cursor of the rows that were there and waited. The lag counts from it where it is below the position.
    pub waiting: Option<String>,
}

/// The columns that a run follows.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The cursor and then the key, with the types that `format_type` prints.
    columns: Vec<(String, String)>,
    /// Whether no two rows have the same position.
    pub is_unique: bool,
    class: Class,
    lag: Option<Lag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Number,
    Date,
    Uuid,
    Text,
}

/// What the server says of its transactions at the run's point in time.
#[derive(Debug)]
pub struct Now {
    /// Every transaction below was over.
    pub horizon: i64,
    /// Every transaction from here on had not begun.
    pub next: i64,
    pub is_replica: bool,
    pub system: Option<String>,
}

/// The transactions of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Window {
    /// All up to the horizon.
    First,
    Since(i64),
    Nothing,
    /// They cannot be told from those of the last run.
    Unknown(&'static str),
}

impl State {
    /// The state of the last run, if it followed the same columns.
    pub fn parse(text: &str, cursor: &Cursor) -> Result<Self> {
        let state: Self = serde_json::from_str(text).map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!("the state cannot be read: {error}"),
            )
            .hint("read everything again after `dativo-wasm state reset JOB`")
        })?;
        let columns = cursor.names();
        if state.columns == columns {
            return Ok(state);
        }
        let shown = |names: &[String]| format!("`{}`", names.join("`, `"));
        Err(Error::invalid_config(format!(
            "the last run followed {}, and the job now follows {}",
            shown(&state.columns),
            shown(&columns)
        ))
        .hint("name the same cursor and key, or read everything again after `dativo-wasm state reset JOB`"))
    }
}

impl Window {
    pub fn new(last: Option<&State>, now: &Now) -> Self {
        let Some(last) = last else { return Self::First };
        let Some(horizon) = last.horizon else {
            return Self::Unknown("the last run could not see transactions");
        };
        if let (Some(last), Some(now)) = (&last.system, &now.system)
            && last != now
        {
            return Self::Unknown("the last run read another server");
        }
        match now.horizon.saturating_sub(horizon) {
            0 => Self::Nothing,
            // A replica that is behind the server which the last run read.
            ..0 if now.is_replica => Self::Nothing,
            ..0 => Self::Unknown("the server was set back to an earlier time"),
            MOST_TRANSACTIONS.. => {
                Self::Unknown("there were two billion transactions since the last run")
            }
            _ => Self::Since(horizon),
        }
    }
}

impl Now {
    /// The condition that a row version is of a transaction from `start` to the horizon.
    pub fn since(&self, start: i64) -> String {
        format!("{} < {}", after(start), self.horizon - start)
    }

    /// The condition that a row version is of a transaction before the horizon. Those behind it wait: a transaction that
    /// is not over may stand among them.
    pub fn before(&self) -> Option<String> {
        let count = self.next - self.horizon;
        (count > 0).then(|| format!("{} >= {count}", after(self.horizon)))
    }

    /// The condition that a row version waits.
    pub fn waiting(&self) -> Option<String> {
        let count = self.next - self.horizon;
        (count > 0).then(|| format!("{} < {count}", after(self.horizon)))
    }

    /// Adds the condition that a row version is new since the run that read up to `start`, and at most the lag below the
    /// cursors in `floor`. Of a table in `added`, which that run did not know, every row is: it may have been filled
    /// before it was attached or renamed.
    pub fn new_since(
        &self,
        start: i64,
        added: &[u32],
        cursor: &Cursor,
        floor: &[String],
        filter: &mut Sql,
    ) -> Result<()> {
        filter.and();
        if !added.is_empty() {
            let oids: Vec<String> = added.iter().map(u32::to_string).collect();
            filter.push(&format!(
                "(tableoid = ANY ('{{{}}}'::oid[])",
                oids.join(",")
            ));
            if let Some(before) = self.before() {
                filter.push(&format!(" AND {before}"));
            }
            filter.push("\n  OR ");
        }
        filter.push(&self.since(start));
        cursor.within_lag(floor, filter)?;
        if !added.is_empty() {
            filter.push(")");
        }
        Ok(())
    }
}

/// How many transactions after `start` a row version was written, modulo 2^32.
fn after(start: i64) -> String {
    format!("((xmin::text::bigint - {start}) & 4294967295)")
}

impl Cursor {
    /// `kind` gives the type of a column that a key of the config names; `primary` is the primary key.
    pub fn new(
        config: &Incremental,
        primary: &[String],
        kind: impl Fn(&str, &str) -> Result<String>,
    ) -> Result<Self> {
        let cursor = &config.cursor;
        let cursor_kind = kind(cursor, "incremental.cursor")?;
        let class = class(cursor, &cursor_kind)?;
        let key = config.key.as_deref().unwrap_or(primary);
        let mut columns = vec![(cursor.clone(), cursor_kind)];
        for name in key.iter().filter(|name| *name != cursor) {
            columns.push((name.clone(), kind(name, "incremental.key")?));
        }
        check_lag(config.lag, class, &columns[0])?;
        Ok(Self {
            is_unique: !key.is_empty(),
            columns,
            class,
            lag: config.lag,
        })
    }

    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn has_lag(&self) -> bool {
        self.lag.is_some()
    }

    /// Adds the condition that a row is behind `position`, or has no cursor. Where positions are not unique, rows at it
    /// are taken again, so that none of them is missed.
    pub fn beyond_or_null(&self, position: &[String], filter: &mut Sql) {
        filter.and().push("(");
        let operator = if self.is_unique { ">" } else { ">=" };
        self.compare(operator, position, filter);
        filter.push(&format!(" OR {} IS NULL)", self.cursor()));
    }

    /// Adds the condition that a row is behind `position`.
    pub fn beyond(&self, position: &[String], filter: &mut Sql) {
        self.compare(">", position, filter.and());
    }

    /// Adds the condition that a row is not behind `position`.
    pub fn up_to(&self, position: &[String], filter: &mut Sql) {
        self.compare("<=", position, filter.and());
    }

    fn compare(&self, operator: &str, position: &[String], sql: &mut Sql) {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quote(name)).collect();
        sql.push(&format!("({}) {operator} (", names.join(", ")));
        self.push_values(position, sql);
        sql.push(")");
    }

    fn push_values(&self, position: &[String], sql: &mut Sql) {
        for (index, (value, (_, kind))) in position.iter().zip(&self.columns).enumerate() {
            if index > 0 {
                sql.push(", ");
            }
            sql.push_value(value, kind);
        }
    }

    fn cursor(&self) -> String {
        quote(&self.columns[0].0)
    }

    /// The cursors from which the next run counts the lag. None without a lag, or before the first cursor.
    pub fn floor(&self, last: Option<&State>) -> Vec<String> {
        let position = last.and_then(|last| last.position.as_ref()?.first());
        match (self.lag, position) {
            (Some(_), Some(position)) => {
                let waiting = last.and_then(|last| last.waiting.as_ref());
                [Some(position), waiting]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Adds to a condition that a row's cursor is at most the lag below the least of `floor`, which an index on it can
    /// serve.
    pub fn within_lag(&self, floor: &[String], filter: &mut Sql) -> Result<()> {
        let (Some(lag), false) = (self.lag, floor.is_empty()) else {
            return Ok(());
        };
        let least = |number: &dyn Fn(&str) -> Option<i64>| {
            let numbers = floor
                .iter()
                .map(|value| number(value).ok_or_else(|| unreadable(value)));
            numbers
                .collect::<Result<Vec<i64>>>()
                .map(|numbers| numbers.into_iter().min().unwrap_or_default())
        };
        let (cursor, kind) = (self.cursor(), &self.columns[0].1);
        filter.push(&format!("\n  AND ({cursor} >= "));
        match lag {
            Lag::Number(number) => {
                let last = least(&|value| value.parse().ok())?;
                filter.push_value(&last.saturating_sub(number).to_string(), "bigint");
            }
            Lag::Seconds(seconds) if self.class == Class::Uuid => {
                let last = least(&uuid_ms)?;
                filter.push_value(&uuid_at(last.saturating_sub(milliseconds(seconds))), "uuid");
            }
            Lag::Seconds(seconds) => {
                filter.push("LEAST(");
                for (index, value) in floor.iter().enumerate() {
                    filter.push(if index > 0 { ", " } else { "" });
                    filter.push_value(value, kind);
                }
                filter.push(") - ");
                filter.push_value(&format!("{seconds} seconds"), "interval");
            }
        }
        filter.push(&format!(" OR {cursor} IS NULL)"));
        Ok(())
    }

    /// Asks for the least cursor of the rows of `from` that meet `filter`.
    pub fn least(&self, from: &str, filter: &Sql) -> Sql {
        let value = self.value(0);
        // `NULLS FIRST` keeps the server from walking an index from its beginning to the few rows that wait.
        Sql {
            text: format!(
                "SELECT p.c0::text\nFROM (SELECT {value} AS c0{from}{}) AS p\nWHERE p.c0 IS NOT NULL\n\
                 ORDER BY p.c0 NULLS FIRST\nLIMIT 1",
                filter.text
            ),
            parameters: filter.parameters.clone(),
        }
    }

    /// A column of the position. Nothing comes after infinity, so it cannot be one.
    fn value(&self, index: usize) -> String {
        let name = quote(&self.columns[index].0);
        match (index, self.class) {
            (0, Class::Date) => format!("CASE WHEN pg_catalog.isfinite({name}) THEN {name} END"),
            _ => name,
        }
    }

    /// Asks for the greatest position among the rows of `from` that meet `filter`, and whether it is behind `last`. One row
    /// of nulls where no row has a cursor, none where there is no row.
    pub fn greatest(&self, from: &str, filter: &Sql, last: Option<&[String]>) -> Sql {
        let names: Vec<String> = (0..self.columns.len())
            .map(|index| format!("p.c{index}"))
            .collect();
        let inner: Vec<String> = (0..self.columns.len())
            .map(|index| format!("{} AS c{index}", self.value(index)))
            .collect();
        let mut sql = Sql {
            text: String::from("SELECT "),
            parameters: filter.parameters.clone(),
        };
        match last {
            Some(last) => {
                sql.push(&format!("({}) > (", names.join(", ")));
                self.push_values(last, &mut sql);
                sql.push(")");
            }
            None => sql.push("p.c0 IS NOT NULL"),
        }
        for name in &names {
            sql.push(&format!(", {name}::text"));
        }
        // `NULLS LAST` also keeps the server from walking an index to its end where no row is new.
        let order: Vec<String> = names
            .iter()
            .map(|name| format!("{name} DESC NULLS LAST"))
            .collect();
        sql.push(&format!(
            "\nFROM (SELECT {}{from}{}) AS p\nORDER BY {}\nLIMIT 1",
            inner.join(", "),
            filter.text,
            order.join(", ")
        ));
        sql
    }

    /// Asks whether a row of `from` has no position.
    pub fn missing(&self, from: &str, filter: &Sql) -> Sql {
        let mut conditions: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| format!("{} IS NULL", quote(name)))
            .collect();
        if self.class == Class::Date {
            conditions.push(format!("NOT pg_catalog.isfinite({})", self.cursor()));
        }
        let mut filter = filter.clone();
        filter.and().push(&format!("({})", conditions.join(" OR ")));
        Sql {
            text: format!("SELECT EXISTS (SELECT{from}{})", filter.text),
            parameters: filter.parameters,
        }
    }

    /// Adds the condition that a row is older than the lag, so that none is to come before it. `now_ms` is the server's.
    pub fn settled(&self, from: &str, now_ms: i64, filter: &mut Sql) {
        let Some(lag) = self.lag else { return };
        let (cursor, kind) = (self.cursor(), &self.columns[0].1);
        match lag {
            Lag::Number(number) => {
                let all = format!(
                    "SELECT pg_catalog.max({cursor})::numeric{from}{}",
                    filter.text
                );
                filter
                    .and()
                    .push(&format!("{cursor} <= ({all}) - {number}"));
            }
            Lag::Seconds(seconds) if self.class == Class::Uuid => {
                filter.and().push(&format!("{cursor} < "));
                filter.push_value(
                    &uuid_at(now_ms.saturating_sub(milliseconds(seconds))),
                    "uuid",
                );
            }
            Lag::Seconds(seconds) => {
                filter
                    .and()
                    .push(&format!("{cursor} <= (pg_catalog.now() - "));
                filter.push_value(&format!("{seconds} seconds"), "interval");
                filter.push(&format!(")::{kind}"));
            }
        }
    }
}

fn class(name: &str, kind: &str) -> Result<Class> {
    match kind {
        "smallint" | "integer" | "bigint" => Ok(Class::Number),
        "date" | "timestamp without time zone" | "timestamp with time zone" => Ok(Class::Date),
        "uuid" => Ok(Class::Uuid),
        "text" | "character varying" => Ok(Class::Text),
        _ => Err(Error::invalid_config(format!(
            "column `{name}` of type `{kind}` cannot be a cursor"
        ))
        .hint("name a column of type smallint, integer, bigint, date, timestamp, timestamptz, uuid (version 7) or text")),
    }
}

fn check_lag(lag: Option<Lag>, class: Class, (name, kind): &(String, String)) -> Result<()> {
    let hint = match (lag, class) {
        (None, _)
        | (Some(Lag::Number(_)), Class::Number)
        | (Some(Lag::Seconds(_)), Class::Date | Class::Uuid) => return Ok(()),
        (_, Class::Number) => "write a number, `lag: 1000`",
        (_, Class::Date | Class::Uuid) => "write a duration, `lag: 15m`",
        (_, Class::Text) => "remove `lag`",
    };
    Err(Error::invalid_config(format!(
        "`lag` does not fit the cursor `{name}` of type `{kind}`"
    ))
    .hint(hint))
}

fn unreadable(value: &str) -> Error {
    Error::internal(format!(
        "the position `{value}` is not of the cursor's type"
    ))
}

fn milliseconds(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

/// When a UUID of version 7 was made, in milliseconds since 1970.
fn uuid_ms(uuid: &str) -> Option<i64> {
    let (high, rest) = uuid.split_once('-')?;
    let (low, _) = rest.split_once('-')?;
    i64::from_str_radix(&format!("{high}{low}"), 16).ok()
}

/// The least UUID that was made then.
fn uuid_at(ms: i64) -> String {
    let ms = ms.clamp(0, (1 << 48) - 1);
    format!(
        "{:08x}-{:04x}-0000-0000-000000000000",
        ms >> 16,
        ms & 0xffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(kind: &str, config: &str) -> Result<Cursor> {
        let config: Incremental = serde_json::from_str(config).unwrap();
        Cursor::new(&config, &["id".to_owned()], |name, _| {
            Ok(if name == "at" { kind } else { "bigint" }.to_owned())
        })
    }

    fn position(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn refuses_cursors_without_an_order_in_time_and_lags_that_do_not_fit() {
        for (kind, config, message) in [
            ("jsonb", r#"{"cursor": "at"}"#, "cannot be a cursor"),
            (
                "double precision",
                r#"{"cursor": "at"}"#,
                "cannot be a cursor",
            ),
            ("bigint", r#"{"cursor": "at", "lag": "1h"}"#, "does not fit"),
            ("date", r#"{"cursor": "at", "lag": 3}"#, "does not fit"),
            ("text", r#"{"cursor": "at", "lag": "1h"}"#, "does not fit"),
        ] {
            let error = cursor(kind, config).unwrap_err();
            assert!(error.message.contains(message), "{}", error.message);
        }
    }

    #[test]
    fn a_state_of_other_columns_is_refused() {
        let by_at = cursor("date", r#"{"cursor": "at"}"#).unwrap();
        let state = State {
            columns: position(&["at", "id"]),
            horizon: Some(7),
            ..State::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(State::parse(&text, &by_at).unwrap(), state);
        let by_key = cursor("date", r#"{"cursor": "at", "key": "n"}"#).unwrap();
        let error = State::parse(&text, &by_key).unwrap_err();
        assert!(
            error.message.contains("followed `at`, `id`"),
            "{}",
            error.message
        );
        assert!(State::parse("{}", &by_at).is_err());
    }

    #[test]
    fn a_run_takes_the_transactions_since_the_last_one() {
        let last = |horizon, system: &str| State {
            horizon,
            system: Some(system.to_owned()),
            ..State::default()
        };
        let check = |last: Option<State>, is_replica, expected: Window| {
            let now = Now {
                horizon: 5_000_000_000,
                next: 5_000_000_003,
                is_replica,
                system: Some("a".to_owned()),
            };
            assert_eq!(Window::new(last.as_ref(), &now), expected);
        };
        check(None, false, Window::First);
        check(
            Some(last(Some(4_999_999_000), "a")),
            false,
            Window::Since(4_999_999_000),
        );
        check(Some(last(Some(5_000_000_000), "a")), false, Window::Nothing);
        check(Some(last(Some(5_000_000_001), "a")), true, Window::Nothing);
        let is_unknown = |last, is_replica| {
            let now = Now {
                horizon: 5_000_000_000,
                next: 5_000_000_000,
                is_replica,
                system: Some("a".to_owned()),
            };
            assert!(matches!(Window::new(Some(&last), &now), Window::Unknown(_)));
        };
        is_unknown(last(Some(5_000_000_001), "a"), false);
        is_unknown(last(Some(1), "a"), false);
        is_unknown(last(Some(4_999_999_000), "b"), false);
        is_unknown(last(None, "a"), false);
    }

    #[test]
    fn row_versions_behind_the_horizon_wait() {
        let now = Now {
            horizon: 100,
            next: 103,
            is_replica: false,
            system: None,
        };
        let before = now.before();
        let held = "((xmin::text::bigint - 100) & 4294967295) >= 3";
        assert_eq!(before.as_deref(), Some(held));
        let since = "((xmin::text::bigint - 40) & 4294967295) < 60";
        assert_eq!(now.since(40), since);
        let by_at = cursor("integer", r#"{"cursor": "at", "lag": 5}"#).unwrap();
        let check = |added: &[u32], floor: &[String], expected: String| {
            let mut filter = Sql::default();
            now.new_since(40, added, &by_at, floor, &mut filter)
                .unwrap();
            assert_eq!(filter.text, format!("\nWHERE {expected}"));
        };
        check(&[], &[], since.to_owned());
        let lag = "\n  AND (\"at\" >= $1::bigint OR \"at\" IS NULL)";
        check(&[], &position(&["9"]), format!("{since}{lag}"));
        check(
            &[7, 8],
            &position(&["9"]),
            format!("(tableoid = ANY ('{{7,8}}'::oid[]) AND {held}\n  OR {since}{lag})"),
        );
    }

    #[test]
    fn positions_are_compared_as_a_whole() {
        let by_at = cursor("timestamp with time zone", r#"{"cursor": "at"}"#).unwrap();
        let mut filter = Sql::default();
        by_at.beyond(&position(&["2024-01-01", "7"]), &mut filter);
        assert_eq!(
            filter.text,
            "\nWHERE (\"at\", \"id\") > ($1::timestamp with time zone, $2::bigint)"
        );
        let no_key = cursor("date", r#"{"cursor": "at", "key": []}"#).unwrap();
        let mut filter = Sql::default();
        no_key.beyond_or_null(&position(&["2024-01-01"]), &mut filter);
        assert_eq!(
            filter.text,
            "\nWHERE ((\"at\") >= ($1::date) OR \"at\" IS NULL)"
        );
    }

    #[test]
    fn the_cursor_as_its_own_key_is_named_once() {
        let by_id = cursor("", r#"{"cursor": "id"}"#).unwrap();
        assert_eq!((by_id.names(), by_id.is_unique), (position(&["id"]), true));
    }

    #[test]
    fn the_lag_is_a_floor_below_what_was_read_and_what_waits() {
        let check = |kind, lag: &str, position: &str, waiting: Option<&str>, expected: &[&str]| {
            let by_at = cursor(kind, &format!(r#"{{"cursor": "at", "lag": {lag}}}"#)).unwrap();
            let last = State {
                position: Some(vec![position.to_owned(), "1".to_owned()]),
                waiting: waiting.map(str::to_owned),
                ..State::default()
            };
            let mut filter = Sql::default();
            let floor = by_at.floor(Some(&last));
            by_at.within_lag(&floor, &mut filter).unwrap();
            assert!(
                filter.text.ends_with(" OR \"at\" IS NULL)"),
                "{}",
                filter.text
            );
            let values: Vec<&str> = filter
                .parameters
                .iter()
                .flatten()
                .map(String::as_str)
                .collect();
            assert_eq!(values, expected);
        };
        check("integer", "10", "25", None, &["15"]);
        check("integer", "10", "25", Some("7"), &["-3"]);
        check("integer", "10", "25", Some("99"), &["15"]);
        let least = "-9223372036854775808";
        check("bigint", "10", least, None, &[least]);
        let last = "2024-01-09";
        check("date", r#""2d""#, last, None, &[last, "172800 seconds"]);
        let waiting = "2024-01-02";
        check(
            "date",
            r#""2d""#,
            last,
            Some(waiting),
            &[last, waiting, "172800 seconds"],
        );
        check(
            "uuid",
            r#""1m""#,
            "018f0000-ea60-7abc-8000-000000000001",
            None,
            &["018f0000-0000-0000-0000-000000000000"],
        );
    }

    #[test]
    fn without_a_lag_or_a_position_there_is_no_floor() {
        let state = State {
            position: Some(position(&["1", "1"])),
            ..State::default()
        };
        let plain = cursor("integer", r#"{"cursor": "at"}"#).unwrap();
        assert_eq!(plain.floor(Some(&state)), position(&[]));
        let lagging = cursor("integer", r#"{"cursor": "at", "lag": 1}"#).unwrap();
        assert_eq!(lagging.floor(Some(&State::default())), position(&[]));
        assert_eq!(lagging.floor(Some(&state)), position(&["1"]));
    }
}
