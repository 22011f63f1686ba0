//! What the integration tests share: folders, the command line, and readers that are not ours.

pub mod aws;
pub mod faults;
pub mod http;
pub mod iceberg;
pub mod postgres;
pub mod serve;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The top folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Whether tests that can do more shall do it: `make soak`.
pub fn soak() -> bool {
    std::env::var_os("DATIVO_SOAK").is_some()
}

/// The hostile components, as a plugins directory.
pub fn test_guests() -> PathBuf {
    repository().join("guests/dist/test")
}

/// A folder that is removed with the test.
pub struct TestDir(tempfile::TempDir);

impl TestDir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    /// Shown where an assertion fails.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output, which must be one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The command line, to run in `dir`.
pub fn command(dir: &TestDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dativo-wasm"));
    command
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command line in `dir` to its end.
pub fn cli(dir: &TestDir, args: &[&str]) -> Output {
    Output::of(&mut command(dir, args))
}

/// The named points at which `command` could be killed, in order of their names, and how often it came by. It runs to its
/// end, which must be a good one.
pub fn points_passed(dir: &TestDir, mut command: Command) -> Vec<(String, usize)> {
    let trace = dir.path().join("trace");
    command.env("DATIVO_CRASH_TRACE", &trace);
    assert!(command.status().unwrap().success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names
        .chunk_by(|a, b| a == b)
        .map(|same| (same[0].to_owned(), same.len()))
        .collect()
}

/// The names of all files below `folder`, sorted; none where it does not exist.
pub fn files_below(folder: &Path) -> Vec<String> {
    fn collect(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(&path, root, found),
                false => found.push(path.strip_prefix(root).unwrap().display().to_string()),
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    found.sort();
    found
}

pub fn python_program() -> PathBuf {
    let given = std::env::var_os("DATIVO_TEST_PYTHON");
    given.map_or_else(
        || repository().join("target/test-venv/bin/python"),
        PathBuf::from,
    )
}

/// A Python script of `tests/support`, in the environment that `make test` prepares. Its JSON answer.
pub fn python(script: &str, args: &[&str]) -> Value {
    let python = python_program();
    let script = repository().join("tests/support").join(script);
    let output = Command::new(&python)
        .arg(script)
        .args(args)
        .output()
        .unwrap_or_else(|error| {
            let python = python.display();
            panic!("{python}: {error}; `make venv` prepares it, `make test` does all")
        });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `tool` (`pyarrow` or `duckdb`) reads from the Parquet files of `folder`: rows, types, null
/// counts, sums, and a checksum of the rows in any order.
pub fn read_parquet(tool: &str, folder: &Path) -> Value {
    python("readback.py", &[tool, "parquet", folder.to_str().unwrap()])
}

/// What duckdb reads from a CSV file, with every column as the Parquet file should have it.
pub fn read_csv(file: &Path) -> Value {
    python("readback.py", &["duckdb", "csv", file.to_str().unwrap()])
}
