//! Every type with null, its least and greatest values, what is empty and what is infinite: read exactly, or refused.

use serde_json::{Value, json};

use super::{check_rows, compare, fails, run, run_all, write_job};
use crate::support::postgres::{Database, Server, newer_server, server};
use crate::support::{TestDir, cli};

/// What a case is called, its SQL type, values as SQL (a null is added), and the Arrow type that pyarrow names.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const RANGE: &str =
    "lower_inclusive: bool not null, upper_inclusive: bool not null, empty: bool not null>";

#[rustfmt::skip]
const MATRIX: &[Row] = &[
    ("bool", "bool", &["true", "false"], "bool"),
    ("int2", "int2", &["-32768", "32767"], "int16"),
    ("int4", "int4", &["-2147483648", "7"], "int32"),
    ("int8", "int8", &["-9223372036854775808", "9007199254740993"], "int64"),
    ("oid", "oid", &["4294967295"], "uint32"),
    ("float4", "float4", &["1.1", "'NaN'", "'Infinity'"], "float"),
    ("float8", "float8", &["0.1", "'NaN'", "'-Infinity'"], "double"),
    ("numeric(12,2)", "numeric(12,2)", &["1234567890.12", "-0.01"], "decimal128(12, 2)"),
    ("numeric(38,10)", "numeric(38,10)", &["1234567890123456789012345678.0123456789"], "decimal128(38, 10)"),
    ("numeric(30,20)", "numeric(30,20)", &["1234567890.12345678901234567891"], "decimal128(30, 20)"),
    ("numeric(60,5)", "numeric(60,5)", &["1234567890123456789012345678901234567890123456789012345.12345"], "decimal256(60, 5)"),
    ("numeric", "numeric", &["12345678901234567890.123456789012345", "0.1"], "string"),
    ("numeric NaN", "numeric(12,2)", &["'NaN'", "1.00"], "string"),
    ("money", "money", &["'12.34'"], "decimal128(19, 2)"),
    ("text", "text", &["''", "'naïve 東京'", "E'a\\nb,\"c\"'"], "string"),
    ("varchar(10)", "varchar(10)", &["'abc'"], "string"),
    ("char(5)", "char(5)", &["'ab'"], "string"),
    ("name", "name", &["'pg_class'"], "string"),
    ("bytea", "bytea", &["'\\x00ff10'"], "binary"),
    ("date", "date", &["'2024-02-29'", "'1900-01-01'"], "date32[day]"),
    ("date far", "date", &["'0044-03-15 BC'", "'20240-01-01'"], "date32[day]"),
    ("date infinity", "date", &["'infinity'"], "date32[day]"),
    ("time", "time", &["'23:59:59.123456'"], "time64[us]"),
    ("time 24:00", "time", &["'24:00:00'"], "time64[us]"),
    ("timetz", "timetz", &["'12:00:00.5+02'"], "string"),
    ("timestamp", "timestamp", &["'2024-02-29 12:34:56.123456'", "'1969-12-31 23:59:59.999999'"], "timestamp[us]"),
    ("timestamp far", "timestamp", &["'0044-03-15 BC'", "'9999-12-31 23:59:59.999999'"], "timestamp[us]"),
    ("timestamp infinity", "timestamp", &["'infinity'", "'-infinity'"], "timestamp[us]"),
    ("timestamptz", "timestamptz", &["'2024-02-29 12:34:56.123456+00'", "'1969-12-31 23:59:59.999999+05:30'"], "timestamp[us, tz=UTC]"),
    ("timestamptz infinity", "timestamptz", &["'infinity'"], "timestamp[us, tz=UTC]"),
    ("interval", "interval", &["'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"], "struct<months: int32 not null, days: int32 not null, nanoseconds: int64 not null>"),
    ("uuid", "uuid", &["'0000534e-73fe-86ee-3472-849d0bdc28a3'"], "extension<arrow.uuid>"),
    ("json", "json", &["'{\"b\": 1,  \"a\": 12345678901234567890.10}'"], "extension<arrow.json>"),
    ("jsonb", "jsonb", &["'{\"b\": 1, \"a\": [1.10, \"東京\"]}'", "'12345678901234567890.10'"], "extension<arrow.json>"),
    ("xml", "xml", &["'<a>1</a>'"], "string"),
    ("int4[]", "int4[]", &["'{1,NULL,3}'", "'{}'"], "list<item: int32>"),
    ("text[]", "text[]", &["'{a,NULL,\"b,c\"}'"], "list<item: string>"),
    ("numeric(12,2)[]", "numeric(12,2)[]", &["'{1.10,2.20}'"], "list<item: decimal128(12, 2)>"),
    ("timestamptz[]", "timestamptz[]", &["'{2024-02-29 12:34:56.123456+00}'"], "list<item: timestamp[us, tz=UTC]>"),
    ("int4[][]", "int4[][]", &["'{{1,2},{3,4}}'"], "list<item: list<item: int32>>"),
    ("enum", "mood", &["'happy'"], "dictionary<values=string, indices=int32, ordered=0>"),
    ("enum[]", "mood[]", &["'{happy,sad}'"], "list<item: dictionary<values=string, indices=int32, ordered=0>>"),
    ("domain of int", "positive", &["7"], "int32"),
    ("domain of numeric", "rate", &["1.2345"], "decimal128(10, 4)"),
    ("composite", "pair", &["row(1,'x')"], "struct<a: int32, b: string>"),
    ("int4range", "int4range", &["'[1,5)'", "'empty'"], "struct<lower: int32, upper: int32, R"),
    ("tstzrange", "tstzrange", &["'[2024-01-01 00:00+00,2024-02-01 00:00+00)'"], "struct<lower: timestamp[us, tz=UTC], upper: timestamp[us, tz=UTC], R"),
    ("int4multirange", "int4multirange", &["'{[1,3),[5,7)}'"], "list<item: struct<lower: int32, upper: int32, R>"),
    ("inet", "inet", &["'192.168.0.1/24'", "'::1'"], "string"),
    ("cidr", "cidr", &["'10.0.0.0/8'"], "string"),
    ("macaddr", "macaddr", &["'08:00:2b:01:02:03'"], "string"),
    ("bit(8)", "bit(8)", &["B'10101010'"], "string"),
    ("varbit", "varbit", &["B'101'"], "string"),
    ("point", "point", &["'(1.5,2.5)'"], "string"),
    ("tsvector", "tsvector", &["'a:1 b:2'"], "string"),
    ("pg_lsn", "pg_lsn", &["'16/B374D848'"], "string"),
    ("hstore", "hstore", &["'a=>1,b=>NULL'"], "map<string, string ('v')>"),
    ("only nulls", "int4", &[], "int32"),
];

