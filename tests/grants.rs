//! What a job grants, and nothing else, comes through: objects, folders, secrets.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::support::{TestDir, cli, test_guests};

/// A folder with data inside and outside of what is granted below.
fn prepared() -> TestDir {
    let dir = TestDir::new();
    for folder in ["in", "in/deep", "out"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    dir.write("in/a.txt", "inside\n");
    dir.write("in/deep/b.txt", "deep\n");
    dir.write("secret.txt", "outside\n");
    symlink("../secret.txt", dir.path().join("in/link.txt")).unwrap();
    symlink("..", dir.path().join("in/up")).unwrap();
    dir
}

/// Lets the guest reach for `target` in a way, under `grants`; kind and message of how that ended.
fn reach(dir: &TestDir, how: &str, target: &str, grants: &str) -> (String, String) {
    let (code, error) = run(dir, how, target, grants, &[]);
    assert_ne!(code, 0);
    (
        error["kind"].as_str().unwrap().to_owned(),
        error["message"].as_str().unwrap().to_owned(),
    )
}

fn run(dir: &TestDir, how: &str, target: &str, grants: &str, more: &[&str]) -> (i32, Value) {
    let target = serde_json::json!(target);
    let file = dir.write(
        "job.yaml",
        &format!(
            "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: reach, \
             config: {{ how: {how}, target: {target} }}, grants: {{ {grants} }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
        ),
    );
    let plugins = test_guests();
    let mut args = vec![
        "run",
        file.to_str().unwrap(),
        "--json",
        "--plugins",
        plugins.to_str().unwrap(),
    ];
    args.extend(more);
    let output = cli(dir, &args);
    (output.code, output.json()["error"].clone())
}

const IN_AND_OUT: &str = r#"object-store: ["read in/**", "write out/**"]"#;

#[test]
fn denies_whatever_lies_outside_the_grant() {
    let dir = prepared();
    let absolute = dir.path().join("secret.txt").display().to_string();
    let outside = [
        ("read", "secret.txt"),
        ("read", "/etc/passwd"),
        ("read", "file:///etc/passwd"),
        ("read", absolute.as_str()),
        ("read", "in/../secret.txt"),
        ("read", "in/%2e%2e/secret.txt"),
        ("read", "file:///in/%2e%2e/etc/passwd"),
        ("read", "in//a.txt"),
        ("read", "in\\a.txt"),
        ("read", "in/up/secret.txt"),
        ("read", "in/link.txt"),
        ("read", "out/x"),
        ("read", "https://example.com/"),
        ("read", "s3://bucket/key"),
        ("read", "in/*.txt"),
        ("write", "in/new.txt"),
        ("write", "new.txt"),
        ("write", "out/../new.txt"),
        ("list", "./"),
        ("list", "/"),
        (
            "publish",
            r#"{"path": "/etc/passwd", "staged": "/etc/passwd", "run": "x"}"#,
        ),
        ("publish", "no token"),
    ];
    for (how, target) in outside {
        let (kind, message) = reach(&dir, how, target, IN_AND_OUT);
        assert!(
            !message.contains("got:") && !message.contains("outside\n"),
            "{how} {target}: {message}"
        );
        assert!(
            ["denied", "rejected", "job_invalid", "contract_broken"].contains(&kind.as_str()),
            "{how} {target}: {kind} {message}"
        );
    }
    assert!(!dir.path().join("in/new.txt").exists() && !dir.path().join("new.txt").exists());
}

#[test]
fn lets_through_what_is_granted() {
    let dir = prepared();
    let inside = dir.path().join("in/a.txt").display().to_string();
    for (how, target, got) in [
        ("read", "in/a.txt", "got: inside"),
        ("read", inside.as_str(), "got: inside"),
        ("read", "in/deep/b.txt", "got: deep"),
        ("list", "in/deep/", "got: 1 objects"),
        ("write", "out/x/y.txt", "got: written"),
    ] {
        assert_eq!(
            reach(&dir, how, target, IN_AND_OUT),
            ("rejected".to_owned(), got.to_owned())
        );
    }
    assert_eq!(
        std::fs::read_to_string(dir.path().join("out/x/y.txt")).unwrap(),
        "written"
    );
    // An object that exists is never replaced.
    let (_, message) = reach(&dir, "write", "out/x/y.txt", IN_AND_OUT);
    assert!(!message.contains("got:"), "{message}");
}

#[test]
fn a_granted_folder_is_there_through_wasi_and_read_only() {
    let dir = prepared();
    let grants = r#"object-store: ["read in/**"], files: [in]"#;
    let came = |how, target| reach(&dir, how, target, grants);
    assert_eq!(came("file", "in/a.txt").1, "got: inside");
    for (how, target) in [
        ("file", "secret.txt"),
        ("file", "in/../secret.txt"),
        ("file", "in/link.txt"),
        ("file", "/etc/passwd"),
        ("create", "in/new.txt"),
        ("create", "in/a.txt"),
        ("create", "out/new.txt"),
    ] {
        let (kind, message) = came(how, target);
        assert_eq!(kind, "denied", "{how} {target}: {message}");
    }
    assert_eq!(
        std::fs::read_to_string(dir.path().join("in/a.txt")).unwrap(),
        "inside\n"
    );
}

#[test]
fn a_component_sees_a_placeholder_and_nobody_sees_the_secret() {
    let dir = prepared();
    std::fs::create_dir_all(dir.path().join("secrets/t")).unwrap();
    dir.write("secrets/t/API_KEY", "hunter2-and-more\n");
    let (_, error) = run(
        &dir,
        "tell",
        "Bearer ${SECRET:API_KEY}",
        IN_AND_OUT,
        &["--secrets", "secrets"],
    );
    // What the guest saw of the placeholder is shown as the reference that stands in the job.
    assert_eq!(error["message"], "got: Bearer ${SECRET:API_KEY}", "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    let (code, error) = run(
        &dir,
        "tell",
        "${SECRET:OTHER}",
        IN_AND_OUT,
        &["--secrets", "secrets"],
    );
    assert_eq!(
        (code, error["kind"].as_str()),
        (2, Some("job_invalid")),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("OTHER"), "{error}");
}
