//! Single steps of following a cursor: what is refused, rows in flight, empty runs, what stays behind.

use std::io::Write;
use std::process::{Child, Stdio};

use serde_json::json;

use super::Followed;
use crate::postgres::{fails, rows_read, run};
use crate::support::postgres::{Database, server};
use crate::support::{TestDir, cli};

const TABLE: &str = "create table t (id int8 primary key, at timestamptz, note text);
    insert into t select n, timestamptz '2024-01-01 00:00+00' + n * interval '1 second' from generate_series(1, 100) n;
    create view v as select * from t;";

fn by_time() -> serde_json::Value {
    json!({ "cursor": "at", "key": "id" })
}

/// A session that stays in its transaction until it is told to end it.
struct Open(Child);

impl Open {
    fn begin(database: &Database<'_>, sql: &str) -> Self {
        let mut command = database.program("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "set application_name = 'open'; begin; {sql}").unwrap();
        let asked = "select count(*) from pg_stat_activity where application_name = 'open' and state = 'idle in transaction'
                     and datname = current_database()";
        while database.sql(asked) == "0" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self(child)
    }

    fn end(mut self, how: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{how};").unwrap();
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn refuses_a_cursor_that_cannot_be_followed() {
    let database = server().database();
    database.sql(
        "create table t (id int8 primary key, f float8, j jsonb, at timestamptz, n int8, b bool, s text);
         create table nokey (at timestamptz); create view v as select * from t;",
    );
    let dir = TestDir::new();
    let url = database.url("reader");
    for (source, incremental, message, hint) in [
        (
            json!({ "table": "t" }),
            json!({ "cursor": "f" }),
            "`f`",
            "timestamptz",
        ),
        (json!({ "table": "t" }), json!({ "cursor": "j" }), "`j`", ""),
        (json!({ "table": "t" }), json!({ "cursor": "b" }), "`b`", ""),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "att" }),
            "`att`",
            "`at`",
        ),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "at", "key": "idd" }),
            "`idd`",
            "`id`",
        ),
        (
            json!({ "table": "v" }),
            json!({ "cursor": "at" }),
            "`key`",
            "key",
        ),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "at", "lag": 5 }),
            "lag",
            "",
        ),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "n", "lag": "5m" }),
            "lag",
            "",
        ),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "s", "lag": "5m" }),
            "lag",
            "",
        ),
        (
            json!({ "table": "t" }),
            json!({ "cursor": "at", "lag": "soon" }),
            "soon",
            "",
        ),
        (
            json!({ "table": "t" }),
            json!({ "key": "id" }),
            "cursor",
            "",
        ),
        (
            json!({ "table": "t", "columns": ["id"] }),
            json!({ "cursor": "att" }),
            "`att`",
            "",
        ),
    ] {
        let mut config = json!({ "connection_string": url, "incremental": incremental });
        config
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        fails(&run(&dir, "job", &config, &json!({})), 2, message, hint);
    }
}

#[test]
fn an_empty_run_keeps_the_state_and_only_new_rows_follow() {
    for (table, more) in [
        ("t", json!({})),
        ("v", json!({})),
        ("t", json!({ "lag": "1h" })),
    ] {
        let mut incremental = by_time();
        incremental
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let followed = Followed::new(TABLE, table, &incremental, &json!({ "parallelism": 2 }));
        assert_eq!(followed.rows(), 100, "{table}");
        let before = followed.state();
        assert_eq!(followed.rows(), 0, "{table}");
        let after = followed.state();
        assert_eq!(after["state"], before["state"], "{table}");
        assert!(!before["state"].is_null(), "{before:#}");
        followed.database.sql(
            "insert into t values (101, '2024-01-01 00:01:41+00'), (102, '2024-01-01 00:01:41+00')",
        );
        assert_eq!(followed.rows(), 2, "{table}");
        // The same cursor as the last row, and a greater key.
        followed
            .database
            .sql("insert into t values (103, '2024-01-01 00:01:41+00')");
        assert_eq!(followed.rows(), 1, "{table}");
        assert_eq!(followed.ids(), (1..=103).collect::<Vec<_>>(), "{table}");
        let reset = cli(&followed.dir, &["state", "reset", "job.yaml"]);
        assert_eq!(reset.code, 0, "{reset:?}");
        assert_eq!(followed.rows(), 103, "{table}");
    }
}

#[test]
fn an_empty_table_is_followed_from_its_first_row() {
    for table in ["t", "v"] {
        let sql = "create table t (id int8 primary key, at timestamptz, note text); create view v as select * from t;";
        let followed = Followed::new(sql, table, &by_time(), &json!({}));
        assert_eq!((followed.rows(), followed.rows()), (0, 0));
        followed
            .database
            .sql("insert into t values (1, '2024-01-01 00:00+00')");
        assert_eq!((followed.rows(), followed.rows()), (1, 0));
    }
}

