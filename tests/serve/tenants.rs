//! What one tenant tries against another, and against the process that serves both: it ends with the one who tried.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{check, folder, hostile, job, noise, put};
use crate::support::serve::Serving;
use crate::support::{TestDir, test_guests};

/// Both tenants, as an operator would set them up: each may read its own folder and write to its own tables.
fn two_tenants() -> TestDir {
    let dir = folder();
    for name in [
        "tenants",
        "secrets",
        "secrets/acme",
        "secrets/other",
        "in-other",
    ] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for (tenant, own) in [("acme", "in"), ("other", "in-other")] {
        dir.write(
            &format!("tenants/{tenant}.yaml"),
            &format!(
                "limits: {{ runs: 4, memory: 1GiB }}\ngrants:\n  object-store: [\"read {own}/**\"]\n  \
                 iceberg: [\"write warehouse {tenant}.*\"]\n  files: [\"read jobs/{tenant}/**\"]\n"
            ),
        );
    }
    dir.write("secrets/acme/TOKEN", "the-token-of-acme");
    dir.write("in/private.txt", "rows of acme");
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    put(&dir, 0);
    dir
}

fn serve(dir: &TestDir) -> Serving {
    let guests = test_guests();
    let guests = guests.to_str().unwrap();
    Serving::start(dir, &["--plugins", guests, "--secrets", "secrets"])
}

fn trigger(serving: &Serving, job: &str) -> String {
    let begun = serving.post(&format!("/api/v1/jobs/{job}/runs"));
    begun["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn no_attack_of_a_component_reaches_beyond_its_run() {
    let dir = two_tenants();
    let attacks = [
        ("endless-loop", "limit_exceeded"),
        ("memory-bomb", "limit_exceeded"),
        ("table-bomb", "limit_exceeded"),
        ("million-handles", "limit_exceeded"),
        ("host-memory", "limit_exceeded"),
        ("stack-overflow", "limit_exceeded"),
        ("sleep", "limit_exceeded"),
        ("endless-rows", "limit_exceeded"),
        ("bad-offsets", "data_invalid"),
        ("wrong-handle", "guest_trapped"),
        ("panic", "guest_trapped"),
        ("log-flood", ""),
    ];
    for (attack, _) in attacks {
        let limits = "memory: 64MiB, cpu_per_call: 2s, call_timeout: 3s, deadline: 5s";
        let text = hostile("other", attack).replace("memory: 64MiB, cpu_per_call: 2s", limits);
        dir.write(&format!("jobs/other/{attack}.yaml"), &text);
    }
    let serving = serve(&dir);
    let runs =
        attacks.map(|(attack, kind)| (trigger(&serving, &format!("other/{attack}")), attack, kind));
    for _ in 0..3 {
        let run = serving.ended(&trigger(&serving, "acme/rows"));
        assert!(run["error"].is_null(), "{run}");
    }
    for (run, attack, kind) in runs {
        let run = serving.ended(&run);
        match kind {
            "" => {}
            kind => assert_eq!(run["error"]["kind"], kind, "{attack}: {run}"),
        }
    }
    let run = serving.ended(&trigger(&serving, "acme/rows"));
    assert!(run["error"].is_null(), "{run}");
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 10);
}

/// A job of the other tenant that reaches for something, and what must not come through.
fn reach(how: &str, target: &str, grants: &str) -> String {
    format!(
        "tenant_id: other\nparallelism: 1\nsource: {{ reader: {{ type: custom, implementation: reach, \
         config: {{ how: {how}, target: {} }}, grants: {{ {grants} }} }} }}\n\
         target: {{ writer: {{ type: custom, implementation: discard }} }}\n",
        json!(target)
    )
}

/// A job of the other tenant from its CSV files, with another line in the place of one.
fn with(key: &str, line: &str) -> String {
    let text = job("other", "").replace("in/*.csv", "in-other/*.csv");
    match key {
        "" => format!("{text}{line}\n"),
        key => text.replace(key, line),
    }
}

