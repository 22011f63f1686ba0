//! A real table of 336,776 rows goes through the sandbox and is read back by two other tools.

use serde_json::Value;

use crate::support::{TestDir, cli, python, read_csv, read_parquet};

const ROWS: u64 = 336_776;

fn flights() -> (TestDir, Value) {
    let dir = TestDir::new();
    let file = dir.path().join("flights.csv");
    python("flights.py", &[file.to_str().unwrap()]);
    let expected = read_csv(&file);
    assert_eq!(expected["rows"], ROWS);
    (dir, expected)
}

fn job(dir: &TestDir, name: &str, reader: &str, writer: &str) -> Value {
    let file = dir.write(
        &format!("{name}.yaml"),
        &format!(
            "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: csv, \
             config: {{ {reader}, null_values: [\"\", \"NA\"] }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: parquet, \
             config: {{ path: out/{name}, {writer} }} }} }}\nparallelism: 4\n"
        ),
    );
    let output = cli(dir, &["run", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.code, 0, "{name}: {output:?}");
    let report = output.json();
    assert_eq!(report["rows_written"], ROWS, "{name}: {report}");
    report
}

#[test]
fn the_flights_arrive_whole_whatever_the_layout() {
    let (dir, expected) = flights();
    let gzip = std::process::Command::new("gzip")
        .args(["-kf1", "flights.csv"])
        .current_dir(dir.path())
        .status();
    assert!(gzip.unwrap().success());
    let layouts = [
        ("plain", "file_path: flights.csv", "compression: snappy"),
        (
            "splits",
            "file_path: flights.csv, split_bytes: 1000000",
            "compression: none",
        ),
        (
            "gzip",
            "file_path: flights.csv.gz",
            "compression: zstd, row_group_rows: 50000",
        ),
        (
            "rolled",
            "file_path: flights.csv",
            "target_file_size: 1MiB, row_group_rows: 10000",
        ),
    ];
    for (name, reader, writer) in layouts {
        let report = job(&dir, name, reader, writer);
        let folder = dir.path().join("out").join(name);
        assert_eq!(read_parquet("duckdb", &folder), expected, "{name}");
        let by_pyarrow = read_parquet("pyarrow", &folder);
        assert_eq!(by_pyarrow["rows"], ROWS, "{name}");
        assert_eq!(by_pyarrow["columns"], expected["columns"], "{name}");
        let files = report["outputs"].as_array().unwrap().len();
        match name {
            "splits" => assert_eq!(files, 4),
            "rolled" => assert!(files > 4, "{files} files"),
            _ => assert_eq!(files, 1),
        }
    }
}

#[test]
fn partitions_become_folders_that_other_tools_read() {
    let (dir, expected) = flights();
    job(
        &dir,
        "by",
        "file_path: flights.csv",
        "partition_by: [origin, month]",
    );
    let folder = dir.path().join("out/by");
    assert!(folder.join("origin=EWR").join("month=12").is_dir());
    let found = read_parquet("duckdb", &folder);
    assert_eq!(found["rows"], ROWS);
    for (name, column) in expected["columns"].as_object().unwrap() {
        let found = &found["columns"][name];
        assert_eq!(
            (&found["nulls"], &found["sum"]),
            (&column["nulls"], &column["sum"]),
            "{name}"
        );
    }
}
