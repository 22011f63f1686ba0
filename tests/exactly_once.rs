//! `kill -9` at every point that the runtime names, and at random times: whatever the place, the next
//! runs end with exactly the right rows and leave nothing behind.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    TestDir, cli, command, files_below, points_passed, read_csv, read_parquet, soak,
};

const ROWS: u64 = 30_000;
const SIGKILL: i32 = 9;

/// A folder with a job of several splits and several files each.
fn prepared() -> TestDir {
    let dir = TestDir::new();
    let mut text = String::from("id,name,amount\n");
    for id in 0..ROWS {
        text.push_str(&format!("{id},\"name, {}\",{}.5\n", id % 97, id % 1000));
    }
    dir.write("data.csv", &text);
    dir.write(
        "job.yaml",
        "tenant_id: t\nparallelism: 2\nlimits: { batch_rows: 4000 }\n\
         source: { reader: { type: custom, implementation: csv, \
         config: { file_path: data.csv, split_bytes: 65536 } } }\n\
         target: { writer: { type: custom, implementation: parquet, \
         config: { path: out, row_group_rows: 2000, target_file_size: 64KiB } } }\n",
    );
    dir
}

fn start(dir: &TestDir, variable: Option<(&str, &str)>) -> Child {
    let mut command = command(dir, &["run", "job.yaml", "--json"]);
    command.envs(variable).stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

/// Runs the job to its end, twice: the rows are there once, and nothing else is.
fn check_recovery(dir: &TestDir, expected: &Value, place: &str) {
    let output = cli(dir, &["run", "job.yaml", "--json"]);
    assert_eq!(output.code, 0, "after a kill at {place}: {output:?}");
    let again = cli(dir, &["run", "job.yaml", "--json"]);
    assert_eq!(
        again.json()["rows_read"],
        0,
        "after a kill at {place}: {again:?}"
    );
    let found = read_parquet("duckdb", &dir.path().join("out"));
    assert_eq!(&found, expected, "after a kill at {place}");
    let leftovers: Vec<String> = files_below(&dir.path().join("out"))
        .into_iter()
        .filter(|file| !file.ends_with(".parquet") && !file.starts_with("_dativo/"))
        .collect();
    assert_eq!(leftovers, Vec::<String>::new(), "after a kill at {place}");
}

/// Every `n`-th occasion of each named point, so that each name is there.
fn points(dir: &TestDir) -> Vec<String> {
    let counted = points_passed(dir, command(dir, &["run", "job.yaml", "--json"]));
    let most = if soak() { usize::MAX } else { 3 };
    let mut points = Vec::new();
    for (name, count) in counted {
        let mut occasions: Vec<usize> = (1..=count).collect();
        if count > most {
            occasions = vec![1, count / 2, count];
        }
        points.extend(
            occasions
                .into_iter()
                .map(|occasion| format!("{name}:{occasion}")),
        );
    }
    points
}

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing() {
    let reference = prepared();
    let points = points(&reference);
    assert!(
        points.len() >= 20,
        "only {} points: {points:?}",
        points.len()
    );
    let expected = read_parquet("duckdb", &reference.path().join("out"));
    let source = read_csv(&reference.path().join("data.csv"));
    assert_eq!(
        (&expected["rows"], &expected["checksum"]),
        (&source["rows"], &source["checksum"])
    );
    for point in &points {
        let dir = prepared();
        let status = start(&dir, Some(("DATIVO_CRASH_AT", point)))
            .wait()
            .unwrap();
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "{point} was not reached: {status}"
        );
        check_recovery(&dir, &expected, point);
    }
    println!("{} kill points: {}", points.len(), points.join(" "));
}

#[test]
fn a_kill_while_recovering_loses_and_doubles_nothing() {
    let reference = prepared();
    assert!(start(&reference, None).wait().unwrap().success());
    let expected = read_parquet("duckdb", &reference.path().join("out"));
    for first in [
        "pending:1",
        "object-created:1",
        "published:1",
        "batch-written:3",
    ] {
        for second in ["settling:1", "published:1", "discarded:1", "begun:1"] {
            let dir = prepared();
            for point in [first, second] {
                // Not every second point is on the way of every recovery.
                start(&dir, Some(("DATIVO_CRASH_AT", point)))
                    .wait()
                    .unwrap();
            }
            check_recovery(&dir, &expected, &format!("{first} and {second}"));
        }
    }
}

#[test]
fn a_kill_at_any_time_loses_and_doubles_nothing() {
    let whole_run = || {
        let dir = prepared();
        let begun = Instant::now();
        assert!(start(&dir, None).wait().unwrap().success());
        (dir, begun.elapsed())
    };
    // May compile the components.
    let (reference, _) = whole_run();
    let expected = read_parquet("duckdb", &reference.path().join("out"));
    let kills: u32 = if soak() { 300 } else { 20 };
    let mut killed = 0;
    for kill in 0..kills {
        // Timed just before: the tests beside this one load the machine now more, now less.
        let (_, whole) = whole_run();
        let dir = prepared();
        // Spread evenly over the run, in an order that mixes early and late.
        let share = f64::from(kill * 7 % kills) / f64::from(kills);
        let mut child = start(&dir, None);
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * share));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == Some(SIGKILL));
        check_recovery(
            &dir,
            &expected,
            &format!("{:.0} % of the run", share * 100.0),
        );
    }
    assert!(
        killed >= kills / 2,
        "only {killed} of {kills} runs were still alive when killed"
    );
}
