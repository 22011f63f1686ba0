//! From Postgres: exact types, and runs that replace what is there.

use serde_json::{Value, json};

use super::{Bench, TABLE};
use crate::support::TestDir;
use crate::support::iceberg::Catalog;
use crate::support::postgres::{Database, server};

fn bench(database: &Database<'_>, query: &str, more: &Value) -> Bench {
    let dir = TestDir::new();
    let bench = Bench {
        catalog: Catalog::of_folder(dir.path()),
        dir,
        table: TABLE.to_owned(),
        variables: Vec::new(),
    };
    let mut target = json!({ "warehouse": "warehouse", "namespace": "sales", "table": "orders" });
    target
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let reader = json!({ "connection_string": database.url("reader"), "query": query });
    let job = json!({
        "tenant_id": "t",
        "source": { "reader": { "type": "custom", "implementation": "postgres", "config": reader } },
        "target": target,
    });
    bench.dir.write("job.yaml", &job.to_string());
    bench
}

#[test]
fn each_type_arrives_exactly() {
    let database = server().database();
    database.sql(
        "create table t (i int, l bigint, f real, d double precision, n numeric(20, 4), b boolean, s text, \
         x bytea, u uuid, day date, t time, at timestamp, tz timestamptz, a int[]);
         insert into t values
         (-1, 9007199254740993, 1.5, 'NaN', 1234567890123456.7891, true, 'é', '\\x00ff', \
          '00112233-4455-6677-8899-aabbccddeeff', '0001-01-01', '23:59:59.999999', '1969-12-31 23:59:59.999999', \
          '2024-02-29 12:00:00.000001+02', '{1,null,3}'),
         (null, null, null, null, null, null, null, null, null, null, null, null, null, null);",
    );
    let bench = bench(&database, "select * from t", &json!({}));
    bench.runs();
    let found = bench.catalog.read(TABLE);
    let types = json!({
        "i": "int", "l": "long", "f": "float", "d": "double", "n": "decimal(20, 4)", "b": "boolean", "s": "string",
        "x": "binary", "u": "uuid", "day": "date", "t": "time", "at": "timestamp", "tz": "timestamptz", "a": "list<int>",
    });
    assert_eq!(found["types"], types);
    let rows = &found["pyiceberg"]["first"];
    let full = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| !row[0].is_null())
        .unwrap();
    let expected = json!([
        -1,
        9_007_199_254_740_993_i64,
        "1.5",
        "nan",
        "1234567890123456.7891",
        true,
        "é",
        "00ff",
        "00112233-4455-6677-8899-aabbccddeeff",
        "0001-01-01",
        "23:59:59.999999",
        "1969-12-31T23:59:59.999999",
        "2024-02-29T10:00:00.000001+00:00",
        [1, null, 3],
    ]);
    assert_eq!(full, &expected);
    for (name, nulls) in found["pyiceberg"]["nulls"].as_object().unwrap() {
        assert_eq!(nulls, 1, "{name}");
    }
}

#[test]
fn a_run_replaces_the_table_or_the_partitions_that_it_has_rows_for() {
    let database = server().database();
    database.sql("create table t as select n as id, n % 3 as part from generate_series(1, 300) n;");
    let replaced = bench(
        &database,
        "select * from t",
        &json!({ "mode": "overwrite" }),
    );
    replaced.runs();
    let partial = bench(
        &database,
        "select * from t",
        &json!({ "mode": "overwrite_partitions", "partition_by": ["part"] }),
    );
    partial.runs();
    database.sql("update t set id = id + 1000 where part = 1; delete from t where part <> 1;");
    replaced.runs();
    let found = replaced.catalog.read(TABLE);
    assert_eq!(
        (
            &found["pyiceberg"]["rows"],
            &found["pyiceberg"]["sums"]["part"]
        ),
        (&json!(100), &json!("100"))
    );
    let last = found["snapshots"].as_array().unwrap().last().unwrap();
    assert_eq!(last["operation"], "overwrite");
    let summary = &last["summary"];
    assert_eq!(
        (&summary["deleted-records"], &summary["total-records"]),
        (&json!("300"), &json!("100"))
    );
    assert_eq!(summary["total-data-files"], "1");

    partial.runs();
    // Partition 1 was replaced; 0 and 2 are as they were.
    let found = partial.catalog.read(TABLE);
    assert_eq!(found["pyiceberg"]["rows"], 300);
    let of_others: i64 = (1..=300).filter(|n| n % 3 != 1).sum();
    let of_one: i64 = (1..=300).filter(|n| n % 3 == 1).map(|n| n + 1000).sum();
    assert_eq!(
        found["pyiceberg"]["sums"]["id"],
        (of_others + of_one).to_string()
    );
}

#[test]
fn rows_are_partitioned_by_each_transform_of_each_type_that_has_it() {
    let database = server().database();
    database.sql(
        "create table t as select n as i, n::bigint as l, n::numeric(12, 2) as d, 's' || n as s, \
         timestamp '1969-12-30' + n * interval '7 hours' as at, \
         timestamptz '1969-12-30 00:00:00+00' + n * interval '7 hours' as tz, date '1969-12-30' + n as day, \
         md5(n::text)::uuid as u, n % 2 = 0 as b from generate_series(1, 40) n;
         insert into t (i) values (41);",
    );
    for spec in [
        &["i"][..],
        &["b"],
        &["day"],
        &["d"],
        &["tz"],
        &["day(at)"],
        &["hour(tz)"],
        &["month(day)", "year(tz)"],
        &["bucket(4, l)", "bucket(3, s)"],
        &["bucket(4, d)", "bucket(4, day)"],
        &["bucket(4, u)", "bucket(4, at)"],
        &["truncate(10, l)", "truncate(2, s)"],
        &["truncate(1000, d)"],
    ] {
        let bench = bench(
            &database,
            "select * from t",
            &json!({ "partition_by": spec }),
        );
        bench.runs();
        let found = bench.catalog.read(TABLE);
        assert_eq!(found["pyiceberg"]["rows"], 41, "{spec:?}");
        let files = found["files"].as_array().unwrap().len() as u64;
        assert!(files > 1, "{spec:?}");
        // The file that has the row is never skipped.
        let read = bench.catalog.files_for(TABLE, "l = 7");
        assert!((1..=files).contains(&read), "{read} of {files}: {spec:?}");
    }
    let by_uuid = bench(
        &database,
        "select * from t",
        &json!({ "partition_by": ["u"] }),
    );
    by_uuid.refuses("bucket(16, u)");
}
