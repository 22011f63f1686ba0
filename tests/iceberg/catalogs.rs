//! The catalogs: a SQLite file, PostgreSQL, a server of the REST protocol; with files and with buckets.

use uuid::Uuid;

use super::{Bench, TABLE};
use crate::support::TestDir;
use crate::support::aws::{KEY_ID, SECRET, servers};
use crate::support::iceberg::Catalog;
use crate::support::postgres::server;

const WRITERS: u64 = 16;

/// A catalog that is a database of its own on the Postgres server.
fn postgres(dir: TestDir) -> Bench {
    let database = server().database();
    database.sql("grant create on schema public to public;");
    let uri = database.url("scram");
    let catalog = Catalog::sql(
        &uri.replace("postgresql://", "postgresql+psycopg2://"),
        &dir.path().join("warehouse"),
    );
    let bench = Bench {
        dir,
        catalog,
        variables: Vec::new(),
    };
    bench.job(
        "job",
        "in/*.csv",
        &format!("warehouse: warehouse\n  catalog: {{ type: sql, uri: \"{uri}\" }}"),
    );
    bench
}

/// A namespace of its own in the catalog of SeaweedFS, which is reached at `uri`.
pub fn rest(uri: &str) -> Bench {
    let bench = Bench {
        dir: TestDir::new(),
        catalog: Catalog::rest(),
        variables: servers().environment("moto"),
    };
    bench.job("job", "in/*.csv", &rest_target(uri));
    bench
}

pub fn rest_target(uri: &str) -> String {
    format!(
        "warehouse: s3://warehouse\n  catalog: {{ type: rest, uri: \"{uri}\", credential: \"{KEY_ID}:{SECRET}\" }}"
    )
}

#[test]
fn a_table_in_a_bucket_with_the_catalog_in_a_file() {
    let prefix = format!("s3://data/{}", Uuid::now_v7());
    let dir = TestDir::new();
    let uri = format!("sqlite:///{}", dir.path().join("c.db").display());
    let bench = Bench {
        catalog: Catalog::sql_with_bucket(&uri, &prefix),
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
    at_once(&bench, "warehouse: warehouse");
}

fn at_once(bench: &Bench, target: &str) {
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
    let found = bench.check(WRITERS * 100, "at once");
    assert_eq!(found["snapshots"].as_array().unwrap().len() as u64, WRITERS);
    assert_eq!(
        found["location"]
            .as_str()
            .is_some_and(|location| location.contains(TABLE.split_once('.').unwrap().1)),
        true
    );
}
