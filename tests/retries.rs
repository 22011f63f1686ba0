//! A split whose source is lost is read again inside the run, and nothing of a lost attempt is seen: no row, no
//! count, no file.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Output, TestDir, cli, command, files_below, python, test_guests};

/// Of both splits.
const ROWS: u64 = 12_000;

/// Every third row is bad.
const BAD_ROWS: u64 = 4_000;

const SIGKILL: i32 = 9;

/// Files are rolled, so that a lost attempt leaves some that are complete.
const PARQUET: &str =
    "parquet, config: { path: out, row_group_rows: 500, target_file_size: 64KiB }";

/// A contract that refuses every third row.
const BAD_THIRDS: &str = "schema:\n- { name: id, type: int64 }\n- { name: v, type: int64 }\n\
                          dataset: { unknown_columns: add }\n";

struct Case(TestDir);

impl Case {
    /// `flaky` is added to the reader's config.
    fn new(flaky: &str) -> Self {
        let case = Self(TestDir::new());
        case.write_job(flaky, PARQUET, "");
        case
    }

    /// The same with a contract in warn mode; `asset` is all of the asset but its head.
    fn with_contract(flaky: &str, asset: &str) -> Self {
        let case = Self(TestDir::new());
        case.0.write(
            "asset.yaml",
            &format!("name: a\nversion: 1.0.0\nmode: warn\n{asset}"),
        );
        let contract = "asset_path: asset.yaml\ndead_letter: { path: bad }\n";
        case.write_job(flaky, PARQUET, contract);
        case
    }

    fn write_job(&self, flaky: &str, writer: &str, more: &str) {
        // Batches as the reader makes them: smaller ones would travel together.
        let limits = match more.contains("limits:") {
            true => "",
            false => "limits: { batch_rows: 500 }\n",
        };
        self.0.write(
            "job.yaml",
            &format!(
                "tenant_id: t\nparallelism: 2\n{limits}{more}\
                 source: {{ reader: {{ type: custom, implementation: flaky, \
                 config: {{ memory: attempts, {flaky} }}, grants: {{ object-store: [\"write attempts/*\"] }} }} }}\n\
                 target: {{ writer: {{ type: custom, implementation: {writer} }} }}\n"
            ),
        );
    }

    fn command(&self) -> Command {
        let plugins = test_guests();
        let plugins = plugins.to_str().unwrap();
        command(
            &self.0,
            &["run", "job.yaml", "--json", "--plugins", plugins],
        )
    }

    fn run(&self) -> Output {
        let plugins = test_guests();
        let plugins = plugins.to_str().unwrap();
        cli(
            &self.0,
            &["run", "job.yaml", "--json", "--plugins", plugins],
        )
    }

    fn succeed(&self) -> Value {
        let output = self.run();
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }

    /// Attempts at the first split so far.
    fn attempts(&self) -> usize {
        let files = files_below(&self.0.path().join("attempts"));
        files.iter().filter(|file| file.starts_with("0-")).count()
    }

