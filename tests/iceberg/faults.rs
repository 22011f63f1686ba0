//! Kills at every named point: the rows are there once, and the next run goes on from the right state.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::catalogs::rest;
use super::{Bench, TABLE};
use crate::support::faults::{Fault, Proxy, Rule};
use crate::support::{points_passed, soak};

const SIGKILL: i32 = 9;

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing_in_a_table() {
    let reference = Bench::new("");
    reference.put("a.csv", 0, 4_000);
    let passed = points_passed(&reference.dir, reference.command(&["run", "job.yaml"]));
    let mut points = Vec::new();
    for (name, times) in passed {
        let most = if soak() { times } else { 1 };
        points.extend((1..=times.min(most)).map(|n| format!("{name}:{n}")));
    }
    for wanted in ["iceberg-prepared", "iceberg-committed"] {
        assert!(
            points.iter().any(|point| point.starts_with(wanted)),
            "{points:?}"
        );
    }
    for point in &points {
        let bench = Bench::new("");
        bench.put("a.csv", 0, 4_000);
        let mut killed = bench.command(&["run", "job.yaml"]);
        let status = killed.env("DATIVO_CRASH_AT", point).status().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "{point}: {status}");
        bench.put("b.csv", 4_000, 4_500);
        bench.runs();
        bench.runs();
        let found = bench.check(4_500, &format!("after a kill at {point}"));
        bench.check_no_litter(&found, &format!("after a kill at {point}"));
    }
    println!("{} kill points: {}", points.len(), points.join(" "));
}

#[test]
fn after_each_of_many_kills_at_random_times_the_rows_are_there_once_and_the_state_is_theirs() {
    let bench = Bench::new("");
    bench.put("00000.csv", 0, 200);
    bench.runs();
    let mut killed = 0;
    // Within how many microseconds a run is killed: not more than one is known to take.
    let mut within = 400_000;
    let runs = if soak() { 200 } else { 12 };
    for run in 1..=runs {
        bench.put(&format!("{run:05}.csv"), run * 200, (run + 1) * 200);
        let mut child = bench.command(&["run", "job.yaml"]).spawn().unwrap();
        let random = RandomState::new().hash_one(run);
        let after = random % within;
        std::thread::sleep(Duration::from_micros(after));
        child.kill().unwrap();
        if child.wait().unwrap().signal() == Some(SIGKILL) {
            killed += 1;
        } else {
            within = after.max(1);
        }
        let found = bench.catalog.read(TABLE);
        let rows = found["pyiceberg"]["rows"].as_u64().unwrap();
        let when = format!("run {run}: {rows} rows");
        assert_eq!(rows % 200, 0, "{when}");
        bench.check(rows, &when);
        // The state names the files whose rows are there, and no other.
        let snapshots = found["snapshots"].as_array().unwrap();
        let state = snapshots.last().unwrap()["summary"]["dativo.state"]
            .as_str()
            .unwrap();
        for file in 0..=run {
            let is_read = state.contains(&format!("{file:05}.csv"));
            assert_eq!(
                is_read,
                file < rows / 200,
                "{when}: {file:05}.csv in {state}"
            );
        }
    }
    assert!(killed > 0);
    bench.runs();
    let found = bench.check((runs + 1) * 200, "after all");
    bench.check_no_litter(&found, "after all");
    println!("{killed} of {runs} runs were killed");
}

#[test]
fn whatever_becomes_of_an_answer_of_the_catalog_the_rows_are_there_once() {
    use Fault::{Cut, DoneButCut, DoneButStatus, HalfAnswer, Slow, Status};
    let rule = |operation, fault| Rule {
        operation,
        first: 1,
        times: 1,
        fault,
    };
    let faults = [
        rule("CommitTable", DoneButCut),
        rule("CommitTable", DoneButStatus(500, "InternalError")),
        rule("CommitTable", DoneButStatus(504, "Timeout")),
        rule("CommitTable", HalfAnswer),
        rule("CommitTable", Cut),
        rule("CommitTable", Status(500, "InternalError")),
        rule("CommitTable", Status(503, "SlowDown")),
        rule("CommitTable", Status(409, "CommitFailed")),
        rule("CommitTable", Status(429, "TooMany")),
        rule("CommitTable", Slow),
        rule("CreateTable", DoneButCut),
        rule("CreateTable", DoneButStatus(500, "InternalError")),
        rule("LoadTable", Status(503, "SlowDown")),
        rule("LoadTable", Cut),
    ];
    for fault in faults {
        let when = format!("{fault:?}");
        let proxy = Proxy::start_before("iceberg", &[fault]);
        let bench = rest(&proxy.endpoint());
        bench.put("a.csv", 0, 3_000);
        bench.runs();
        assert_eq!(proxy.applied(), 1, "{when}");
        bench.put("b.csv", 3_000, 3_500);
        assert_eq!(bench.runs()["rows_read"], 500, "{when}");
        let found = bench.check(3_500, &when);
        assert_eq!(found["snapshots"].as_array().unwrap().len(), 2, "{when}");
    }
}

#[test]
fn a_commit_that_the_catalog_refuses_leaves_no_files_and_the_next_run_reads_again() {
    let refused = Rule {
        operation: "CommitTable",
        first: 1,
        times: 1,
        fault: Fault::Status(403, "Forbidden"),
    };
    let proxy = Proxy::start_before("iceberg", &[refused]);
    let bench = rest(&proxy.endpoint());
    bench.put("a.csv", 0, 3_000);
    bench.refuses("403");
    bench.check(0, "after a refusal");
    assert_eq!(bench.runs()["rows_read"], 3_000);
    let found = bench.check(3_000, "the run after");
    assert_eq!(found["snapshots"].as_array().unwrap().len(), 1);
}
