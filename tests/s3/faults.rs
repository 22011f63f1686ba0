//! Network, store, credentials and process fail at every step of a job.

use std::os::unix::process::ExitStatusExt;

use super::{Bench, SIGKILL};
use crate::support::aws::servers;
use crate::support::faults::{Fault, Proxy, Rule};
use crate::support::{points_passed, soak};

fn rule(operation: &'static str, first: u32, times: u32, fault: Fault) -> Rule {
    Rule {
        operation,
        first,
        times,
        fault,
    }
}

#[test]
fn faults_of_the_network_and_of_the_store_change_nothing() {
    use Fault::{Cut, DoneButCut, DoneButStatus, HalfAnswer, Status};
    let faults = [
        rule("UploadPart", 1, 2, Status(500, "InternalError")),
        rule("UploadPart", 2, 3, Status(503, "SlowDown")),
        rule("UploadPart", 1, 1, Cut),
        rule("UploadPart", 1, 2, DoneButStatus(500, "InternalError")),
        rule("UploadPart", 3, 1, DoneButCut),
        rule("CreateMultipartUpload", 1, 1, Status(503, "SlowDown")),
        rule(
            "CreateMultipartUpload",
            2,
            2,
            DoneButStatus(500, "InternalError"),
        ),
        rule("CreateMultipartUpload", 1, 1, DoneButCut),
        rule(
            "CompleteMultipartUpload",
            1,
            1,
            Status(500, "InternalError"),
        ),
        rule(
            "CompleteMultipartUpload",
            1,
            2,
            DoneButStatus(500, "InternalError"),
        ),
        rule("CompleteMultipartUpload", 2, 1, DoneButCut),
        rule("PutObject", 1, 1, Cut),
        rule("PutObject", 1, 100, DoneButStatus(500, "InternalError")),
        rule("GetObject", 2, 1, HalfAnswer),
        rule("GetObject", 1, 3, Status(503, "SlowDown")),
        rule("DeleteObject", 1, 1, DoneButCut),
        rule("ListObjects", 1, 1, HalfAnswer),
        rule("HeadObject", 1, 1, Cut),
    ];
    for fault in faults {
        let when = format!("{fault:?}");
        let proxy = Proxy::start(&[fault]);
        let bench = Bench::new().through(&proxy);
        bench.put("a.csv", 0, 30_000);
        let mut output = bench.run();
        // What no number of retries gets over ends the run; the next one makes it good.
        if fault.times == 100 {
            assert_ne!(output.code, 0, "{when}: {output:?}");
            let bench = Bench {
                endpoint: servers().endpoint("seaweedfs"),
                ..bench
            };
            output = bench.run();
            assert_eq!(output.code, 0, "{when}: {output:?}");
            bench.check(&when);
            continue;
        }
        assert_eq!(output.code, 0, "{when}: {output:?}");
        if fault.operation != "HeadObject" {
            assert!(proxy.applied() >= 1, "{when} never happened");
        }
        bench.check(&when);
        let again = bench.run();
        assert_eq!(again.json()["rows_read"], 0, "{when}: {again:?}");
    }
}

#[test]
fn credentials_that_expire_end_the_run_and_the_next_makes_it_good() {
    let expired = Fault::Status(400, "ExpiredToken");
    for (operation, first) in [
        ("UploadPart", 2),
        ("CreateMultipartUpload", 2),
        ("CompleteMultipartUpload", 1),
        ("GetObject", 2),
    ] {
        let proxy = Proxy::start(&[rule(operation, first, 1_000, expired)]);
        let bench = Bench::new().through(&proxy);
        bench.put("a.csv", 0, 30_000);
        let output = bench.run();
        assert_ne!(output.code, 0, "{operation}: {output:?}");
        assert!(
            output.stderr.contains("expired") || output.stdout.contains("expired"),
            "{operation}: {output:?}"
        );
        let bench = Bench {
            endpoint: servers().endpoint("seaweedfs"),
            ..bench
        };
        let next = bench.run();
        assert_eq!(next.code, 0, "{operation}: {next:?}");
        bench.check(operation);
    }
}

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing_in_a_bucket() {
    let reference = Bench::new();
    reference.put("a.csv", 0, 8_000);
    let passed = points_passed(&reference.dir, reference.command(&["run", "job.yaml"]));
    reference.check("without a kill");
    let mut points = Vec::new();
    for (name, times) in passed {
        let most = if soak() { times } else { 2 };
        points.extend((1..=times.min(most)).map(|n| format!("{name}:{n}")));
    }
    for wanted in [
        "upload-marked",
        "upload-created",
        "staged",
        "object-created",
        "published",
    ] {
        assert!(
            points.iter().any(|point| point.starts_with(wanted)),
            "{points:?}"
        );
    }
    for point in &points {
        let bench = Bench::new();
        bench.put("a.csv", 0, 8_000);
        let mut killed = bench.command(&["run", "job.yaml"]);
        let status = killed.env("DATIVO_CRASH_AT", point).status().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "{point}: {status}");
        let output = bench.run();
        assert_eq!(output.code, 0, "after a kill at {point}: {output:?}");
        bench.check(&format!("after a kill at {point}"));
    }
    println!("{} kill points: {}", points.len(), points.join(" "));
}
