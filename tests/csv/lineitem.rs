//! TPC-H's table `lineitem`, whole: counts, exact sums, hashes, nulls and types are those that duckdb finds in
//! the text itself.

use super::{error, job_text};
use crate::support::{TestDir, cli, python, soak};

/// 7.5 MB, or 1 GB in a soak; `DATIVO_SCALE` says otherwise (1 is 750 MB).
fn scale() -> String {
    let usual = if soak() { "1.35" } else { "0.01" };
    std::env::var("DATIVO_SCALE").unwrap_or_else(|_| usual.to_owned())
}

#[test]
fn arrives_exactly_through_two_and_four_splits() {
    let dir = TestDir::new();
    let csv = dir.path().join("lineitem.csv");
    let csv = csv.to_str().unwrap();
    let bytes = &python("lineitem.py", &[&scale(), csv])["bytes"];
    let typed = format!(", schema: {}", python("tables.py", &["lineitem"]));
    let doubles = "exact, but l_extendedprice DOUBLE, l_discount DOUBLE, l_tax DOUBLE";
    let mut wrong = Vec::new();
    for (kind, splits, schema, expected) in [
        ("inferred", 2, "", doubles),
        ("typed", 2, &typed, "exact"),
        ("typed", 4, &typed, "exact"),
    ] {
        let job = format!("{kind}{splits}");
        let reader = format!("file_path: lineitem.csv, split_bytes: 1048576{schema}");
        let file = dir.write(&format!("{job}.yaml"), &job_text(&job, &reader, splits));
        let output = cli(&dir, &["run", file.to_str().unwrap(), "--json"]);
        if let Some((message, _)) = error(&output) {
            wrong.push(format!("{job}: {message}"));
            continue;
        }
        assert_eq!(output.json()["splits"], splits, "{job}");
        let out = dir.path().join("out").join(&job);
        let verdict = python("verify.py", &["lineitem", kind, csv, out.to_str().unwrap()]);
        if verdict != expected {
            wrong.push(format!("{job}: {verdict}"));
        }
        std::fs::remove_dir_all(&out).unwrap();
    }
    assert!(wrong.is_empty(), "{bytes} bytes: {}", wrong.join("\n"));
}
