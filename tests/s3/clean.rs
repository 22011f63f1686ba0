//! What dead runs leave, and who removes it.

use std::os::unix::process::ExitStatusExt;

use serde_json::Value;

use super::{Bench, SIGKILL};
use crate::support::aws::servers;

/// What a kill left, seen from a machine that knows nothing of the run.
#[test]
fn clean_removes_what_dead_runs_left_and_nothing_else() {
    let bench = Bench::new();
    bench.put("a.csv", 0, 30_000);
    let mut killed = bench.command(&["run", "job.yaml"]);
    let status = killed.env("DATIVO_CRASH_AT", "staged:2").status().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL));
    let out = format!("{}/out/", bench.prefix);
    let script = "s3.create_multipart_upload(Bucket='data', Key=sys.argv[1] + 'of-someone-else')";
    servers().python("moto", script, &[&out]);
    let uploads = || -> usize {
        let script = "print(len(s3.list_multipart_uploads(Bucket='data', Prefix=sys.argv[1]).get('Uploads', [])))";
        servers().python("moto", script, &[&out]).parse().unwrap()
    };
    let begun = uploads();
    assert!(begun >= 3, "{begun}");
    let clean = |state: &str| -> Value {
        let mut command = bench.command(&["clean", "job.yaml", "--json", "--state", state]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let count = |cleaned: &Value, key: &str| cleaned[key].as_array().unwrap().len();

    // The run could still be alive elsewhere.
    let cleaned = clean("sqlite://elsewhere.db");
    // Of an upload too whose creation the kill cut short.
    let left = count(&cleaned, "kept");
    assert!(left >= begun - 1, "{cleaned}");
    assert_eq!(count(&cleaned, "removed"), 0, "{cleaned}");
    assert_eq!(cleaned["unknown_uploads"], 1, "{cleaned}");

    // Another job of the same place.
    let job = std::fs::read_to_string(bench.dir.path().join("job.yaml")).unwrap();
    bench.dir.write(
        "other.yaml",
        &job.replace("tenant_id: t", "tenant_id: other"),
    );
    let mut other = bench.command(&[
        "clean",
        "other.yaml",
        "--json",
        "--state",
        "sqlite://elsewhere.db",
    ]);
    let other: Value = serde_json::from_slice(&other.output().unwrap().stdout).unwrap();
    assert_eq!(other["foreign"], left, "{other}");
    assert_eq!(uploads(), begun);

    // Older than any run may be.
    let brief = job.replace("limits: {", "limits: { deadline: 1s,");
    assert_ne!(brief, job);
    bench.dir.write("job.yaml", &brief);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let cleaned = clean("sqlite://elsewhere.db");
    assert_eq!(
        (count(&cleaned, "kept"), count(&cleaned, "removed")),
        (0, left),
        "{cleaned}"
    );
    assert_eq!(uploads(), 1);
    let script = "[s3.abort_multipart_upload(Bucket='data', Key=u['Key'], UploadId=u['UploadId']) for u in s3.list_multipart_uploads(Bucket='data', Prefix=sys.argv[1])['Uploads']]";
    servers().python("moto", script, &[&out]);
    bench.dir.write("job.yaml", &job);
    assert_eq!(bench.run().code, 0);
    bench.check("after clean");
}

/// A commit of one machine, decided after another took its run for dead.
#[test]
fn a_commit_whose_files_are_gone_is_not_decided() {
    let bench = Bench::new();
    bench.put("a.csv", 0, 30_000);
    let job = std::fs::read_to_string(bench.dir.path().join("job.yaml")).unwrap();
    let mut killed = bench.command(&["run", "job.yaml"]);
    let status = killed.env("DATIVO_CRASH_AT", "pending:1").status().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL));
    bench.dir.write(
        "job.yaml",
        &job.replace("limits: {", "limits: { deadline: 1s,"),
    );
    std::thread::sleep(std::time::Duration::from_secs(2));
    let mut clean = bench.command(&[
        "clean",
        "job.yaml",
        "--json",
        "--state",
        "sqlite://elsewhere.db",
    ]);
    let cleaned: Value = serde_json::from_slice(&clean.output().unwrap().stdout).unwrap();
    assert!(
        !cleaned["removed"].as_array().unwrap().is_empty(),
        "{cleaned}"
    );
    bench.dir.write("job.yaml", &job);
    let first = bench.run();
    if first.code != 0 {
        assert!(first.stderr.contains("is gone"), "{first:?}");
        let second = bench.run();
        assert_eq!(second.code, 0, "{second:?}");
    }
    bench.check("after a commit that could not be");
}
