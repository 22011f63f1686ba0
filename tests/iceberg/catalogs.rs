//! The catalogs: a SQLite file, PostgreSQL, a server of the REST protocol; with files and with buckets.

use serde_json::json;
use uuid::Uuid;

use super::{Bench, TABLE};
use crate::support::TestDir;
use crate::support::aws::{KEY_ID, SECRET, servers};
use crate::support::iceberg::Catalog;
use crate::support::postgres::server;

const WRITERS: u64 = 16;

/// A table of its own in the catalog of SeaweedFS, which is reached at `uri`.
pub fn rest(uri: &str) -> Bench {
    let bench = Bench {
        dir: TestDir::new(),
        catalog: Catalog::rest(),
        table: format!("n{}.orders", Uuid::now_v7().simple()),
        variables: servers().environment("moto"),
    };
    bench.job("job", "in/*.csv", &rest_target(uri));
    bench
}

fn rest_target(uri: &str) -> String {
    format!(
        "warehouse: s3://warehouse\n  catalog: {{ type: rest, uri: \"{uri}\", credential: \"{KEY_ID}:{SECRET}\" }}"
    )
}

#[test]
fn a_table_in_the_catalog_of_a_rest_server() {
    let bench = rest(&servers().endpoint("iceberg"));
    bench.put("a.csv", 0, 5_000);
    bench.runs();
    bench.put("b.csv", 5_000, 6_000);
    assert_eq!(bench.runs()["rows_read"], 1_000);
    let found = bench.check(6_000, "through REST");
    assert_eq!(found["snapshots"].as_array().unwrap().len(), 2);
    let row = json!([{ "id": 6_000, "name": null, "region": "eu", "amount": 1.5 }]);
    bench.catalog.append(&bench.table, &row);
    bench.put("c.csv", 6_001, 7_000);
    bench.runs();
    bench.check(7_000, "with a row of pyiceberg");
}

#[test]
fn an_upsert_through_a_rest_server_into_a_bucket() {
    let uri = servers().endpoint("iceberg");
    let bench = rest(&uri);
    let target = format!("{}\n  mode: upsert\n  key: [id]", rest_target(&uri));
    bench.job("job", "in/*.csv", &target);
    bench.put("a.csv", 0, 4_000);
    bench.runs();
    bench.put("b.csv", 3_000, 5_000);
    bench.runs();
    bench.check(5_000, "after an upsert");
}

#[test]
fn sixteen_runs_at_once_each_add_a_snapshot_through_a_rest_server() {
    let uri = servers().endpoint("iceberg");
    let bench = rest(&uri);
    // SeaweedFS lets two clients make one table, the second over the first: it has to be there.
    bench.put("first.csv", WRITERS * 100, WRITERS * 100 + 1);
    bench.job("first", "in/first.csv", &rest_target(&uri));
    assert_eq!(bench.run("first").code, 0);
    at_once(&bench, &rest_target(&uri), 1);
}

#[test]
fn sixteen_runs_at_once_each_add_a_snapshot_in_postgres() {
    let dir = TestDir::new();
    let database = server().database();
    database.sql("grant create on schema public to public;");
    let uri = database.url("reader");
    let shared = database.plain_url("reader");
    let catalog = Catalog::sql(
        &shared.replace("postgresql://", "postgresql+psycopg2://"),
        &dir.path().join("warehouse"),
    );
    let bench = Bench {
        dir,
        catalog,
        table: TABLE.to_owned(),
        variables: vec![("CATALOG_URI", uri)],
    };
    let target = "warehouse: warehouse\n  catalog: { type: sql, uri: \"${SECRET:CATALOG_URI}\" }";
    at_once(&bench, target, 0);
}

#[test]
fn a_table_in_a_bucket_with_the_catalog_in_a_file() {
    let prefix = format!("s3://data/{}", Uuid::now_v7());
    let dir = TestDir::new();
    let uri = format!("sqlite:///{}", dir.path().join("c.db").display());
    let bench = Bench {
        catalog: Catalog::sql_with_bucket(&uri, &prefix),
        table: TABLE.to_owned(),
        dir,
        variables: servers().environment("moto"),
    };
    bench.job(
        "job",
        "in/*.csv",
        &format!("warehouse: {prefix}\n  catalog: {{ type: sql, uri: \"sqlite:///c.db\" }}"),
    );
    bench.put("a.csv", 0, 5_000);
    bench.runs();
    bench.put("b.csv", 5_000, 6_000);
    bench.runs();
    bench.check(6_000, "in a bucket");
}

#[test]
fn sixteen_runs_at_once_each_add_a_snapshot_in_a_file() {
    let bench = Bench::new("");
    at_once(&bench, "warehouse: warehouse", 0);
}

/// `more` rows are in the table already.
fn at_once(bench: &Bench, target: &str, more: u64) {
    let mut runs = Vec::new();
    for writer in 0..WRITERS {
        bench.put(&format!("{writer}.csv"), writer * 100, writer * 100 + 100);
        let name = format!("job{writer}");
        bench.job(&name, &format!("in/{writer}.csv"), target);
        runs.push(
            bench
                .command(&["run", &format!("{name}.yaml"), "--json"])
                .spawn()
                .unwrap(),
        );
    }
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let found = bench.check(WRITERS * 100 + more, "at once");
    let snapshots = found["snapshots"].as_array().unwrap().iter();
    let added = snapshots.filter(|snapshot| snapshot["summary"]["added-records"] == "100");
    assert_eq!(added.count() as u64, WRITERS);
}
