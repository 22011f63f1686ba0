//! REST APIs into Parquet: servers that nobody here wrote, servers that fail in every way, and a component that is after the
//! secrets. The cases are in the modules below.

mod apis;
mod auth;
mod faults;
mod following;
mod thief;
mod transport;
mod types;

use std::process::Command;

use serde_json::Value;

use crate::support::{Output, TestDir, cli, command, files_below, python};

/// A job that reads an API into `out`.
struct Case(TestDir);

impl Case {
    /// `config` is the reader's, in one line of YAML without its braces; requests need not wait for each other.
    fn new(config: &str) -> Self {
        Self::with(config, "")
    }

    /// The same with more keys of the job.
    fn with(config: &str, more: &str) -> Self {
        let case = Self(TestDir::new());
        case.write(config, more);
        case
    }

    fn write(&self, config: &str, more: &str) {
        let rate = match config.contains("rate_limit_rps") {
            true => "",
            false => ", rate_limit_rps: 100000",
        };
        let text = format!(
            "tenant_id: t\n{more}\n\
             source: {{ reader: {{ implementation: rest, config: {{ {config}{rate} }} }} }}\n\
             target: {{ writer: {{ implementation: parquet, config: {{ path: out }} }} }}\n"
        );
        self.0.write("job.yaml", &text);
    }

    /// Keeps a secret of the tenant.
    fn secret(&self, name: &str, value: &str) {
        let folder = self.0.path().join("secrets/t");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), value).unwrap();
    }

    fn command(&self, verb: &str) -> Command {
        command(
            &self.0,
            &[verb, "job.yaml", "--json", "--secrets", "secrets"],
        )
    }

    fn run(&self) -> Output {
        self.verb("run")
    }

    fn verb(&self, verb: &str) -> Output {
        cli(
            &self.0,
            &[verb, "job.yaml", "--json", "--secrets", "secrets"],
        )
    }

    fn succeed(&self) -> Value {
        let output = self.run();
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }

    /// How many rows a run read.
    fn read(&self) -> u64 {
        self.succeed()["rows_read"].as_u64().unwrap()
    }

    /// A run that fails, and commits nothing: its error.
    fn fail(&self, kind: &str) -> Value {
        let before = (files_below(&self.0.path().join("out")), self.state());
        let output = self.run();
        assert_ne!(output.code, 0, "{output:?}");
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], kind, "{output:?}");
        assert_eq!(
            (files_below(&self.0.path().join("out")), self.state()),
            before,
            "{error}"
        );
        error
    }

    /// What duckdb answers to `query` about the table `rows`.
    fn query(&self, query: &str) -> Vec<Vec<Option<String>>> {
        let folder = self.0.path().join("out");
        let rows = python("query.py", &[folder.to_str().unwrap(), query]);
        serde_json::from_value(rows).unwrap()
    }

    /// One cell of the answer to `query`.
    fn cell(&self, query: &str) -> String {
        self.query(query)[0][0].clone().unwrap_or_default()
    }

    /// The state that the next run starts from.
    fn state(&self) -> Value {
        let output = cli(
            &self.0,
            &[
                "state",
                "show",
                "job.yaml",
                "--json",
                "--secrets",
                "secrets",
            ],
        );
        assert_eq!(output.code, 0, "{output:?}");
        output.json()["state"].clone()
    }
}

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}
