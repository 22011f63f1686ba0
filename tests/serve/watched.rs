//! What those who watch get to see: the page in a browser, the interface as its document says, spans and summaries of runs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{folder, hostile, job, put};
use crate::support::serve::Serving;
use crate::support::{TestDir, command, python_program, repository, test_guests};

/// The environment that `make servers` prepares.
fn tool(name: &str) -> PathBuf {
    let environment = python_program();
    let environment = environment.parent().and_then(|bin| bin.parent()).unwrap();
    let installed = PathBuf::from(format!("{}-serve", environment.display()));
    let tool = installed.join("bin").join(name);
    assert!(
        tool.is_file(),
        "{} is missing; `make servers` installs it",
        tool.display()
    );
    tool
}

fn script(name: &str) -> PathBuf {
    repository().join("tests/support/serve").join(name)
}

/// A job that ends where its rows are dropped.
fn rows() -> String {
    "tenant_id: acme\nparallelism: 1\n\
     source: { reader: { type: custom, implementation: csv, config: { file_path: \"in/*.csv\" } } }\n\
     target: { writer: { type: custom, implementation: discard } }\n"
        .to_owned()
}

/// Runs of long ago, as a year of schedules leaves them.
fn history(dir: &TestDir, runs: u32) {
    dir.write("jobs/acme/old.yaml", &rows());
    let store = dir.path().join(".dativo/state.db");
    assert!(
        command(dir, &["run", "jobs/acme/old.yaml"])
            .status()
            .unwrap()
            .success()
    );
    let fill = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        n = range(int(sys.argv[2]))\n\
        db.executemany('insert into runs (run, tenant, job, status, started_at, ended_at) values (?, ?, ?, ?, ?, ?)',\n\
            ((f'00000000-0000-7000-8000-{i:012}', 'acme', 'old', 'committed', 1700000000 + i, 1700000001 + i) for i in n))\n\
        db.executemany('insert into reports (run, cause, report) values (?, ?, ?)',\n\
            ((f'00000000-0000-7000-8000-{i:012}', 'schedule', '{\"rows_written\": 7, \"duration_ms\": 1000}') for i in n))\n\
        db.commit()";
    let filled = Command::new(python_program())
        .args(["-c", fill, store.to_str().unwrap(), &runs.to_string()])
        .status();
    assert!(filled.unwrap().success());
}