/// Values that a type must hold besides.
#[rustfmt::skip]
const MORE: &[Row] = &[
    ("char", "\"char\"", &["'x'", "''"], "string"),
    ("citext", "citext", &["'MiXed'"], "string"),
    ("numeric(3,-2)", "numeric(3,-2)", &["12345", "-99900"], "decimal128(5, 0)"),
    ("numeric(2,4)", "numeric(2,4)", &["0.0012", "-0.0099"], "decimal128(4, 4)"),
    ("numeric(1000,500)", "numeric(1000,500)", &["1e400", "1e-400"], "string"),
    ("numeric plain, odd", "numeric", &["'NaN'", "'Infinity'", "'-Infinity'", "1e1000", "1.10", "0.000", "-1e-50"], "string"),
    ("float4 least", "float4", &["1e-45", "-3.4028235e38", "'-0'"], "float"),
    ("float8 least", "float8", &["5e-324", "1.7976931348623157e308", "'-0'"], "double"),
    ("money ends", "money", &["'-92233720368547758.08'", "'92233720368547758.07'"], "decimal128(19, 2)"),
    ("date ends", "date", &["'4713-11-24 BC'", "'5874897-12-31'"], "date32[day]"),
    ("timestamp ends", "timestamp", &["'4713-11-24 BC'", "'294246-12-31 23:59:59.999999'"], "timestamp[us]"),
    ("timetz ends", "timetz", &["'00:00:00+15:59:59'", "'24:00:00-15:59:59'"], "string"),
    ("interval ends", "interval", &["'178956970 years 2147483647 days'", "'-178956970 years -2562047 hours'"], "struct<months: int32 not null, days: int32 not null, nanoseconds: int64 not null>"),
    ("bytea empty", "bytea", &["''"], "binary"),
    ("macaddr8", "macaddr8", &["'08:00:2b:01:02:03:04:05'"], "string"),
    ("bit varying, empty", "varbit", &["B''"], "string"),
    ("array with bounds", "int8[]", &["'[-2:0]={1,2,3}'"], "list<item: int64>"),
    ("array of composite", "pair[]", &["array[row(1,'x'), null, row(null,null), row(2,'a \"b,\\')]::pair[]"], "list<item: struct<a: int32, b: string>>"),
    ("array of text that hides", "text[]", &["array['NULL', null, '', 'a\"b\\', '{}']"], "list<item: string>"),
    ("array of hstore", "hstore[]", &["array['a=>1', '']::hstore[]"], "list<item: map<string, string ('item')>>"),
    ("array of tsvector", "tsvector[]", &["array['a:1'::tsvector]"], "string"),
    ("array of inet", "inet[]", &["'{10.0.0.1,10.0.0.0/8,::ffff:1.2.3.4,fe80::/10}'"], "list<item: string>"),
    ("array of timetz", "timetz[]", &["'{00:00:00+15:59:59,24:00:00-12,12:34:56.7+05:45}'"], "list<item: string>"),
    ("array of bits", "varbit[]", &["'{101,\"\",11111111,000000001}'"], "list<item: string>"),
    ("array of uuid", "uuid[]", &["'{0000534e-73fe-86ee-3472-849d0bdc28a3}'"], "list<item: extension<arrow.uuid>>"),
    ("composite of all", "many", &["row(array[1,2], row(1,'(\",')::pair, '[2024-01-01,)', 'happy', 7, 1.5)"],
        "struct<list: list<item: int32>, inner: struct<a: int32, b: string>, days: struct<lower: date32[day], upper: date32[day], R, mood: dictionary<values=string, indices=int32, ordered=0>, positive: int32, rate: decimal128(10, 4)>"),
    ("domain of an array", "list", &["'{1,2}'"], "list<item: int32>"),
    ("ranges without ends", "numrange", &["'(,)'", "'(,1.50]'", "'(2.000,)'", "'[1,1]'"], "struct<lower: string, upper: string, R"),
    ("range of dates", "daterange", &["'[2024-01-01,2024-01-31]'", "'(,2024-01-01)'", "'[-infinity,infinity]'"], "struct<lower: date32[day], upper: date32[day], R"),
    ("multirange, empty", "int8multirange", &["'{}'", "'{(,1),[5,)}'"], "list<item: struct<lower: int64, upper: int64, R>"),
    ("json with escapes", "json", &["'\"\\u00e9\\n\"'", "'null'"], "extension<arrow.json>"),
    ("hstore, empty", "hstore", &["''", "hstore('a\"b\\', 'x=>y, z')"], "map<string, string ('v')>"),
    ("pg_class", "regclass", &["'pg_class'"], "string"),
    ("xid", "xid", &["'4294967295'"], "string"),
];