    /// The first column of what `folder` holds, in order.
    fn ids(&self, folder: &str) -> Vec<u64> {
        let folder = self.0.path().join(folder);
        let found = python("contents.py", &["duckdb", folder.to_str().unwrap()]);
        let rows = found["rows"].as_array().unwrap().iter();
        let mut ids: Vec<u64> = rows
            .map(|row| row[0].as_str().unwrap().parse().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// What is in `folder` and is neither a Parquet file nor a commit.
    fn leftovers(&self, folder: &str) -> Vec<String> {
        let mut files = files_below(&self.0.path().join(folder));
        files.retain(|file| !file.ends_with(".parquet") && !file.starts_with("_dativo/"));
        files
    }

    /// Every row is once in the target or, where it is bad, in the dead letter; and nothing else is.
    fn check_rows(&self, is_bad: impl Fn(u64) -> bool, place: &str) {
        let expected = |bad| -> Vec<u64> { (0..ROWS).filter(|id| is_bad(*id) == bad).collect() };
        assert_eq!(self.ids("out"), expected(false), "{place}");
        if (0..ROWS).any(&is_bad) {
            assert_eq!(self.ids("bad"), expected(true), "{place}");
        }
        for folder in ["out", "bad"] {
            assert_eq!(self.leftovers(folder), Vec::<String>::new(), "{place}");
        }
    }

    /// Runs to a point and kills the process there.
    fn kill_at(&self, point: &str) {
        let output = self.command().env("DATIVO_CRASH_AT", point).output();
        let output = output.unwrap();
        let signal = output.status.signal();
        assert_eq!(signal, Some(SIGKILL), "{point} was not reached: {output:?}");
    }
}

#[test]
fn the_third_attempt_at_a_split_leaves_each_row_once_and_no_file_of_the_others() {
    for at in ["read", "next", "end"] {
        let case = Case::new(&format!("losses: 2, at: {at}, retry_after_ms: 10"));
        let report = case.succeed();
        let counted = ["retries", "rows_read", "rows_written", "rows_rejected"];
        let counts = counted.map(|name| report[name].as_u64().unwrap());
        assert_eq!(counts, [2, ROWS, ROWS, 0], "{at}: {report}");
        assert_eq!(case.attempts(), 3, "{at}");
        case.check_rows(|_| false, at);
    }
}

#[test]
fn a_lost_attempt_had_staged_whole_files() {
    let case = Case::new("losses: 2, retry_after_ms: 10");
    case.kill_at("split-lost:2");
    let staged = case.leftovers("out");
    let whole = staged.iter().filter(|file| {
        let text = std::fs::read_to_string(case.0.path().join("out").join(file));
        file.ends_with(".token") && text.unwrap().contains("sha256")
    });
    assert!(whole.count() > 4, "{staged:?}");
}

#[test]
fn the_summary_and_the_log_tell_of_retries() {
    let case = Case::new("losses: 1, retry_after_ms: 10");
    let plugins = test_guests();
    let plugins = plugins.to_str().unwrap();
    let output = cli(&case.0, &["run", "job.yaml", "--plugins", plugins]);
    assert_eq!(output.code, 0, "{output:?}");
    let summary = "12,000 rows read, 12,000 written, 1 retry in";
    assert!(output.stdout.contains(summary), "{output:?}");
    for part in ["the connection was lost", "split=0", "retry=1", "wait_ms="] {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn a_split_that_is_lost_each_time_fails_as_unavailable_and_leaves_nothing() {
    let case = Case::new("losses: 9, retry_after_ms: 10");
    let output = case.run();
    let report = output.json();
    assert_eq!(output.code, 75, "{report}");
    let error = &report["error"];
    assert_eq!(error["kind"], "unavailable", "{report}");
    assert_eq!(error["message"], "the connection was lost");
    assert_eq!(error["details"]["retries"], "3", "{report}");
    assert_eq!(
        (&report["retries"], &report["rows_written"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(case.attempts(), 4);
    assert_eq!(
        files_below(&case.0.path().join("out")),
        Vec::<String>::new()
    );
}

#[test]
fn nothing_else_is_tried_again() {
    let refused = "losses: 9, kind: rejected, retry_after_ms: 10";
    // An hour is more than a run waits.
    let later = "losses: 9, retry_after_ms: 3600000";
    for (flaky, code, kind) in [(refused, 1, "rejected"), (later, 75, "unavailable")] {
        let case = Case::new(flaky);
        let output = case.run();
        assert_eq!(output.code, code, "{output:?}");
        let report = output.json();
        assert_eq!(report["error"]["kind"], kind, "{report}");
        assert_eq!((case.attempts(), &report["retries"]), (1, &json!(0)));
        assert_eq!(
            files_below(&case.0.path().join("out")),
            Vec::<String>::new()
        );
    }
}

#[test]
fn bad_rows_of_a_lost_attempt_are_neither_counted_nor_kept() {
    let good = ROWS - BAD_ROWS;
    let asset = BAD_THIRDS.replace(
        "add }",
        &format!("add, rows: {{ min: {good}, max: {good} }} }}"),
    );
    let case = Case::with_contract("losses: 2, retry_after_ms: 10", &asset);
    let report = case.succeed();
    assert_eq!(report["retries"], 2, "{report}");
    assert_eq!(report["warnings"], json!([]), "{report}");
    assert_eq!(report["rows_written"], good, "{report}");
    assert_eq!(report["rows_rejected"], BAD_ROWS, "{report}");
    assert_eq!(report["rejected"][0]["count"], BAD_ROWS, "{report}");
    case.check_rows(|id| id % 3 == 0, "a contract");
}

#[test]
fn a_dead_letter_that_only_lost_attempts_wrote_to_is_emptied() {
    let flaky = "losses: 1, bad_if_lost: true, retry_after_ms: 10";
    let case = Case::with_contract(flaky, BAD_THIRDS);
    let report = case.succeed();
    assert_eq!(report["rows_rejected"], 0, "{report}");
    assert_eq!(
        files_below(&case.0.path().join("bad")),
        Vec::<String>::new()
    );
    case.check_rows(|_| false, "no bad rows");
}

#[test]
fn a_split_that_is_read_again_does_not_break_a_unique_key_by_itself() {
    let asset = "schema:\n- { name: id, type: int64 }\n- { name: pair, type: int64 }\n\
                 dataset: { unknown_columns: add, unique: { columns: [pair] } }\n";
    let case = Case::with_contract("losses: 2, retry_after_ms: 10", asset);
    let report = case.succeed();
    assert_eq!(report["retries"], 2, "{report}");
    assert_eq!(report["rejected"][0]["count"], ROWS / 2, "{report}");
    case.check_rows(|id| id % 2 == 1, "a unique key");
}

#[test]
fn a_kill_during_a_later_attempt_loses_and_doubles_nothing() {
    // Of the points that each attempt passes, late enough to be of the second; a split has twelve batches.
    for point in [
        "split-lost:1",
        "batch-read:25",
        "batch-written:22",
        "rows-rejected:25",
        "prepared:2",
        "pending",
        "object-created",
        "published:1",
        "discarded:1",
        "discarded:3",
        "dead-letter-due",
        "committed",
    ] {
        for is_store_lost in [false, true] {
            // Without a run store nobody knows of a run that had not committed.
            let is_committed = [
                "object-created",
                "published:1",
                "discarded:1",
                "discarded:3",
            ];
            if is_store_lost && !is_committed.contains(&point) {
                continue;
            }
            let flaky = "losses: 1, retry_after_ms: 10";
            let case = Case::with_contract(flaky, BAD_THIRDS);
            case.kill_at(point);
            if is_store_lost {
                std::fs::remove_dir_all(case.0.path().join(".dativo")).unwrap();
            }
            case.succeed();
            assert_eq!(case.succeed()["rows_read"], 0, "after {point}");
            case.check_rows(|id| id % 3 == 0, &format!("after {point}"));
        }
    }
}

#[test]
fn a_signal_and_the_deadline_cut_the_wait_for_a_retry() {
    for (limit, code, kind) in [("24h", 130, "cancelled"), ("6s", 1, "limit_exceeded")] {
        let case = Case(TestDir::new());
        let more = format!("limits: {{ deadline: {limit} }}\n");
        case.write_job("losses: 9, retry_after_ms: 60000", PARQUET, &more);
        let child = case.command().spawn().unwrap();
        let begun = Instant::now();
        while case.attempts() == 0 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(2));
        if limit == "24h" {
            let kill = Command::new("kill").arg(child.id().to_string()).status();
            assert!(kill.unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(output.status.code(), Some(code), "{kind}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["error"]["kind"], kind, "{report}");
        assert_eq!(report["retries"], 1, "{report}");
        assert_eq!(
            files_below(&case.0.path().join("out")),
            Vec::<String>::new()
        );
    }
}
