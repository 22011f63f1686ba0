//! What may be read: tables with hostile names, views, partitions, queries; and what a statement may not do.

use serde_json::{Value, json};

use super::{check_rows, compare, fails, rows_read, run, run_all};
use crate::support::TestDir;
use crate::support::postgres::{Database, newer_server, server};

/// Reads with this config, beside the connection string.
fn read(
    dir: &TestDir,
    database: &Database<'_>,
    name: &str,
    config: Value,
    parallelism: u32,
) -> u64 {
    let mut reader = json!({ "connection_string": database.url("reader") });
    reader
        .as_object_mut()
        .unwrap()
        .extend(config.as_object().unwrap().clone());
    rows_read(&run(
        dir,
        name,
        &reader,
        &json!({ "parallelism": parallelism }),
    ))
}

#[test]
fn a_statement_of_the_job_cannot_write_or_leave_its_transaction() {
    let database = server().database();
    database.sql(
        "create table t (n int4); insert into t values (1);
         create function sneaky() returns int4 language plpgsql volatile as
           $$ begin insert into t values (2); return 1; end $$;
         create role writer login superuser password 'pw-of-writer';",
    );
    let dir = TestDir::new();
    let attempts = [
        ("query", "insert into t values (2) returning n"),
        (
            "query",
            "with x as (insert into t values (2) returning n) select * from x",
        ),
        ("query", "select sneaky() as n"),
        ("query", "update t set n = 3 returning n"),
        ("query", "delete from t returning n"),
        ("query", "commit; insert into t values (2)"),
        (
            "query",
            "select 1 as n; commit; insert into t values (2); select 1 as n",
        ),
        ("query", "commit"),
        ("query", "rollback"),
        ("query", "begin"),
        ("query", "set transaction read write"),
        (
            "query",
            "set session characteristics as transaction read write",
        ),
        ("query", "copy t to program 'touch /tmp/dativo-was-here'"),
        ("query", "copy t to stdout"),
        ("query", "truncate t"),
        ("query", "drop table t"),
        ("query", "select n into taken from t"),
        ("query", "create table taken as select 1 as n"),
        ("query", "do $$ begin insert into t values (2); end $$"),
        ("query", "call sneaky()"),
        ("query", "select n from t for update"),
        ("query", "select nextval('s') as n"),
        (
            "query",
            "select 1 as n) as q; commit; insert into t values (2); select * from (select 1 as n",
        ),
        ("where", "true; commit; insert into t values (2); select 1"),
        ("where", "sneaky() = 1"),
        ("where", "true); insert into t values (2); --"),
        (
            "where",
            "true) union all select 1 from (select sneaky()) as x where (true",
        ),
    ];
    database.sql("create sequence s;");
    for (number, (key, text)) in attempts.iter().enumerate() {
        // Even with a role that might.
        let mut config = json!({ "connection_string": database.url("writer"), *key: text });
        if *key == "where" {
            config["table"] = json!("t");
        }
        for split_by in [false, true] {
            if split_by {
                config["split_by"] = json!("n");
            }
            let output = run(&dir, &format!("a{number}"), &config, &json!({}));
            assert!([1, 2].contains(&output.code), "{text}: {output:?}");
            assert_ne!(
                output.json()["error"]["kind"],
                "internal",
                "{text}: {output:?}"
            );
        }
    }
    assert_eq!(database.sql("select * from t; select count(*) from pg_class where relname = 'taken'; select last_value, is_called from s;"), "1\n0\n1|f");
    assert!(!std::path::Path::new("/tmp/dativo-was-here").exists());
}

#[test]
fn a_setting_does_not_outlive_its_run() {
    let database = server().database();
    database.sql("create table t as select 1 as n, timestamptz '2024-01-01 00:00+00' as z;");
    let dir = TestDir::new();
    let query = "select 1 as n, set_config('timezone', 'Asia/Tokyo', false) as a, set_config('default_transaction_read_only', 'off', false) as b";
    read(&dir, &database, "a", json!({ "query": query }), 1);
    read(
        &dir,
        &database,
        "b",
        json!({ "table": "t", "types": { "z": "text" } }),
        2,
    );
    check_rows(&dir, &database, "b", "select n, z::text from t");
}