/// A table with the columns `id` and `v` for each case; what a job needs to read it.
fn with_tables<'a>(server: &'a Server, rows: &[Row]) -> Database<'a> {
    let database = server.database();
    let mut sql = String::from(
        "create extension hstore; create extension citext;
         create type mood as enum ('sad', 'happy', 'never used'); create domain positive as int4 check (value > 0);
         create domain rate as numeric(10,4); create type pair as (a int4, b text); create domain list as int4[];
         create type many as (list int4[], dropped text, inner_pair pair, days daterange, mood mood, positive positive, rate rate);
         alter type many drop attribute dropped; alter type many rename attribute inner_pair to \"inner\";
         set xmloption = 'content';\n",
    );
    for (number, (_, kind, values, _)) in rows.iter().enumerate() {
        sql += &format!("create table t{number} (id int4 not null, v {kind});\n");
        for (id, value) in values.iter().chain(&["null"]).enumerate() {
            sql += &format!("insert into t{number} values ({id}, ({value})::{kind});\n");
        }
    }
    database.sql(&sql);
    database
}

/// Reads every table and compares it, with the type that it has, with what the server prints.
fn check_matrix(server: &Server, rows: &[Row]) {
    let rows: Vec<Row> = rows
        .iter()
        .filter(|(_, kind, ..)| *kind != "xml" || server.version < 18)
        .copied()
        .collect();
    let database = with_tables(server, &rows);
    let dir = TestDir::new();
    let names: Vec<(String, String)> = (0..rows.len())
        .map(|number| (format!("t{number}"), format!("select id, v from t{number}")))
        .collect();
    let jobs: Vec<_> = names
        .iter()
        .zip(&rows)
        .map(|((name, _), (label, ..))| {
            let mut config = json!({ "connection_string": database.url("reader"), "table": name, "infinity": "saturate" });
            if *label == "numeric NaN" {
                config["types"] = json!({ "v": "text" });
            }
            (name.clone(), config, json!({}))
        })
        .collect();
    let failed: Vec<String> = run_all(&dir, &jobs)
        .iter()
        .zip(&rows)
        .filter(|(run, _)| !run["error"].is_null())
        .map(|(run, (label, ..))| format!("{label}: {}", run["error"]))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n")
    );
    let pairs: Vec<_> = names
        .iter()
        .map(|(name, query)| (name.as_str(), query.as_str()))
        .collect();
    let types = compare(&dir, &database, &pairs);
    let wrong: Vec<String> = rows
        .iter()
        .zip(types)
        .filter_map(|((label, _, _, expected), found)| {
            let expected = expected.replace('R', RANGE);
            let found = found["v"].as_str().unwrap_or_default().to_owned();
            (found != expected).then(|| format!("{label}: {found}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_58_types_are_exact() {
    assert_eq!(MATRIX.len(), 58);
    check_matrix(server(), MATRIX);
}

#[test]
fn all_58_types_are_exact_on_a_newer_server() {
    check_matrix(newer_server(), MATRIX);
}

#[test]
fn the_ends_of_types_and_nested_ones_are_exact() {
    check_matrix(server(), MORE);
}

#[test]
fn a_value_that_arrow_cannot_hold_is_refused_or_what_the_job_says() {
    let database = server().database();
    database.sql(
        "create table t (id int4, d date, t timestamp, z timestamptz, n numeric(12,2), a int4[]);
         insert into t values (1, '2024-01-01', '2024-01-01', '2024-01-01', 1, '{1}');
         create table d as table t; insert into d (id, d) values (2, 'infinity');
         create table t1 as table t; insert into t1 (id, t) values (2, '-infinity');
         create table z as table t; insert into z (id, z) values (2, 'infinity');
         create table n as table t; insert into n (id, n) values (2, 'NaN');
         create table a as table t; insert into a (id, a) values (2, '{{1,2},{3,4}}');
         create table p (id int4, v numeric); insert into p values (1, 1.25), (2, 1.255), (3, null);
         create table e (id int4, v timestamp); insert into e values (1, '294276-12-31');
         create table i (id int4, v interval); insert into i values (1, '2562048 hours');",
    );
    let dir = TestDir::new();
    let job = |table: &str, more: Value| {
        let mut config = json!({ "connection_string": database.url("reader"), "table": table });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        run(
            &dir,
            &format!("{table}{}", dir.path().read_dir().unwrap().count()),
            &config,
            &json!({}),
        )
    };
    for (table, message, hint) in [
        ("d", "row 2, column `d`", "infinity"),
        ("t1", "row 2, column `t`", "infinity"),
        ("z", "row 2, column `z`", "infinity"),
        ("n", "row 2, column `n`", "nan"),
        ("a", "row 2, column `a`", "types: { a: text }"),
        ("e", "row 1, column `v`", "types: { v: text }"),
        ("i", "row 1, column `v`", "types: { v: text }"),
    ] {
        let output = job(table, json!({}));
        fails(&output, 1, message, hint);
    }
    fails(
        &job("p", json!({ "numeric": "decimal(10,2)" })),
        1,
        "row 2, column `v`",
        "",
    );
    fails(
        &job("t", json!({ "types": { "d": "float64" } })),
        2,
        "`d`",
        "",
    );
    fails(
        &job("t", json!({ "types": { "nn": "text" } })),
        2,
        "`nn`",
        "`n`",
    );

    for (table, option) in [
        ("d", "infinity"),
        ("t1", "infinity"),
        ("z", "infinity"),
        ("n", "nan"),
    ] {
        let name = format!("{table}_null");
        let mut config = json!({ "connection_string": database.url("reader"), "table": table });
        config[option] = json!("null");
        assert_eq!(run(&dir, &name, &config, &json!({})).code, 0);
        let query = format!(
            "select id, nullif(d, 'infinity')::text, nullif(t, '-infinity')::text, nullif(z, 'infinity')::text, nullif(n, 'NaN')::text, a::text from {table}"
        );
        check_rows(&dir, &database, &name, &query);
    }
    let config = json!({ "connection_string": database.url("reader"), "table": "p", "numeric": "decimal(10,3)" });
    assert_eq!(run(&dir, "scaled", &config, &json!({})).code, 0);
    let types = check_rows(
        &dir,
        &database,
        "scaled",
        "select id, v::numeric(10,3)::text from p",
    );
    assert_eq!(types["v"], "decimal128(10, 3)");
    let config = json!({ "connection_string": database.url("reader"), "table": "a", "types": { "a": "text" } });
    assert_eq!(run(&dir, "as_text", &config, &json!({})).code, 0);
    check_rows(
        &dir,
        &database,
        "as_text",
        "select id, d, t, z, n, a from a",
    );
}

#[test]
fn null_and_not_null_reach_the_schema() {
    let database = server().database();
    database.sql(
        "create table t (a int4 not null, b int4, c text not null default '');
         create view v as table t; insert into t values (1, 2);",
    );
    let dir = TestDir::new();
    let nullable = |config: Value| -> Vec<bool> {
        write_job(&dir, "job", &config, &json!({}));
        let plan = cli(&dir, &["plan", "job.yaml", "--json"]).json();
        let columns = plan["columns"]
            .as_array()
            .unwrap_or_else(|| panic!("{plan:#}"));
        columns
            .iter()
            .map(|column| column["nullable"].as_bool().unwrap())
            .collect()
    };
    let url = database.url("reader");
    let of = |key: &str, value: &str| json!({ "connection_string": url, key: value });
    assert_eq!(nullable(of("table", "t")), [false, true, false]);
    assert_eq!(nullable(of("table", "v")), [true, true, true]);
    assert_eq!(nullable(of("query", "select * from t")), [true, true, true]);
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let database = server().create(
        "test_ascii",
        "encoding 'SQL_ASCII' locale 'C' template template0",
    );
    database.sql(
        "create table t (id int4, v text); insert into t values (1, 'plain'), (2, E'caf\\xe9');",
    );
    let dir = TestDir::new();
    let config = json!({ "connection_string": database.url("reader"), "table": "t" });
    fails(
        &run(&dir, "job", &config, &json!({})),
        1,
        "invalid byte sequence",
        "",
    );
}
