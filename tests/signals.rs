//! Ctrl-C and SIGTERM: the run ends within a bound, what is staged is removed, the state stays.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{TestDir, cli, command, files_below, test_guests};

#[test]
fn a_signal_stops_a_run_and_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let dir = TestDir::new();
        let plugins = test_guests();
        let file = dir.write(
            "job.yaml",
            "tenant_id: t\nsource: { reader: { type: custom, implementation: hostile, \
             config: { attack: endless-rows } } }\n\
             target: { writer: { type: custom, implementation: parquet, config: { path: out } } }\n\
             limits: { batch_rows: 1000 }\n",
        );
        let plugins = plugins.to_str().unwrap();
        let job = file.to_str().unwrap();
        let child = command(&dir, &["run", job, "--json", "--plugins", plugins])
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let sent = Instant::now();
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(
            sent.elapsed() < Duration::from_secs(15),
            "{signal}: {:?}",
            sent.elapsed()
        );
        assert_eq!(output.status.code(), Some(130), "{signal}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["status"], "cancelled", "{report}");
        assert_eq!(report["error"]["kind"], "cancelled", "{report}");
        assert!(report["rows_read"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["rows_written"], 0, "{report}");
        assert_eq!(
            files_below(&dir.path().join("out")),
            Vec::<String>::new(),
            "{signal}"
        );
        let state = cli(
            &dir,
            &["state", "show", job, "--json", "--plugins", plugins],
        )
        .json();
        assert!(state["last_commit"].is_null(), "{state}");
    }
}

#[test]
fn two_runs_of_one_job_do_not_overlap() {
    let dir = TestDir::new();
    let plugins = test_guests();
    let plugins = plugins.to_str().unwrap();
    let file = dir.write(
        "job.yaml",
        "tenant_id: t\nsource: { reader: { type: custom, implementation: hostile, \
         config: { attack: endless-rows } } }\n\
         target: { writer: { type: custom, implementation: discard } }\n",
    );
    let job = file.to_str().unwrap();
    let mut first = command(&dir, &["run", job, "--json", "--plugins", plugins])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let second = cli(&dir, &["run", job, "--json", "--plugins", plugins]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.code, 75);
    assert_eq!(second.json()["error"]["kind"], "state_conflict");
}