#[test]
fn no_key_of_a_job_that_names_a_file_leads_out_of_what_the_operator_allows() {
    let dir = two_tenants();
    dir.write("in-other/1.csv", "id\n1\n");
    dir.write(
        "jobs/acme/asset.yaml",
        "name: stolen\nversion: 1\nschema: []\n",
    );
    let absolute = dir.path().join("in/private.txt").display().to_string();
    let folder = |name: &str| dir.path().join(name).display().to_string();
    let csv = |path: &str| with("in-other/*.csv", path);
    let files = [
        ("source-relative", csv("in/00000.csv")),
        ("source-pattern", csv("in*/*.csv")),
        ("source-above", csv("in-other/../in/00000.csv")),
        ("source-encoded", csv("in-other/%2e%2e/in/00000.csv")),
        ("source-absolute", csv(&format!("{}/in/00000.csv", dir.path().display()))),
        ("source-url", csv(&format!("file://{}/in/00000.csv", dir.path().display()))),
        ("grants-store", reach("read", &absolute, "object-store: [\"read /**\"]")),
        ("grants-files", reach("file", &absolute, &format!("files: [\"read {}\"]", folder("in")))),
        ("grants-write", reach("write", "jobs/acme/new.yaml", "object-store: [\"write jobs/**\"]")),
        ("warehouse", with("warehouse: warehouse", "warehouse: jobs/acme")),
        ("warehouse-absolute", with("warehouse: warehouse", &format!("warehouse: {}", folder("jobs/acme")))),
        ("warehouse-above", with("warehouse: warehouse", "warehouse: warehouse/../jobs")),
        ("namespace", with("namespace: other", "namespace: acme")),
        ("table", with("table: rows", "table: ../acme/rows")),
        ("catalog", with("table: rows", "table: rows, catalog: { type: sql, uri: \"sqlite:///etc/catalog.db\" }")),
        ("asset", with("", "asset_path: jobs/acme/asset.yaml")),
        ("asset-above", with("", "asset_path: jobs/other/../acme/asset.yaml")),
        ("dead-letter", with("", "asset_path: jobs/other/asset.yaml\ndead_letter: { path: jobs/acme }")),
        ("implementation", with("implementation: csv", "implementation: ../../plugins/x.wasm")),
        ("component", with("implementation: csv", &format!("implementation: {absolute}.wasm"))),
        ("parquet", "tenant_id: other\nsource: { reader: { type: custom, implementation: csv, config: { file_path: \"in-other/*.csv\" } } }\n\
            target: { writer: { type: custom, implementation: parquet, config: { path: jobs/acme } } }\n".to_owned()),
        ("key-file", "tenant_id: other\nsource: { reader: { type: custom, implementation: csv, config: { file_path: \"in-other/*.csv\" } } }\n\
            target: { writer: { type: custom, implementation: encrypted-s3, config: { path: \"s3://lake/x\", key_id: \"file:secrets/acme/TOKEN\" } } }\n".to_owned()),
        ("database", "tenant_id: other\nsource: { reader: { type: custom, implementation: postgres, config: { table: t, \
            connection_string: \"postgresql://me@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/etc/passwd\" } } }\n\
            target: { writer: { type: custom, implementation: discard } }\n".to_owned()),
        ("proxy", with("", "http: { proxy: \"file:///etc/passwd\" }")),
    ];
    dir.write(
        "jobs/other/asset.yaml",
        "name: a\nversion: 1.0.0\nschema: [{ name: id, type: integer }]\n",
    );
    for (name, text) in &files {
        dir.write(&format!("jobs/other/{name}.yaml"), text);
    }
    dir.write("jobs/other/own.yaml", &with("", ""));
    let serving = serve(&dir);
    let jobs = serving.get("/api/v1/jobs");
    let broken = jobs["broken"].as_array().unwrap();
    for (name, _) in &files {
        let file = json!(format!("{name}.yaml"));
        let errors = match broken.iter().find(|broken| broken["file"] == file) {
            Some(broken) => broken["errors"].clone(),
            None => {
                let run = serving.ended(&trigger(&serving, &format!("other/{name}")));
                assert_eq!(run["status"], "failed", "{name}: {run}");
                json!([run["error"]])
            }
        };
        let kind = errors[0]["kind"].as_str().unwrap_or_default();
        assert!(
            [
                "denied",
                "grant_missing",
                "job_invalid",
                "component_invalid"
            ]
            .contains(&kind),
            "{name}: {errors}"
        );
        let said = errors.to_string();
        assert!(
            !said.contains("rows of acme") && !said.contains("root:"),
            "{name}: {said}"
        );
        assert!(
            !said.contains(dir.path().to_str().unwrap()),
            "{name}: {said}"
        );
    }
    // What it may do it can.
    let run = serving.ended(&trigger(&serving, "other/own"));
    assert_eq!(run["status"], "committed", "{run}");
    let run = serving.ended(&trigger(&serving, "acme/rows"));
    assert_eq!(run["status"], "committed", "{run}");
    assert!(!dir.path().join("jobs/acme/new.yaml").exists());
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 10);
}

