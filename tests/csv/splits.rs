//! However many splits a file is cut into, it gives the same rows in the same order.

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
            expected.push((job, count, rows.clone()));
        }
    }
    let output = cli(&dir, &["run", "jobs", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    let runs = report["runs"].as_array().unwrap();
    let folders: Vec<_> = expected
        .iter()
        .map(|(job, _, _)| dir.path().join("out").join(job))
        .collect();
    for ((job, count, rows), table) in expected.iter().zip(tables(&folders)) {
        let run = runs.iter().find(|run| run["job"] == job.as_str()).unwrap();
        assert_eq!(run["splits"], *count, "{job}");
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