#[test]
fn a_browser_shows_runs_and_starts_and_stops_them() {
    let dir = folder();
    put(&dir, 0);
    history(&dir, 10_000);
    dir.write("jobs/acme/rows.yaml", &rows());
    let fails = hostile("acme", "endless-loop").replace("cpu_per_call: 2s", "cpu_per_call: 100ms");
    dir.write("jobs/acme/fails.yaml", &fails);
    let slow = hostile("other", "endless-loop").replace("cpu_per_call: 2s", "cpu_per_call: 5m");
    dir.write("jobs/other/slow.yaml", &slow);
    dir.write("jobs/acme/broken.yaml", "tenant_id: acme\n");
    let guests = test_guests();
    let serving = Serving::start(&dir, &["--plugins", guests.to_str().unwrap()]);
    let pictures = repository().join("target/test-artefacts/serve");
    let drive = Command::new(tool("python"))
        .arg(script("browser.py"))
        .arg(format!(
            "http://{}/#token={}",
            serving.address, serving.token
        ))
        .arg(&pictures)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&drive.stderr);
    assert!(drive.status.success(), "{said}");
    assert!(pictures.join("jobs-light.png").is_file());
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn the_interface_is_as_its_document_says() {
    let dir = folder();
    put(&dir, 0);
    dir.write("jobs/acme/rows.yaml", &rows());
    let serving = Serving::start(&dir, &[]);
    let run = serving.post("/api/v1/jobs/acme/rows/runs");
    serving.ended(run["run_id"].as_str().unwrap());
    let checked = Command::new(tool("schemathesis"))
        .args([
            "run",
            &format!("http://{}/api/v1/openapi.json", serving.address),
        ])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", serving.token),
        ])
        .args([
            "--checks",
            "all",
            "--max-examples",
            "20",
            "--rate-limit",
            "40/s",
            "--seed",
            "1",
            "--no-color",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    assert_eq!(serving.terminate(), Some(0));
}

/// Takes spans and posts.
struct Receiver {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Receiver {
    fn start() -> Self {
        let mut child = Command::new(tool("python"))
            .arg(script("receiver.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    /// All that came.
    fn end(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        self.lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    }
}

#[test]
fn spans_and_summaries_of_a_run_arrive_where_the_operator_says() {
    let (dir, receiver) = (folder(), Receiver::start());
    put(&dir, 0);
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    let hook = format!("http://127.0.0.1:{}/hook?refuse=1", receiver.port);
    let mut run = command(&dir, &["run", "jobs/acme/rows.yaml", "--summaries", &hook]);
    run.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        format!("http://127.0.0.1:{}", receiver.port),
    );
    assert!(run.status().unwrap().success());
    let came = receiver.end();

    let hooks: Vec<&Value> = came.iter().filter(|said| !said["hook"].is_null()).collect();
    assert_eq!(hooks.len(), 1, "{came:?}");
    assert_eq!(hooks[0]["type"], "application/json");
    let summary = &hooks[0]["hook"];
    assert_eq!(
        (&summary["status"], &summary["rows_written"]),
        (&json!("success"), &json!(10))
    );
    assert_eq!(
        (&summary["tenant"], &summary["job"]),
        (&json!("acme"), &json!("rows"))
    );

    let all = came.iter().flat_map(|said| {
        said["spans"]["resourceSpans"]
            .as_array()
            .into_iter()
            .flatten()
    });
    let all: Vec<&Value> = all.collect();
    assert!(
        all[0]["resource"].to_string().contains("dativo-wasm"),
        "{all:?}"
    );
    let scopes = all
        .iter()
        .flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    let spans: Vec<&Value> = scopes
        .flat_map(|scope| scope["spans"].as_array().unwrap())
        .collect();
    let named =
        |name: &str| -> Vec<&&Value> { spans.iter().filter(|span| span["name"] == name).collect() };
    let (runs, splits) = (named("run"), named("split"));
    assert_eq!((runs.len(), splits.len()), (1, 1), "{spans:?}");
    assert!(
        runs[0]["attributes"]
            .to_string()
            .contains(summary["run_id"].as_str().unwrap())
    );
    for split in &splits {
        assert_eq!(split["parentSpanId"], runs[0]["spanId"]);
        assert_eq!(split["traceId"], runs[0]["traceId"]);
    }
    // The reader of a split asks for its file below that split; the commit is the run's own.
    let stores = named("object-store");
    assert!(
        stores
            .iter()
            .any(|span| span["parentSpanId"] == splits[0]["spanId"]),
        "{spans:?}"
    );
    let tables = named("iceberg");
    assert!(
        tables
            .iter()
            .any(|span| span["parentSpanId"] == runs[0]["spanId"]),
        "{spans:?}"
    );
    let nanos = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    for span in &spans {
        let (start, end) = (
            nanos(span, "startTimeUnixNano"),
            nanos(span, "endTimeUnixNano"),
        );
        assert!(start <= end, "{span}");
    }
}

#[test]
fn summaries_are_lines_of_a_file_and_nobody_waits_for_a_collector_that_is_not_there() {
    let dir = folder();
    put(&dir, 0);
    dir.write("jobs/acme/rows.yaml", &rows());
    dir.write(
        "jobs/acme/wrong.yaml",
        &rows().replace("file_path", "file_paths"),
    );
    let mut serving = vec!["--summaries", "runs.jsonl"];
    serving.extend(["--drain", "1s"]);
    let serving = Serving::start_with(
        &dir,
        &serving,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")],
    );
    for name in ["rows", "wrong"] {
        let run = serving.post(&format!("/api/v1/jobs/acme/{name}/runs"));
        serving.ended(run["run_id"].as_str().unwrap());
    }
    let begun = Instant::now();
    assert_eq!(serving.terminate(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let text = std::fs::read_to_string(dir.path().join("runs.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["job"].as_str().unwrap(),
                line["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(said, [("rows", "success"), ("wrong", "failed")]);
    assert_eq!(lines[1]["error"]["kind"], "job_invalid");
}
