//! However many splits a file is cut into, it gives the same rows in the same order.

use std::ops::RangeInclusive;

use super::{escaped, job_text, shown, tables};
use crate::support::{TestDir, cli, soak};

/// A file whose records are full of quoted line ends, so that no cut is far from one, and its rows.
/// `pad` moves all records against the places where a file is cut.
fn file(pad: usize, quote_inside: &str) -> (String, String) {
    let (mut text, mut rows) = (
        String::from("\u{feff}id,\"two\nlines\",rest\r\n"),
        String::from("id:int64|two\\nlines:string|rest:string"),
    );
    for id in 0..300 {
        let value = format!("{}\n\",\r\n{}\"\n", "x".repeat(id % 7), "\n".repeat(id % 5));
        let rest = "y".repeat(if id == 0 { pad } else { id % 11 });
        let quoted = value.replace('"', quote_inside);
        let end = if id % 3 == 0 { "\r\n" } else { "\n" };
        text.push_str(&format!("{id},\"{quoted}\",\"{rest}\"{end}"));
        rows.push_str(&format!("\n{id}|{}|{rest}", escaped(&value)));
    }
    (text, rows)
}

fn check(quote_inside: &str, config: &str) {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    let mut expected = Vec::new();
    // A soak goes through every place of the longest record.
    let step = if soak() { 1 } else { 5 };
    for pad in (0..=40).step_by(step) {
        let (text, rows) = file(pad, quote_inside);
        dir.write(&format!("{pad}.csv"), &text);
        for count in 1..=8 {
            let job = format!("pad{pad}-{count}");
            let reader = format!("file_path: {pad}.csv, split_bytes: 1024{config}");
            let text = job_text(&job, &reader, count);
            dir.write(&format!("jobs/{job}.yaml"), &text);
            expected.push((job, count..=count, rows.clone()));
        }
    }
    check_jobs(&dir, &expected);
}

/// Runs `jobs`: each has its name, how many splits it should have, and its rows.
fn check_jobs(dir: &TestDir, expected: &[(String, RangeInclusive<u64>, String)]) {
    let output = cli(dir, &["run", "jobs", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    let runs = report["runs"].as_array().unwrap();
    let folders: Vec<_> = expected
        .iter()
        .map(|(job, _, _)| dir.path().join("out").join(job))
        .collect();
    for ((job, count, rows), table) in expected.iter().zip(tables(&folders)) {
        let run = runs.iter().find(|run| run["job"] == job.as_str()).unwrap();
        let splits = run["splits"].as_u64().unwrap();
        assert!(count.contains(&splits), "{job}: {splits} splits");
        assert_eq!(&shown(&table), rows, "{job}");
    }
}

#[test]
fn quoted_line_ends_near_every_cut() {
    check("\"\"", "");
}

#[test]
fn escaped_quotes_near_every_cut() {
    check("\\\"", ", escape: '\\'");
}

/// Files of all sizes, some compressed, some with their columns in another order, are shared out by bytes.
#[test]
fn several_files_are_shared_out_in_order() {
    let dir = TestDir::new();
    for folder in ["jobs", "data"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let mut rows = String::from("id:int64|note:string");
    for (number, records) in [3, 0, 400, 1, 90, 0, 7, 250, 1, 60].into_iter().enumerate() {
        let is_swapped = number % 3 == 2;
        let mut text = String::from(if is_swapped { "note,id" } else { "id,note" });
        for record in 0..records {
            let (id, note) = (number * 1000 + record, "z\n".repeat(record % 6));
            text.push_str(&match is_swapped {
                true => format!("\n\"{note}\",{id}"),
                false => format!("\n{id},\"{note}\""),
            });
            rows.push_str(&format!("\n{id}|{}", escaped(&note)));
        }
        let name = dir.write(&format!("data/{number}.csv"), &text);
        if number % 4 == 3 {
            let gzip = std::process::Command::new("gzip").arg(name).status();
            assert!(gzip.unwrap().success());
        }
    }
    let mut expected = Vec::new();
    for count in 1..=8 {
        let job = format!("files-{count}");
        let reader = "file_path: \"data/*\", split_bytes: 1024";
        dir.write(&format!("jobs/{job}.yaml"), &job_text(&job, reader, count));
        // A compressed file is not cut, which can make two of the splits one.
        expected.push((job, count.div_ceil(2)..=count, rows.clone()));
    }
    check_jobs(&dir, &expected);
}
