//! A table that changes between runs, held to a contract: columns that come, go, and get wider.

use serde_json::{Value, json};

use super::Followed;
use crate::postgres::fails;

const TABLE: &str = "create table t (id int8 primary key, at timestamptz not null, v int4, w text);
    insert into t select n, timestamptz '2024-01-01 00:00+00' + n * interval '1 second', n, 'w' from generate_series(1, 10) n;";

/// A job under a contract of the columns `id`, `at` and `v`; `w` is unknown to it.
fn under_contract(mode: &str, unknown: &str, kind: &str) -> Followed<'static> {
    let mut more = json!({ "asset_path": "asset.yaml" });
    if mode == "warn" {
        more["dead_letter"] = json!({ "path": "rejected" });
    }
    let followed = Followed::new(TABLE, "t", &json!({ "cursor": "at" }), &more);
    let asset = json!({ "name": "t", "version": "1.0.0", "mode": mode, "dataset": { "unknown_columns": unknown },
        "schema": [
            { "name": "id", "type": "int64", "required": true },
            { "name": "at", "type": "timestamptz", "required": true },
            { "name": "v", "type": kind },
        ] });
    followed.dir.write("asset.yaml", &asset.to_string());
    followed
}

const MORE_ROWS: &str = "insert into t (id, at, v) select n, timestamptz '2024-01-02 00:00+00' + n * interval '1 second', n from generate_series(11, 15) n;";

fn insert(followed: &Followed<'_>) {
    followed.database.sql(MORE_ROWS);
}

fn columns(followed: &Followed<'_>) -> Vec<Value> {
    let folder = followed.dir.path().join("out/job");
    let query = "select column_name, column_type from (describe from rows)";
    crate::support::python("query.py", &[folder.to_str().unwrap(), query])
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn an_added_column_follows_the_contract() {
    for (mode, unknown, passes, is_there) in [
        ("strict", "strict", false, false),
        ("strict", "ignore", true, false),
        ("strict", "add", true, true),
        ("warn", "strict", true, false),
    ] {
        let followed = under_contract(mode, unknown, "int32");
        followed.database.sql("alter table t drop column w");
        assert_eq!(followed.rows(), 10);
        followed
            .database
            .sql("alter table t add column extra text default 'e'");
        insert(&followed);
        let output = followed.run();
        assert_eq!(output.code == 0, passes, "{mode} {unknown}: {output:?}");
        if passes {
            assert_eq!(output.json()["rows_read"], 5, "{mode} {unknown}");
            let has = columns(&followed).iter().any(|column| column[0] == "extra");
            assert_eq!(has, is_there, "{mode} {unknown}");
        } else {
            fails(&output, 1, "`extra`", "unknown_columns");
            // What was refused is not lost.
            followed.database.sql("alter table t drop column extra");
            assert_eq!(followed.rows(), 5);
        }
    }
}

#[test]
fn a_dropped_column_is_null_or_refused() {
    let followed = under_contract("strict", "ignore", "int32");
    assert_eq!(followed.rows(), 10);
    followed.database.sql("alter table t drop column v");
    followed.database.sql(
        &MORE_ROWS
            .replace(", v)", ")")
            .replace("', n from", "' from")
            .replace(" second', n", " second'"),
    );
    assert_eq!(followed.rows(), 5);
    let followed = under_contract("strict", "ignore", "int32");
    assert_eq!(followed.rows(), 10);
    followed
        .database
        .sql("alter table t drop column at cascade; alter table t add column other timestamptz");
    fails(&followed.run(), 2, "`at`", "");
}

#[test]
fn a_wider_column_is_read_as_the_contract_says_and_its_values_must_fit() {
    for mode in ["strict", "warn"] {
        let followed = under_contract(mode, "ignore", "int32");
        assert_eq!(followed.rows(), 10);
        // The table is written anew: all its rows are of a new transaction, as after any update of them.
        followed
            .database
            .sql("alter table t alter column v type int8");
        insert(&followed);
        let rows = followed.rows();
        assert!(rows == 5 || rows == 15, "{mode}: {rows}");
        followed
            .database
            .sql("insert into t values (100, '2024-03-01 00:00+00', 5000000000)");
        let output = followed.run();
        if mode == "strict" {
            fails(&output, 1, "`v`", "");
        } else {
            assert_eq!(output.code, 0, "{output:?}");
            let rejected = followed.dir.path().join("rejected");
            assert!(!crate::support::files_below(&rejected).is_empty());
        }
        let kinds = columns(&followed);
        assert!(kinds.contains(&json!(["v", "INTEGER"])), "{kinds:?}");
    }
    let followed = under_contract("strict", "ignore", "int64");
    assert_eq!(followed.rows(), 10);
    followed
        .database
        .sql("alter table t alter column v type int8");
    followed
        .database
        .sql("insert into t values (100, '2024-03-01 00:00+00', 5000000000)");
    assert!(followed.rows() >= 1);
}