#[test]
fn names_are_data() {
    let database = server().database();
    let long = "n".repeat(63);
    let names = [
        "select",
        "Mixed Case",
        "ünïcødé 東京",
        "with.dot",
        "with\"quote",
        "\"; drop table t; --",
        "it's",
        "back\\slash",
        " ",
        "$1",
        "%s",
        "a,b",
        "a(b)",
        long.as_str(),
        "🦀",
    ];
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut sql = String::from("create table t (n int4); insert into t values (1);\n");
    for name in names {
        let name = quote(name);
        sql += &format!(
            "create schema {name}; create table {name}.{name} (id int4 primary key, {name} text, other int4);
             insert into {name}.{name} select n, 'value ' || n, n from generate_series(1, 500) n;\n"
        );
    }
    database.sql(&sql);
    let dir = TestDir::new();
    for (number, name) in names.iter().enumerate() {
        let table = format!("{}.{}", quote(name), quote(name));
        for (parallelism, more) in [
            (1, json!({})),
            (3, json!({ "columns": ["id", name] })),
            (2, json!({ "columns": ["id", name], "split_by": "id" })),
        ] {
            let job = format!("j{number}_{parallelism}");
            let mut config = json!({ "table": table });
            config
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            assert_eq!(
                read(&dir, &database, &job, config, parallelism),
                500,
                "{name}"
            );
            let columns = if parallelism == 1 {
                "*".to_owned()
            } else {
                format!("id, {}", quote(name))
            };
            check_rows(
                &dir,
                &database,
                &job,
                &format!("select {columns} from {table}"),
            );
        }
    }
    // Without quotes a name is taken as it is written.
    database.sql("create table \"Orders\" as select 1 as n;");
    assert_eq!(
        read(&dir, &database, "plain", json!({ "table": "Orders" }), 1),
        1
    );
    assert_eq!(database.sql("select count(*) from t"), "1");
}

#[test]
fn columns_where_and_query_choose_what_is_read() {
    let database = server().database();
    database.sql(
        "create table t (id int4 primary key, a text, gone int4, b int8 generated always as (id * 2) stored);
         insert into t select n, 'a' || n, n from generate_series(1, 20000) n; alter table t drop column gone;",
    );
    let dir = TestDir::new();
    for (number, (config, query, rows)) in [
        (json!({ "table": "t" }), "select * from t", 20000),
        (json!({ "table": "t", "columns": ["b", "id"] }), "select b, id from t", 20000),
        (json!({ "table": "t", "where": "id % 7 = 0 -- only some" }), "select * from t where id % 7 = 0", 2857),
        (json!({ "table": "t", "where": "id = 1 or id = 2" }), "select * from t where id < 3", 2),
        (json!({ "table": "t", "where": "false" }), "select * from t where false", 0),
        (json!({ "query": "select id, a from t where b > 100;" }), "select id, a from t where b > 100", 19950),
        (json!({ "query": "select id, a from t -- a comment" }), "select id, a from t", 20000),
        (json!({ "query": "select id, a from t", "columns": ["id"], "where": "a like '%7'" }), "select id from t where a like '%7'", 2000),
        (json!({ "query": "with x as (select * from t) select id, count(*) over () as c from x", "split_by": "id" }), "select id, 20000 from t", 20000),
        (json!({ "query": "values (1, 'x'), (2, null)" }), "values (1, 'x'), (2, null)", 2),
        (json!({ "query": "select id, a from t order by id limit 5" }), "select id, a from t where id <= 5", 5),
    ]
    .into_iter()
    .enumerate()
    {
        for parallelism in [1, 4] {
            let name = format!("j{number}_{parallelism}");
            assert_eq!(read(&dir, &database, &name, config.clone(), parallelism), rows, "{config}");
            check_rows(&dir, &database, &name, query);
        }
    }
    let config =
        json!({ "connection_string": database.url("reader"), "query": "select id, id from t" });
    fails(&run(&dir, "twice", &config, &json!({})), 2, "`id`", "");
    let config =
        json!({ "connection_string": database.url("reader"), "table": "t", "where": "idd = 1" });
    fails(&run(&dir, "unknown", &config, &json!({})), 1, "idd", "");
    let config = json!({ "connection_string": database.url("reader"), "query": "selec 1" });
    fails(
        &run(&dir, "syntax", &config, &json!({})),
        1,
        "syntax error",
        "",
    );
}

#[test]
fn an_empty_table_is_success() {
    let database = server().database();
    database.sql("create table t (id int4, v text); create table bare ();");
    let dir = TestDir::new();
    for parallelism in [1, 4] {
        let name = format!("t{parallelism}");
        assert_eq!(
            read(&dir, &database, &name, json!({ "table": "t" }), parallelism),
            0
        );
    }
    assert_eq!(
        read(
            &dir,
            &database,
            "q",
            json!({ "query": "select 1 as n where false" }),
            1
        ),
        0
    );
    assert_eq!(
        read(&dir, &database, "bare", json!({ "table": "bare" }), 2),
        0
    );
}