#[test]
fn rows_in_flight_wait_for_the_next_run_and_come_once() {
    let followed = Followed::new(TABLE, "t", &by_time(), &json!({ "parallelism": 2 }));
    let early = Open::begin(
        &followed.database,
        "insert into t values (1001, '2024-01-01 00:00:01+00'); update t set note = 'x' where id = 7;",
    );
    // Committed, but later than a transaction that is still open: it may wait, or come at once.
    followed
        .database
        .sql("insert into t values (1002, '2030-01-01 00:00+00')");
    let first = rows_read(&followed.run_now());
    assert!((100..=101).contains(&first), "{first}");
    early.end("commit");
    followed
        .database
        .sql("insert into t values (1003, '2024-06-01 00:00+00')");
    // The early rows lie far behind the greatest cursor that was read.
    let second = followed.rows();
    assert_eq!(first + second, 100 + 4);
    assert_eq!(followed.rows(), 0);
    let late = Open::begin(&followed.database, "insert into t values (1004, now());");
    late.end("rollback");
    assert_eq!(followed.rows(), 0);
}

#[test]
fn the_state_never_moves_backwards() {
    for (table, lag) in [("t", None), ("v", None), ("t", Some("1h"))] {
        let mut incremental = by_time();
        if let Some(lag) = lag {
            incremental["lag"] = json!(lag);
        }
        let followed = Followed::new(TABLE, table, &incremental, &json!({}));
        assert_eq!(followed.rows(), 100);
        let cursor = |followed: &Followed<'static>| followed.state()["state"].to_string();
        let before = cursor(&followed);
        assert!(before.contains("2024-01-01 00:01:40"), "{before}");
        followed.database.sql(
            "delete from t where id > 50; insert into t values (51, '2024-01-01 00:00:50+00')",
        );
        let rows = followed.rows();
        // A position knows no row behind it; the others do.
        assert_eq!(rows, u64::from(table == "t"), "{table} {lag:?}");
        let after = cursor(&followed);
        assert!(after.contains("2024-01-01 00:01:40"), "{after}");
        followed
            .database
            .sql("insert into t values (200, '2024-01-01 00:03:00+00')");
        assert_eq!(followed.rows(), 1);
    }
}

#[test]
fn rows_without_a_cursor_are_read_from_a_table_and_refused_in_a_view() {
    let followed = Followed::new(TABLE, "t", &by_time(), &json!({}));
    followed.database.sql("insert into t values (101, null)");
    assert_eq!(followed.rows(), 101);
    followed.database.sql("insert into t values (102, null)");
    assert_eq!((followed.rows(), followed.rows()), (1, 0));
    let followed = Followed::new(TABLE, "v", &by_time(), &json!({}));
    followed.database.sql("insert into t values (101, null)");
    fails(&followed.run(), 1, "`at`", "");
}

#[test]
fn partitions_are_followed_like_a_table() {
    let sql = "create table t (id int8, at timestamptz, primary key (id, at)) partition by range (at);
        create table t1 partition of t for values from (minvalue) to ('2024-06-01');
        create table t2 partition of t for values from ('2024-06-01') to (maxvalue);
        insert into t select n, timestamptz '2024-05-31 00:00+00' + n * interval '1 hour' from generate_series(1, 100) n;";
    let followed = Followed::new(
        sql,
        "t",
        &json!({ "cursor": "at" }),
        &json!({ "parallelism": 3 }),
    );
    assert_eq!((followed.rows(), followed.rows()), (100, 0));
    followed.database.sql("insert into t values (101, '2024-01-01'), (102, '2025-01-01'); update t set at = '2025-01-02' where id = 1");
    assert_eq!((followed.rows(), followed.rows()), (3, 0));
}

#[test]
fn a_key_of_several_columns_and_of_text_breaks_ties() {
    let sql = "create table t (id int8, part text, at int4, primary key (part, id));
        insert into t select n, 'p' || n % 3, 7 from generate_series(1, 50) n; create view v as select * from t;";
    let followed = Followed::new(
        sql,
        "v",
        &json!({ "cursor": "at", "key": ["part", "id"] }),
        &json!({}),
    );
    assert_eq!((followed.rows(), followed.rows()), (50, 0));
    followed
        .database
        .sql("insert into t values (51, 'p2', 7), (52, 'p9', 7), (1, 'a', 8)");
    assert_eq!((followed.rows(), followed.rows()), (3, 0));
}

#[test]
fn a_filter_and_columns_apply_to_what_is_followed() {
    let database = server().database();
    database.sql(TABLE);
    let dir = TestDir::new();
    // The cursor itself need not be read.
    let config = json!({ "connection_string": database.url("reader"), "table": "t", "columns": ["id"], "where": "id % 2 = 0 or id > 1000",
        "incremental": by_time() });
    let rows = |name: &str| {
        database.settle();
        rows_read(&run(&dir, name, &config, &json!({})))
    };
    assert_eq!(rows("job"), 50);
    database.sql("insert into t values (1001, '2024-02-01'), (103, '2024-02-01')");
    assert_eq!((rows("job"), rows("job")), (1, 0));

    let config = json!({ "connection_string": database.url("reader"), "query": "select id as n, at from t where id < 5", "incremental": { "cursor": "at", "key": "n" } });
    assert_eq!(rows_read(&run(&dir, "query", &config, &json!({}))), 4);
    assert_eq!(rows_read(&run(&dir, "query", &config, &json!({}))), 0);
}
