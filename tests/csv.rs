//! The CSV reader, through the command line: hard files become the right rows, or the right message.
//!
//! Every file is made by its test, becomes Parquet, and is read back with pyarrow. This file knows how
//! a list of cases is run and compared; what the cases are is in the modules below.

mod compressed;
mod files;
mod lineitem;
mod random;
mod shapes;
mod splits;
mod types;

use std::path::Path;

use serde_json::Value;

use crate::support::{Output, TestDir, cli, python};

/// One file and how it is read: keys of the reader's `config` besides `file_path`, in YAML.
struct Case<'a> {
    text: &'a [u8],
    config: &'a str,
    /// Rows as [`shown`], or the message of the error and a part of its hint.
    expected: Result<&'a str, (&'a str, &'a str)>,
}

fn reads<'a>(text: &'a (impl AsRef<[u8]> + ?Sized), config: &'a str, rows: &'a str) -> Case<'a> {
    Case {
        text: text.as_ref(),
        config,
        expected: Ok(rows),
    }
}

fn refuses<'a>(
    text: &'a (impl AsRef<[u8]> + ?Sized),
    config: &'a str,
    message: &'a str,
    hint: &'a str,
) -> Case<'a> {
    Case {
        text: text.as_ref(),
        config,
        expected: Err((message, hint)),
    }
}

/// Runs every case on a file of this name, and tells all that came out otherwise.
fn check(name: &str, cases: &[Case<'_>]) {
    let dir = TestDir::new();
    let (mut errors, mut folders) = (Vec::new(), Vec::new());
    for (index, case) in cases.iter().enumerate() {
        std::fs::write(dir.path().join(name), case.text).unwrap();
        let job = format!("case{index}");
        let comma = if case.config.is_empty() { "" } else { ", " };
        let output = run(
            &dir,
            &job,
            &format!("file_path: {name}{comma}{}", case.config),
        );
        errors.push(error(&output));
        folders.push(dir.path().join("out").join(&job));
    }
    let rows = tables(&folders);
    let wrong: Vec<String> = cases
        .iter()
        .zip(errors)
        .zip(rows)
        .filter_map(|((case, error), table)| difference(case, error, &shown(&table)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What came out of a case, where that is not what was expected.
fn difference(case: &Case<'_>, error: Option<(String, String)>, rows: &str) -> Option<String> {
    let found = match (case.expected, error) {
        (Ok(expected), None) if expected == rows => return None,
        (_, None) => format!("rows:\n{}", cut(rows)),
        (Err((expected, expected_hint)), Some((message, hint)))
            if message == expected
                && hint.contains(expected_hint)
                && hint.is_empty() == expected_hint.is_empty() =>
        {
            return None;
        }
        (_, Some((message, hint))) => format!("an error: {}\nhint: {hint}", cut(&message)),
    };
    let text = String::from_utf8_lossy(case.text);
    let expected = match case.expected {
        Ok(rows) => cut(rows),
        Err((message, hint)) => format!("{} (… {hint} …)", cut(message)),
    };
    Some(format!(
        "{:?} with {{ {} }} gave {found}\nexpected: {expected}",
        cut(&text),
        case.config
    ))
}

fn cut(text: &str) -> String {
    text.chars().take(400).collect()
}

/// Runs a job that reads what `reader`, keys of its `config`, says and writes Parquet to `out/<job>`.
fn run(dir: &TestDir, job: &str, reader: &str) -> Output {
    dir.write(&format!("{job}.yaml"), &job_text(job, reader, 1));
    cli(dir, &["run", &format!("{job}.yaml"), "--json"])
}

fn job_text(job: &str, reader: &str, parallelism: u64) -> String {
    format!(
        "tenant_id: t\nparallelism: {parallelism}\n\
         source: {{ reader: {{ type: custom, implementation: csv, config: {{ {reader} }} }} }}\n\
         target: {{ writer: {{ type: custom, implementation: parquet, config: {{ path: out/{job} }} }} }}\n"
    )
}

/// Message and hint of a run that failed, or of a job that was refused.
fn error(output: &Output) -> Option<(String, String)> {
    if output.code == 0 {
        return None;
    }
    let answer = output.json();
    let error = match &answer["errors"][0] {
        Value::Null => &answer["error"],
        first => first,
    };
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Some((text("message"), text("hint")))
}

/// What pyarrow reads from the Parquet files of each folder.
fn tables(folders: &[impl AsRef<Path>]) -> Vec<Value> {
    if folders.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = folders
        .iter()
        .map(|folder| folder.as_ref().to_str().unwrap())
        .collect();
    python("rows.py", &names).as_array().unwrap().clone()
}

/// A table as lines of `a|b`, after a line of names and types. Null is `∅`; line ends and NUL are escaped.
fn shown(table: &Value) -> String {
    let cells = |row: &Value| -> Vec<String> {
        let cells = row.as_array().unwrap().iter();
        cells
            .map(|cell| cell.as_str().map_or("∅".to_owned(), escaped))
            .collect()
    };
    let columns = table["columns"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = columns
        .iter()
        .map(|column| cells(column).join(":"))
        .collect();
    let mut lines = vec![names.join("|")];
    let rows = table["rows"].as_array().unwrap();
    lines.extend(rows.iter().map(|row| cells(row).join("|")));
    lines.join("\n")
}

fn escaped(cell: &str) -> String {
    cell.replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\0', "\\0")
}