#[test]
fn every_kind_of_relation_is_read_whole() {
    for server in [server(), newer_server()] {
        let database = server.database();
        database.sql(
            "create extension postgres_fdw;
             create table plain (id int8 not null, part int4 not null, at timestamptz, text text);
             insert into plain select n, n % 5, timestamptz '2024-01-01 00:00+00' + n * interval '1 minute', repeat('x', 1200) || n
               from generate_series(1, 5000) n;
             insert into plain select -n, 0, null, null from generate_series(1, 10) n;
             create view v as select * from plain where part < 3;
             create materialized view m as select * from plain;
             create table parted (like plain) partition by list (part);
             create table parted_0 partition of parted for values in (0);
             create table parted_1 partition of parted for values in (1, 2) partition by range (id);
             create table parted_1a partition of parted_1 for values from (minvalue) to (2500);
             create table parted_1b (text text, gone int4, at timestamptz, part int4 not null, id int8 not null);
             alter table parted_1b drop column gone;
             alter table parted_1 attach partition parted_1b for values from (2500) to (maxvalue);
             create table parted_rest partition of parted default;
             insert into parted select * from plain;
             create table empty_parted (like plain) partition by list (part);
             create table parent (like plain); create table child (more int4) inherits (parent);
             insert into parent select * from plain where part = 0; insert into child select *, 7 from plain where part > 0;
             create unlogged table unlogged as table plain;
             analyze;",
        );
        database.sql(&format!(
            "create server here foreign data wrapper postgres_fdw options (host '{}', port '{}', dbname '{}');
             create user mapping for public server here options (user 'by_trust', password_required 'false');
             create foreign table far (id int8 not null, part int4 not null, at timestamptz, text text) server here options (table_name 'plain');
             grant usage on foreign server here to reader;",
            "127.0.0.1", server.port, database.name,
        ));
        let dir = TestDir::new();
        let mut jobs = Vec::new();
        for (name, key) in [
            ("plain", ""),
            ("v", ""),
            ("v", "id"),
            ("v", "at"),
            ("v", "part"),
            ("m", ""),
            ("parted", ""),
            ("empty_parted", ""),
            ("parted_1", ""),
            ("parent", ""),
            ("unlogged", ""),
            ("far", ""),
            ("far", "id"),
            ("plain", "id"),
            ("plain", "at"),
        ] {
            let mut config = json!({ "connection_string": database.url("reader"), "table": name });
            if !key.is_empty() {
                config["split_by"] = json!(key);
            }
            for parallelism in [1, 5] {
                let job = format!("{name}_{key}_{parallelism}");
                let query = format!("select * from {name}");
                let more = json!({ "parallelism": parallelism });
                jobs.push(((job, config.clone(), more), query));
            }
        }
        let (jobs, queries): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        for (run, (job, ..)) in run_all(&dir, &jobs).iter().zip(&jobs) {
            assert!(run["error"].is_null(), "{job}: {}", run["error"]);
        }
        let pairs: Vec<_> = jobs
            .iter()
            .zip(&queries)
            .map(|((job, ..), query)| (job.as_str(), query.as_str()))
            .collect();
        compare(&dir, &database, &pairs);
        let config = json!({ "connection_string": database.url("reader"), "table": "plain", "split_by": "text" });
        fails(&run(&dir, "text", &config, &json!({})), 2, "`text`", "");
    }
}

#[test]
fn a_table_is_read_by_several_instances() {
    let database = server().database();
    database.sql("create table t as select n as id, repeat('x', 200) as v from generate_series(1, 100000) n;");
    let dir = TestDir::new();
    let config = json!({ "connection_string": database.url("reader"), "table": "t" });
    let output = run(&dir, "t", &config, &json!({ "parallelism": 4 }));
    assert_eq!(rows_read(&output), 100_000);
    let files = crate::support::files_below(&dir.path().join("out/t"));
    let splits = files
        .iter()
        .filter(|file| file.ends_with(".parquet"))
        .count();
    assert!(splits >= 4, "{files:?}");
    check_rows(&dir, &database, "t", "select * from t");
}

#[test]
fn partitions_that_a_role_may_not_read_are_read_through_their_parent() {
    let database = server().database();
    database.sql(
        "create table t (id int4, part int4) partition by list (part); create table t0 partition of t for values in (0);
         create table t1 partition of t for values in (1); insert into t select n, n % 2 from generate_series(1, 5000) n;
         create role narrow login password 'pw-of-narrow'; grant select on t to narrow;",
    );
    let dir = TestDir::new();
    let config = json!({ "connection_string": database.url("narrow"), "table": "t" });
    assert_eq!(
        rows_read(&run(&dir, "t", &config, &json!({ "parallelism": 4 }))),
        5000
    );
    check_rows(&dir, &database, "t", "select * from t");
}

#[test]
fn row_security_and_column_grants_hold() {
    let database = server().database();
    database.sql(
        "create table t (id int4, secret text); insert into t select n, 's' from generate_series(1, 10) n;
         create role some_rows login password 'pw-of-some_rows'; grant select on t to some_rows;
         create role one_column login password 'pw-of-one_column'; grant select (id) on t to one_column;
         alter table t enable row level security; create policy p on t for select using (id <= 3 or current_user = 'one_column');",
    );
    let dir = TestDir::new();
    let config = |role: &str| json!({ "connection_string": database.url(role), "table": "t" });
    assert_eq!(
        rows_read(&run(&dir, "rows", &config("some_rows"), &json!({}))),
        3
    );
    fails(
        &run(&dir, "all", &config("one_column"), &json!({})),
        1,
        "permission denied",
        "",
    );
    let mut one = config("one_column");
    one["columns"] = json!(["id"]);
    assert_eq!(rows_read(&run(&dir, "one", &one, &json!({}))), 10);
}
