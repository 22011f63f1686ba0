//! Asset contracts from the command line: a CSV, an asset and a job, and what is seen of a run.

mod kills;
mod rules;
mod values;
mod views;

use serde_json::Value;

use crate::support::{Output, TestDir, cli, python, repository};

/// Every column of a test's CSV with the name `v` is read as text.
const ALL_TEXT: &str = ", schema: [{ name: v, type: string }]";

/// A folder with a CSV, an asset and a job that holds one to the other.
struct Case {
    dir: TestDir,
}

impl Case {
    /// `reader` is added to the reader's config; `asset` is all of the asset but its head.
    fn new(mode: &str, csv: &str, reader: &str, asset: &str) -> Self {
        let dir = TestDir::new();
        dir.write("data.csv", csv);
        dir.write(
            "asset.yaml",
            &format!("name: users\nversion: 1.0.0\nmode: {mode}\n{asset}"),
        );
        let dead_letter = match mode {
            "warn" => "dead_letter: { path: rejected }\n",
            _ => "",
        };
        dir.write(
            "job.yaml",
            &format!(
                "tenant_id: t\nparallelism: 1\nasset_path: asset.yaml\n{dead_letter}\
                 source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: data.csv{reader} }} }} }}\n\
                 target: {{ writer: {{ type: custom, implementation: parquet, config: {{ path: out }} }} }}\n"
            ),
        );
        Self { dir }
    }

    fn run(&self) -> Output {
        cli(&self.dir, &["run", "job.yaml"])
    }

    fn run_json(&self) -> Value {
        let output = cli(&self.dir, &["run", "job.yaml", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }

    fn read(&self, tool: &str, folder: &str) -> Value {
        let folder = self.dir.path().join(folder);
        python("contents.py", &[tool, folder.to_str().unwrap()])
    }
}

/// What people see of a run, without what differs from run to run.
fn seen(output: &Output) -> String {
    let mut seen = format!("exit {}\n", output.code);
    for line in output.stderr.lines().chain(output.stdout.lines()) {
        seen.push_str(normal(line).trim_end());
        seen.push('\n');
    }
    seen
}

fn normal(line: &str) -> String {
    let mut line = without_run_ids(line);
    if line.starts_with("job `") {
        line = cut_after(line, " in ", "TIME");
    }
    if line.contains(".parquet  ") {
        line = cut_after(line, " rows, ", "SIZE");
    }
    if let (Some(from), Some(to)) = (line.find("` is "), line.find(" old, ")) {
        line.replace_range(from + 5..to, "AGE");
    }
    line
}

fn cut_after(line: String, mark: &str, instead: &str) -> String {
    match line.find(mark) {
        Some(at) => format!("{}{instead}", &line[..at + mark.len()]),
        None => line,
    }
}

fn without_run_ids(line: &str) -> String {
    const LENGTH: usize = 36;
    let is_id = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut line = line.to_owned();
    while let Some(at) = (0..line.len()).find(|at| line.get(*at..at + LENGTH).is_some_and(is_id)) {
        line.replace_range(at..at + LENGTH, "RUN");
    }
    line
}

fn check_golden(name: &str, got: &str) {
    let file = repository().join(format!("tests/golden/contract/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, got).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        got, expected,
        "{name}: run again with BLESS=1 if this is right"
    );
}
