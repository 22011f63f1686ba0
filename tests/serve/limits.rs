//! What all runs of a process, and all of a tenant, have together: bytes that are staged, connections, a rate.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{check, folder, job, noise, put};
use crate::support::postgres::{Database, server};
use crate::support::serve::Serving;
use crate::support::{TestDir, cli, files_below};

/// Rows that no encoding makes small, 40 bytes each.
fn write_large(dir: &TestDir, rows: u64) {
    let mut random = noise();
    let rows: String = (0..rows)
        .map(|id| format!("{id},{:016x}{:016x}\n", random(), random()))
        .collect();
    dir.write("large.csv", &format!("id,value\n{rows}"));
}

fn large(tenant: &str, target: &str) -> String {
    format!(
        "tenant_id: {tenant}\nparallelism: 1\nlimits: {{ memory: 64MiB }}\n\
         source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: large.csv }} }} }}\n\
         target: {target}\n"
    )
}

const FILES: &str = "{ writer: { type: custom, implementation: parquet, config: { path: out } } }";
const TABLE: &str = "{ warehouse: warehouse, namespace: other, table: large }";

#[test]
fn a_tenant_stages_no_more_than_it_may_and_loses_nothing_by_it() {
    let dir = folder();
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    write_large(&dir, 40_000);
    for target in [FILES, TABLE] {
        dir.write("job.yaml", &large("other", target));
        dir.write("tenants/other.yaml", "limits: { staged: 256KiB }\n");
        let refused = cli(&dir, &["run", "job.yaml", "--json"]).json();
        let error = refused["error"].to_string();
        assert_eq!(refused["error"]["kind"], "limit_exceeded", "{refused}");
        assert!(
            error.contains("256.0 KiB") && error.contains("`limits.staged`"),
            "{error}"
        );
        let left = [
            files_below(&dir.path().join("out")),
            files_below(&dir.path().join("warehouse")),
        ]
        .concat();
        let left: Vec<_> = left
            .iter()
            .filter(|file| file.contains(".parquet"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        dir.write("tenants/other.yaml", "limits: { staged: 64MiB }\n");
        let run = cli(&dir, &["run", "job.yaml", "--json"]).json();
        assert_eq!(run["rows_written"], 40_000, "{run}");
        std::fs::remove_dir_all(dir.path().join("out")).unwrap_or_default();
    }
}

#[test]
fn all_runs_stage_no_more_than_the_process_lets_them() {
    let dir = folder();
    write_large(&dir, 40_000);
    dir.write("jobs/other/large.yaml", &large("other", TABLE));
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    let serving = Serving::start(&dir, &["--staged", "256KiB"]);
    let begin = |job: &str| {
        let run = serving.post(&format!("/api/v1/jobs/{job}/runs"));
        serving.ended(run["run_id"].as_str().unwrap())
    };
    let refused = begin("other/large");
    assert_eq!(refused["error"]["kind"], "limit_exceeded", "{refused}");
    assert!(
        refused["error"].to_string().contains("`--staged`"),
        "{refused}"
    );
    // What the refused run had staged counts no longer.
    for file in 0..3 {
        put(&dir, file);
        assert_eq!(begin("acme/rows")["status"], "committed");
    }
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 30);
}

fn of_postgres(tenant: &str, database: &Database<'_>) -> String {
    let url = format!("{}&connect_timeout=2", database.url("reader"));
    json!({
        "tenant_id": tenant, "parallelism": 1,
        "source": { "reader": { "type": "custom", "implementation": "postgres",
            "config": { "connection_string": url, "table": "t" } } },
        "target": { "warehouse": "warehouse", "namespace": tenant, "table": "rows", "mode": "overwrite" },
    })
    .to_string()
}

#[test]
fn sessions_with_databases_are_limited_and_idle_ones_make_room_for_other_tenants() {
    let database = server().database();
    database.sql("create table t as select n as id from generate_series(0, 9) n");
    let dir = folder();
    for tenant in ["acme", "other"] {
        dir.write(
            &format!("jobs/{tenant}/rows.yaml"),
            &of_postgres(tenant, &database),
        );
    }
    let begin = |serving: &Serving, job: &str| {
        let run = serving.post(&format!("/api/v1/jobs/{job}/runs"));
        serving.ended(run["run_id"].as_str().unwrap())
    };
    // A session that holds the snapshot, and one that reads.
    let serving = Serving::start(&dir, &["--connections", "2"]);
    for tenant in ["acme", "other", "acme", "other"] {
        let run = begin(&serving, &format!("{tenant}/rows"));
        assert_eq!(run["status"], "committed", "{run}");
        let open = database.sql("select count(*) from pg_stat_activity where usename = 'reader' and datname = current_database()");
        assert!(open.trim().parse::<u32>().unwrap() <= 2, "{open}");
    }
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 10);

    let serving = Serving::start(&dir, &["--connections", "1"]);
    let refused = begin(&serving, "acme/rows");
    assert_eq!(refused["error"]["kind"], "unavailable", "{refused}");
    assert!(
        refused["error"]
            .to_string()
            .contains("no connection is free"),
        "{refused}"
    );
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_tenant_moves_no_more_than_its_rate_and_another_as_fast_as_it_can() {
    let database = server().database();
    database.sql("create table t as select n, repeat(md5(n::text), 4) as text from generate_series(1, 40000) n");
    let dir = folder();
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    dir.write("tenants/other.yaml", "limits: { network: 1MiB }\n");
    let run = |tenant: &str| {
        let text = json!({
            "tenant_id": tenant, "parallelism": 1, "limits": { "batch_rows": 2000 },
            "source": { "reader": { "type": "custom", "implementation": "postgres",
                "config": { "connection_string": database.url("reader"), "table": "t" } } },
            "target": { "writer": { "type": "custom", "implementation": "parquet",
                "config": { "path": format!("out/{tenant}") } } },
        });
        dir.write(&format!("{tenant}.yaml"), &text.to_string());
        let begun = Instant::now();
        let output = cli(&dir, &["run", &format!("{tenant}.yaml"), "--json"]);
        assert_eq!(output.json()["rows_written"], 40_000, "{output:?}");
        begun.elapsed()
    };
    run("acme");
    // Some 5.7 MB of rows: what is paid for last is the batch before the last one.
    let took = run("other");
    assert!(took > Duration::from_secs(4), "{took:?}");
    for tenant in ["acme", "other"] {
        let rows = crate::support::read_parquet("duckdb", &dir.path().join("out").join(tenant));
        assert_eq!(rows["rows"], 40_000);
    }
}
