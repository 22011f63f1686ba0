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

/// Sixty partitions are open at once and every value differs: dictionaries and row groups of all of them
/// together are larger than the memory limit, so files must close in time.
#[test]
fn many_partitions_stay_within_the_memory_limit() {
    let dir = TestDir::new();
    let mut text = String::from("k,a,b,c,d\n");
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 16
    };
    let rows = 1_500_000;
    for row in 0..rows {
        let line = format!(
            "{},{},0.{},{},x{:x}\n",
            row % 60,
            next(),
            next(),
            next(),
            next()
        );
        text.push_str(&line);
    }
    dir.write("many.csv", &text);
    let file = dir.write(
        "many.yaml",
        "tenant_id: t\nparallelism: 1\n\
         source: { reader: { type: custom, implementation: csv, config: { file_path: many.csv } } }\n\
         target: { writer: { type: custom, implementation: parquet, \
         config: { path: out, partition_by: [k] } } }\n",
    );
    let output = cli(&dir, &["run", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let found = read_parquet("duckdb", &dir.path().join("out"));
    let source = read_csv(&dir.path().join("many.csv"));
    assert_eq!(found["rows"], rows);
    for name in ["a", "b", "c"] {
        assert_eq!(found["columns"][name], source["columns"][name], "{name}");
    }
}