#[test]
fn a_guessed_name_of_a_secret_gets_nothing_of_another_tenant() {
    let dir = two_tenants();
    let guesses = [
        "TOKEN",
        "../acme/TOKEN",
        "acme/TOKEN",
        "..%2Facme%2FTOKEN",
        "acme.TOKEN",
        "PATH",
        "HOME",
        "DATIVO_STATE",
        ".",
    ];
    for (at, guess) in guesses.iter().enumerate() {
        let text = reach(
            "tell",
            &format!("${{SECRET:{guess}}}"),
            "object-store: [\"read in-other/**\"]",
        );
        dir.write(&format!("jobs/other/guess-{at}.yaml"), &text);
    }
    let own = reach("tell", "${SECRET:TOKEN}", "").replace("tenant_id: other", "tenant_id: acme");
    dir.write("jobs/acme/own.yaml", &own);
    let serving = serve(&dir);
    let jobs = serving.get("/api/v1/jobs");
    let broken = jobs["broken"].as_array().unwrap();
    assert_eq!(broken.len(), guesses.len(), "{jobs}");
    for broken in broken {
        let said = broken["errors"].to_string();
        assert!(
            said.contains("job_invalid") && !said.contains("the-token-of-acme"),
            "{said}"
        );
    }
    // Its own tenant's component sees a placeholder.
    let run = serving.ended(&trigger(&serving, "acme/own"));
    let said = run.to_string();
    assert!(!said.contains("the-token-of-acme"), "{said}");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn the_operators_command_knows_the_secrets_of_a_tenant() {
    let dir = two_tenants();
    dir.write(
        "tenants/other.yaml",
        "secrets: { command: [sh, -c, \"test $1 = other/TOKEN && echo value-of-other\", sh, \"{tenant}/{name}\"] }\n",
    );
    dir.write(
        "jobs/other/good.yaml",
        &reach("tell", "${SECRET:TOKEN}", ""),
    );
    dir.write("jobs/other/bad.yaml", &reach("tell", "${SECRET:ELSE}", ""));
    let serving = serve(&dir);
    let jobs = serving.get("/api/v1/jobs");
    let broken = jobs["broken"].as_array().unwrap();
    assert_eq!(
        (broken.len(), &broken[0]["file"]),
        (1, &json!("bad.yaml")),
        "{jobs}"
    );
    assert!(
        broken[0]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("exit status")
    );
    let run = serving.ended(&trigger(&serving, "other/good"));
    let said = run["error"]["message"].as_str().unwrap();
    assert!(!said.contains("value-of-other"), "{said}");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_flood_of_connections_leaves_the_interface_and_the_runs() {
    let dir = two_tenants();
    let serving = serve(&dir);
    // Some say nothing, some begin to ask, some do not wait for an answer.
    let connect = |at: usize| {
        use std::io::Write;
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        match at % 3 {
            0 => {}
            1 => stream
                .write_all(b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\n")
                .unwrap(),
            _ => stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap(),
        }
        stream
    };
    let streams: Vec<TcpStream> = (0..240).map(connect).collect();
    let run = serving.ended(&trigger(&serving, "acme/rows"));
    assert_eq!(run["status"], "committed", "{run}");
    let more: Vec<TcpStream> = (0..60).map(connect).collect();
    let files = std::fs::read_dir(format!("/proc/{}/fd", serving.child.id()))
        .unwrap()
        .count();
    assert!(files < 400, "{files} files are open");
    // Whoever says nothing makes room.
    assert_eq!(serving.ask("GET", "/api/v1/jobs", &serving.token).0, 200);
    drop((streams, more));
    let run = serving.ended(&trigger(&serving, "acme/rows"));
    assert!(run["error"].is_null(), "{run}");
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 10);
}

#[test]
fn limits_of_a_tenant_count_once_its_file_is_changed() {
    let dir = two_tenants();
    let slow = hostile("other", "endless-loop").replace("cpu_per_call: 2s", "cpu_per_call: 5m");
    for name in ["a", "b"] {
        dir.write(&format!("jobs/other/{name}.yaml"), &slow);
    }
    dir.write("tenants/other.yaml", "limits: { runs: 1 }\n");
    let serving = serve(&dir);
    let runs = ["a", "b"].map(|name| trigger(&serving, &format!("other/{name}")));
    let status =
        |run: &str| -> Value { serving.get(&format!("/api/v1/runs/{run}"))["status"].clone() };
    serving.wait("the first", |_| {
        (status(&runs[0]) == "running").then_some(())
    });
    assert_eq!(status(&runs[1]), "waiting");
    dir.write("tenants/other.yaml", "limits: { runs: 2 }\n");
    std::thread::sleep(Duration::from_secs(3));
    serving.post(&format!("/api/v1/runs/{}/cancel", runs[1]));
    let second = trigger(&serving, "other/b");
    serving.wait("both", |_| (status(&second) == "running").then_some(()));
    // What can never have room is a run that failed, and holds nothing up.
    dir.write(
        "jobs/other/large.yaml",
        &slow.replace("memory: 64MiB", "memory: 600MiB"),
    );
    dir.write("tenants/other.yaml", "limits: { runs: 2, memory: 1GiB }\n");
    std::thread::sleep(Duration::from_secs(3));
    let large = serving.post("/api/v1/jobs/other/large/runs");
    let large = serving.ended(large["run_id"].as_str().unwrap());
    assert_eq!(large["error"]["kind"], "limit_exceeded", "{large}");
    for run in [&runs[0], &second] {
        serving.post(&format!("/api/v1/runs/{run}/cancel"));
        serving.ended(run);
    }
    assert_eq!(serving.terminate(), Some(0));
}

/// Runs `script` in a namespace where `small` is a disk of 4 MiB, with `$bin` for the program; what it prints.
fn on_a_small_disk(dir: &TestDir, script: &str) -> String {
    let mount = format!("mount -t tmpfs -o size=4m tmpfs small && {{ {script}\n}}");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "bash", "-c", &mount])
        .env("bin", env!("CARGO_BIN_EXE_dativo-wasm"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_full_disk_is_an_error_of_the_run_and_the_next_one_goes_on() {
    let dir = folder();
    std::fs::create_dir(dir.path().join("small")).unwrap();
    // Some 9 MB that no encoding makes small.
    let mut random = noise();
    let rows: String = (0..400_000)
        .map(|id| format!("{id},{}\n", random()))
        .collect();
    dir.write("in/rows.csv", &format!("id,value\n{rows}"));
    dir.write(
        "job.yaml",
        "tenant_id: acme\nparallelism: 1\n\
         source: { reader: { type: custom, implementation: csv, config: { file_path: in/rows.csv } } }\n\
         target: { writer: { type: custom, implementation: parquet, config: { path: small/out } } }\n",
    );
    let said = on_a_small_disk(
        &dir,
        "! $bin run job.yaml --json; find small -type f | wc -l
         mount -o remount,size=64m small; $bin run job.yaml --json; cp -r small/out out",
    );
    let lines: Vec<&str> = said.lines().collect();
    let failed: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(failed["status"], "failed", "{failed}");
    let error = failed["error"].to_string();
    assert!(
        error.contains("no space is left") && error.contains("free some space"),
        "{error}"
    );
    assert_eq!(lines[1].trim(), "0", "files are left");
    let second: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(
        (&second["status"], &second["rows_written"]),
        (&json!("success"), &json!(400_000))
    );
    let rows = crate::support::read_parquet("duckdb", &dir.path().join("out"));
    assert_eq!(rows["rows"], 400_000, "{}", rows["rows"]);
}

#[test]
fn a_run_store_on_a_full_disk_begins_no_run_and_stays_sound() {
    let dir = folder();
    std::fs::create_dir(dir.path().join("small")).unwrap();
    put(&dir, 0);
    dir.write("job.yaml", &job("acme", ""));
    let said = on_a_small_disk(
        &dir,
        "export DATIVO_STATE=sqlite://small/state.db; $bin state show job.yaml --json >/dev/null
         ! dd if=/dev/zero of=small/filler bs=64k 2>/dev/null; ! $bin run job.yaml --json
         rm small/filler; $bin run job.yaml --json; $bin state show job.yaml --json",
    );
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let error = lines[0]["error"].to_string();
    assert!(
        error.contains("unavailable") && error.contains("disk is not full"),
        "{error}"
    );
    assert_eq!(lines[1]["rows_written"], 10, "{}", lines[1]);
    assert_eq!(
        lines[2]["runs"].as_array().unwrap().len(),
        1,
        "{}",
        lines[2]
    );
    check(&dir, "acme", 10);
}
