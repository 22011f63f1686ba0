//! The Postgres reader, through the command line and against real servers: what is read is what the server holds.
//!
//! Every test has a database of its own. This file knows how a job is made, run and compared; what is in the tables
//! is in the modules below.

mod connection;
mod consistency;
mod discover;
mod incremental;
mod random;
mod tables;
mod types;

use serde_json::{Value, json};

use crate::support::postgres::Database;
use crate::support::{Output, TestDir, cli, python};

/// Writes the job `NAME.yaml`, which may lie in a folder, that reads what `reader`, its config, says, and writes Parquet to `out/NAME`.
/// `more` are top-level keys of the job.
fn write_job(dir: &TestDir, name: &str, reader: &Value, more: &Value) {
    let out = name.trim_start_matches("jobs/");
    let mut job = json!({
        "tenant_id": "t",
        "source": { "reader": { "type": "custom", "implementation": "postgres", "config": reader } },
        "target": { "writer": { "type": "custom", "implementation": "parquet", "config": { "path": format!("out/{out}") } } },
    });
    let more = more.as_object().unwrap();
    job.as_object_mut().unwrap().extend(more.clone());
    dir.write(&format!("{name}.yaml"), &job.to_string());
}

/// Runs such a job.
fn run(dir: &TestDir, name: &str, reader: &Value, more: &Value) -> Output {
    write_job(dir, name, reader, more);
    cli(dir, &["run", &format!("{name}.yaml"), "--json"])
}

/// Runs such jobs, each a name, the reader's config and more keys, in one process. What came of each.
fn run_all(dir: &TestDir, jobs: &[(String, Value, Value)]) -> Vec<Value> {
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    for (name, reader, more) in jobs {
        write_job(dir, &format!("jobs/{name}"), reader, more);
    }
    let output = cli(dir, &["run", "jobs", "--json"]);
    let report = output.json();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), jobs.len(), "{}", report["refused"]);
    let find = |name: &String| {
        runs.iter()
            .find(|run| run["job"] == **name)
            .unwrap()
            .clone()
    };
    jobs.iter().map(|(name, ..)| find(name)).collect()
}

/// The error of a run that failed, or of a job that was refused; null where there is none.
fn error(output: &Output) -> Value {
    let answer = output.json();
    let first = answer["errors"][0].clone();
    match first {
        Value::Null => answer["error"].clone(),
        first => first,
    }
}

/// How many rows a run read that went well.
fn rows_read(output: &Output) -> u64 {
    assert_eq!(output.code, 0, "{output:?}");
    output.json()["rows_read"].as_u64().unwrap()
}

/// A run fails with this exit code, and its message and hint hold these words.
fn fails(output: &Output, code: i32, message: &str, hint: &str) {
    let error = error(output);
    let holds = |key: &str, part: &str| error[key].as_str().unwrap_or_default().contains(part);
    assert!(
        output.code == code && holds("message", message) && holds("hint", hint),
        "not {code}, `{message}`, `{hint}`, but {}: {error:#}",
        output.code
    );
}

/// Compares what a job wrote with what the server prints for `query`, value by value. The first column of both is a
/// number by which rows are told apart. The Arrow types of the columns by name.
fn check_rows(dir: &TestDir, database: &Database<'_>, name: &str, query: &str) -> Value {
    let mut found = compare(dir, database, &[(name, query)]);
    found.remove(0)
}

/// The same for several jobs at once.
fn compare(dir: &TestDir, database: &Database<'_>, jobs: &[(&str, &str)]) -> Vec<Value> {
    let settings = "set timezone = 'UTC'; set extra_float_digits = 3; set intervalstyle = 'postgres'; set bytea_output = 'hex';";
    let pairs: Vec<_> = jobs
        .iter()
        .map(|(name, query)| {
            let printed = database.sql(&format!("{settings} copy ({query}) to stdout;"));
            let end = if printed.is_empty() { "" } else { "\n" };
            let file = dir.write(&format!("{name}.printed"), &format!("{printed}{end}"));
            [dir.path().join("out").join(name), file]
        })
        .collect();
    let pairs = dir.write("pairs.json", &json!(pairs).to_string());
    let found = python("postgres_rows.py", &[pairs.to_str().unwrap()]);
    let found = found.as_array().unwrap().iter();
    let mut wrong = Vec::new();
    let types = found
        .zip(jobs)
        .map(|(found, (name, _))| {
            if found["wrong"] != json!([]) {
                wrong.push(format!("{name}: {:#}", found["wrong"]));
            }
            found["types"].clone()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    types
}
