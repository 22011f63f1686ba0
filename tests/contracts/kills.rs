//! `kill -9` between the two commits of a run with a dead letter, and around them: every row is once in the
//! target or once in the dead letter.

use std::os::unix::process::ExitStatusExt;

use super::{Case, check_golden, seen};
use crate::support::{cli, command, files_below};

const SIGKILL: i32 = 9;

const ROWS: u64 = 3_000;

/// A job of several splits and batches, where every third row is bad.
fn with_bad_rows() -> Case {
    let csv: String = (0..ROWS)
        .map(|id| match id % 3 {
            0 => format!("{id},{},x\n", "y".repeat(80)),
            _ => format!("{id},{},{id}\n", "y".repeat(80)),
        })
        .collect();
    let case = Case::new(
        "warn",
        &format!("id,filler,v\n{csv}"),
        ", split_bytes: 65536, schema: [{ name: v, type: string }]",
        "schema:\n- { name: id, type: int64 }\n- { name: v, type: int64 }\ndataset: { unknown_columns: ignore }\n",
    );
    let job = std::fs::read_to_string(case.dir.path().join("job.yaml")).unwrap();
    let job = job.replace(
        "parallelism: 1",
        "parallelism: 2\nlimits: { batch_rows: 400 }",
    );
    case.dir.write("job.yaml", &job);
    case
}

impl Case {
    fn kill_at(&self, point: &str) {
        let mut command = command(&self.dir, &["run", "job.yaml", "--json"]);
        let status = command
            .env("DATIVO_CRASH_AT", point)
            .output()
            .unwrap()
            .status;
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "{point} was not reached: {status}"
        );
    }

    /// Every row is `times` times in the target or in the dead letter, and nothing staged is left.
    fn check_rows(&self, times: u64, place: &str) {
        let ids = |folder: &str| -> Vec<u64> {
            let rows = self.read("duckdb", folder)["rows"].clone();
            let ids = rows.as_array().unwrap().iter();
            ids.map(|row| row[0].as_str().unwrap().parse().unwrap())
                .collect()
        };
        let expected = |bad: bool| -> Vec<u64> {
            let all = (0..ROWS).filter(|id| id.is_multiple_of(3) == bad);
            all.flat_map(|id| (0..times).map(move |_| id)).collect()
        };
        for (folder, bad) in [("out", false), ("rejected", true)] {
            let mut found = ids(folder);
            found.sort_unstable();
            assert_eq!(found, expected(bad), "{folder} after {place}");
            let leftovers: Vec<String> = files_below(&self.dir.path().join(folder))
                .into_iter()
                .filter(|file| !file.ends_with(".parquet") && !file.starts_with("_dativo/"))
                .collect();
            assert_eq!(leftovers, Vec::<String>::new(), "{folder} after {place}");
        }
    }

    fn check_recovery(&self, point: &str) {
        self.run_json();
        assert_eq!(self.run_json()["rows_read"], 0, "after {point}");
        self.check_rows(1, point);
    }

    fn forget_runs(&self) {
        std::fs::remove_dir_all(self.dir.path().join(".dativo")).unwrap();
    }

    fn reset(&self) {
        assert_eq!(cli(&self.dir, &["state", "reset", "job.yaml"]).code, 0);
    }
}

#[test]
fn a_kill_at_any_point_leaves_every_row_once_on_one_side() {
    // Without a run store, nobody knows of what was staged and not committed.
    let committed = [
        "dead-letter-due",
        "dead-letter-committed",
        "committed",
        "finished",
    ];
    for point in [
        "rows-rejected:2",
        "prepared:1",
        "prepared:2",
        "before-pending",
        "pending",
        "published:1",
    ] {
        let case = with_bad_rows();
        case.kill_at(point);
        case.check_recovery(point);
    }
    for point in committed {
        for is_store_lost in [false, true] {
            let case = with_bad_rows();
            case.kill_at(point);
            if is_store_lost {
                case.forget_runs();
            }
            case.check_recovery(point);
        }
    }
}

#[test]
fn a_kill_while_the_dead_letter_is_settled_loses_nothing() {
    let case = with_bad_rows();
    case.kill_at("dead-letter-due");
    case.kill_at("settling-dead-letter");
    case.run_json();
    case.check_rows(1, "two kills");
    // The next commit of the dead letter follows the one that was settled.
    case.reset();
    case.kill_at("dead-letter-due");
    case.forget_runs();
    case.run_json();
    case.check_rows(2, "a second run");
}

#[test]
fn after_a_reset_what_was_due_is_read_again_and_not_published() {
    let case = with_bad_rows();
    case.kill_at("dead-letter-due");
    case.reset();
    case.run_json();
    let rejected = case.read("duckdb", "rejected")["rows"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(rejected as u64, ROWS / 3);
}

#[test]
fn a_dead_letter_that_was_moved_is_asked_for() {
    let case = with_bad_rows();
    let job = std::fs::read_to_string(case.dir.path().join("job.yaml")).unwrap();
    case.kill_at("dead-letter-due");
    case.dir.write(
        "job.yaml",
        &job.replace("path: rejected", "path: elsewhere"),
    );
    let output = case.run();
    assert_eq!(output.code, 3, "{output:?}");
    check_golden("moved-dead-letter", &seen(&output));
    case.dir.write("job.yaml", &job);
    case.run_json();
    case.check_rows(1, "moving back");
    // Once that is settled, the place may change.
    case.dir.write(
        "job.yaml",
        &job.replace("path: rejected", "path: elsewhere"),
    );
    case.run_json();
}
