//! Kills at every named point: the rows are there once, and the next run goes on from the right state.

use std::os::unix::process::ExitStatusExt;

use super::Bench;
use crate::support::soak;

const SIGKILL: i32 = 9;

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing_in_a_table() {
    let reference = Bench::new("");
    reference.put("a.csv", 0, 4_000);
    let trace = reference.dir.path().join("trace");
    let mut traced = reference.command(&["run", "job.yaml"]);
    assert!(
        traced
            .env("DATIVO_CRASH_TRACE", &trace)
            .status()
            .unwrap()
            .success()
    );
    let text = std::fs::read_to_string(&trace).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    let mut points = Vec::new();
    for same in names.chunk_by(|a, b| a == b) {
        let most = if soak() { same.len() } else { 1 };
        points.extend((1..=same.len().min(most)).map(|n| format!("{}:{n}", same[0])));
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
        bench.check(4_500, &format!("after a kill at {point}"));
    }
    println!("{} kill points: {}", points.len(), points.join(" "));
}
