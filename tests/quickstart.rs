//! The example jobs: they load, and the quick start runs, is read back, and runs again.

use serde_json::json;

use crate::support::{TestDir, cli, read_csv, read_parquet, repository};

/// A folder with the repository's jobs and their data.
fn with_jobs() -> TestDir {
    let dir = TestDir::new();
    std::os::unix::fs::symlink(repository().join("jobs"), dir.path().join("jobs")).unwrap();
    dir
}

#[test]
fn every_example_job_passes_its_check() {
    let dir = with_jobs();
    let mut checked = 0;
    for entry in std::fs::read_dir(repository().join("jobs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".yaml") {
            let output = cli(&dir, &["check", &format!("jobs/{name}"), "--json"]);
            assert_eq!(output.code, 0, "{name}: {output:?}");
            checked += 1;
        }
    }
    assert!(checked > 0);
    assert!(!dir.path().join("out").exists(), "a check wrote something");
}

#[test]
fn the_quick_start_arrives_whole_and_once() {
    let dir = with_jobs();
    let job = "jobs/quickstart.yaml";
    let first = cli(&dir, &["run", job, "--json"]);
    assert_eq!(first.code, 0, "{first:?}");
    let report = first.json();
    assert_eq!(report["status"], "success");
    assert_eq!(
        (&report["rows_read"], &report["rows_written"]),
        (&json!(2226), &json!(2226))
    );
    assert_eq!(report["rows_rejected"], 0);
    assert_eq!(
        (&report["job"], &report["tenant"]),
        (&json!("quickstart"), &json!("quickstart"))
    );
    assert!(
        report["bytes_written"].as_u64() > Some(0) && report["error"].is_null(),
        "{report}"
    );
    assert!(report["peak_memory_bytes"].as_u64() > Some(0) && report["run_id"].is_string());
    let output = &report["outputs"][0];
    let file = dir.path().join(output["path"].as_str().unwrap());
    assert_eq!(
        output["bytes"],
        std::fs::metadata(&file).unwrap().len(),
        "{report}"
    );
    assert_eq!(output["checksum"], format!("sha256:{}", sha256(&file)));

    let expected = read_csv(&repository().join("jobs/data/weather-2013-01.csv"));
    let folder = dir.path().join("out/quickstart");
    let by_duckdb = read_parquet("duckdb", &folder);
    assert_eq!(by_duckdb, expected);
    let by_pyarrow = read_parquet("pyarrow", &folder);
    assert_eq!(by_pyarrow["columns"], expected["columns"]);

    let second = cli(&dir, &["run", job, "--json"]).json();
    assert_eq!(
        (&second["status"], &second["rows_read"]),
        (&json!("success"), &json!(0))
    );
    assert_eq!(second["state"], report["state"]);

    // The run store is a cache: without it the target still knows.
    std::fs::remove_dir_all(dir.path().join(".dativo")).unwrap();
    assert_eq!(cli(&dir, &["run", job, "--json"]).json()["rows_read"], 0);

    assert_eq!(cli(&dir, &["state", "reset", job]).code, 0);
    assert_eq!(
        cli(&dir, &["state", "show", job, "--json"]).json()["reset"],
        true
    );
    assert_eq!(
        cli(&dir, &["run", job, "--json"]).json()["rows_written"],
        2226
    );
    assert_eq!(read_parquet("duckdb", &folder)["rows"], 4452);
}

#[test]
fn the_example_of_a_contract_puts_bad_rows_aside() {
    let dir = with_jobs();
    let output = cli(&dir, &["run", "jobs/contract.yaml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    assert_eq!(
        (
            &report["rows_read"],
            &report["rows_written"],
            &report["rows_rejected"]
        ),
        (&json!(2226), &json!(2203), &json!(23))
    );
    let good = read_parquet("duckdb", &dir.path().join("out/contract"));
    let bad = read_parquet("duckdb", &dir.path().join("out/contract-rejected"));
    assert_eq!(good["rows"], report["rows_written"]);
    assert_eq!(bad["rows"], report["rows_rejected"]);
    assert_eq!(good["columns"]["temp"]["type"], "DECIMAL(5,2)");
    assert_eq!(bad["columns"]["_dativo_reason"]["nulls"], 0);
}

#[test]
fn a_preview_shows_rows_and_writes_nothing() {
    let dir = with_jobs();
    let shown = cli(
        &dir,
        &["preview", "jobs/quickstart.yaml", "--rows", "3", "--json"],
    )
    .json();
    assert_eq!(shown["columns"][0], "origin");
    assert_eq!(shown["rows"].as_array().unwrap().len(), 3);
    assert_eq!(shown["rows"][0][1], "2013");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_plan_shows_grants_splits_and_columns() {
    let dir = with_jobs();
    let plan = cli(&dir, &["plan", "jobs/quickstart.yaml", "--json"]).json();
    assert_eq!(plan["splits"].as_array().unwrap().len(), 1);
    assert_eq!(
        plan["columns"][0],
        json!({ "name": "origin", "type": "Utf8", "nullable": true })
    );
    let granted = &plan["reader"]["plan"]["granted"][0];
    assert_eq!(granted["target"], "read jobs/data/weather-2013-01.csv");
    assert_eq!(granted["origin"], "config `file_path`");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_directory_of_jobs_runs_them_all_and_a_broken_one_stops_none() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("all")).unwrap();
    dir.write("n.csv", "n\n1\n2\n");
    let good = "tenant_id: t\nsource: { reader: { type: custom, implementation: csv, config: { file_path: n.csv } } }\n\
                target: { writer: { type: custom, implementation: parquet, config: { path: out } } }\n";
    dir.write("all/a.yaml", "tenant: t\n");
    dir.write("all/b.yaml", good);
    let output = cli(&dir, &["run", "all", "--json"]);
    assert_eq!(output.code, 2, "{output:?}");
    let report = output.json();
    assert_eq!(report["runs"][0]["rows_written"], 2, "{report}");
    assert_eq!(report["refused"][0]["kind"], "job_invalid", "{report}");
}

fn sha256(file: &std::path::Path) -> String {
    use sha2::Digest;
    dativo_wasm::component::hex(&sha2::Sha256::digest(std::fs::read(file).unwrap()))
}
