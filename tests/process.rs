//! The process as scripts and operators see it: logs, exit codes, the cache of compiled components.

use serde_json::Value;

use crate::support::{TestDir, cli, command};

fn job(dir: &TestDir) -> String {
    dir.write("n.csv", "n\n1\n2\n");
    let file = dir.write(
        "job.yaml",
        "tenant_id: acme\nsource: { reader: { type: custom, implementation: csv, config: { file_path: n.csv } } }\n\
         target: { writer: { type: custom, implementation: parquet, config: { path: out/ } } }\n",
    );
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_second_start_of_a_component_does_not_compile() {
    let dir = TestDir::new();
    let job = job(&dir);
    let compilations = || {
        let mut command = command(&dir, &["check", &job]);
        command
            .env("DATIVO_CACHE_DIR", dir.path().join("cache"))
            .env("DATIVO_LOG", "debug");
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr)
            .unwrap()
            .matches("compiled a component")
            .count()
    };
    assert_eq!((compilations(), compilations()), (2, 0));
}

#[test]
fn json_logs_carry_run_tenant_and_counts() {
    let dir = TestDir::new();
    let job = job(&dir);
    let output = cli(&dir, &["run", &job, "--json", "--log", "json"]);
    assert_eq!(output.code, 0);
    let run_id = output.json()["run_id"].clone();
    let events: Vec<Value> = output
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let finished = events
        .iter()
        .find(|event| event["event"] == "job_finished")
        .unwrap();
    assert_eq!(finished["run_id"], run_id);
    assert_eq!(
        (finished["tenant"].as_str(), finished["job"].as_str()),
        (Some("acme"), Some("job"))
    );
    assert_eq!(
        (
            finished["rows_read"].as_u64(),
            finished["rows_written"].as_u64()
        ),
        (Some(2), Some(2))
    );
    assert!(events.iter().any(|event| event["event"] == "job_started"));
}

#[test]
fn a_value_that_breaks_its_type_names_its_place_and_publishes_nothing() {
    let dir = TestDir::new();
    let job = job(&dir);
    dir.write("n.csv", "id,amount\n1,10\n2,20\n3,\"x\ny\"\n4,30\n");
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, text.replace("n.csv }", "n.csv, sample_rows: 2 }")).unwrap();
    let output = cli(&dir, &["run", &job, "--json"]);
    assert_eq!(output.code, 1, "{output:?}");
    let error = &output.json()["error"];
    assert_eq!(error["kind"], "contract_broken", "{error}");
    let message = error["message"].as_str().unwrap();
    for part in ["n.csv", "line 4", "amount", "int64"] {
        assert!(message.contains(part), "`{part}` is missing: {message}");
    }
    assert!(
        error["hint"].as_str().unwrap().contains("schema"),
        "{error}"
    );
    assert_eq!(
        crate::support::files_below(&dir.path().join("out")),
        Vec::<String>::new()
    );
}

#[test]
fn problems_of_the_file_and_of_both_configs_are_reported_at_once() {
    let dir = TestDir::new();
    let file = dir.write(
        "job.yaml",
        "tenant_id: t\nsource: { reader: { type: custom, implementation: csv, config: { file_pth: n.csv } } }\n\
         target: { writer: { type: custom, implementation: parqet, config: { path: out } } }\nlimit: { memory: 1GiB }\n",
    );
    let output = cli(&dir, &["run", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.code, 2);
    let report = output.json();
    assert_eq!(
        (report["status"].as_str(), &report["error"]),
        (Some("failed"), &report["errors"][0])
    );
    let told: Vec<(u64, &str)> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["location"]["line"].as_u64().unwrap(),
                error["message"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, "unknown key `file_pth` in `source.reader.config`"),
            (3, "there is no connector `parqet`"),
            (4, "unknown key `limit`"),
        ]
    );
}

#[test]
fn schema_job_is_a_json_schema_and_unknown_verbs_exit_with_2() {
    let dir = TestDir::new();
    assert_eq!(cli(&dir, &["schema", "job"]).json()["type"], "object");
    assert_eq!(cli(&dir, &["frobnicate"]).code, 2);
    assert_eq!(cli(&dir, &["run", "missing.yaml"]).code, 2);
    let missing = cli(&dir, &["run", "missing.yaml", "--json"]).json();
    assert_eq!(missing["errors"][0]["kind"], "job_invalid");
}
