//! `serve`: jobs run when they are due, whatever others do and whenever it is killed, and nobody sees what is another's.

mod day;
mod limits;
mod shared;
mod tenants;
mod watched;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::iceberg::Catalog;
use crate::support::serve::Serving;
use crate::support::{TestDir, cli, soak, test_guests};

/// A folder with jobs, in which files come and go.
fn folder() -> TestDir {
    let dir = TestDir::new();
    for name in ["jobs", "jobs/acme", "jobs/other", "in"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

/// From `in/*.csv` to a table of the tenant.
fn job(tenant: &str, schedule: &str) -> String {
    format!(
        "tenant_id: {tenant}\n{schedule}limits: {{ memory: 64MiB }}\nparallelism: 1\n\
         source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: \"in/*.csv\" }} }} }}\n\
         target: {{ warehouse: warehouse, namespace: {tenant}, table: rows }}\n"
    )
}

fn hostile(tenant: &str, attack: &str) -> String {
    format!(
        "tenant_id: {tenant}\nlimits: {{ memory: 64MiB, cpu_per_call: 2s }}\nparallelism: 1\n\
         source: {{ reader: {{ type: custom, implementation: hostile, config: {{ attack: {attack} }} }} }}\n\
         target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
    )
}

/// Numbers that no encoding makes small.
fn noise() -> impl FnMut() -> u64 {
    let mut state = 1u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn put(dir: &TestDir, file: u64) {
    let rows: String = (file * 10..file * 10 + 10)
        .map(|id| format!("{id}\n"))
        .collect();
    // A reader sees it whole or not at all.
    let new = dir.write("new", &format!("id\n{rows}"));
    std::fs::rename(new, dir.path().join(format!("in/{file:05}.csv"))).unwrap();
}

/// Rows `0..to` are in the table, each once.
fn check(dir: &TestDir, tenant: &str, to: u64) {
    let found = Catalog::of_folder(dir.path()).read(&format!("{tenant}.rows"));
    let read = &found["pyiceberg"];
    assert_eq!(read["rows"], to);
    assert_eq!(read["sums"]["id"], (to * (to - 1) / 2).to_string());
}

#[test]
fn a_job_runs_when_it_is_due_and_is_seen_to() {
    let dir = folder();
    put(&dir, 0);
    dir.write(
        "jobs/acme/rows.yaml",
        &job("acme", "schedule: { interval: every 1s }\n"),
    );
    let serving = Serving::start(&dir, &[]);
    let first = serving.wait("a run", |serving| {
        let runs = serving.get("/api/v1/runs?status=committed");
        let first = runs["runs"].as_array().unwrap().first().cloned();
        // Its report is there a moment after its end.
        first.filter(|run| !run["rows_written"].is_null())
    });
    assert_eq!(
        (&first["rows_written"], &first["cause"]),
        (&json!(10), &json!("schedule"))
    );
    assert_eq!(first["components"][0]["name"], "csv");
    put(&dir, 1);
    serving.wait("another run", |serving| {
        let runs = serving.get("/api/v1/runs?status=committed");
        (runs["runs"].as_array().unwrap().len() == 2).then_some(())
    });
    let jobs = serving.get("/api/v1/jobs");
    assert_eq!(jobs["jobs"][0]["schedule"], "every 1s");
    assert!(jobs["jobs"][0]["next"].is_string(), "{jobs}");
    let (status, metrics) = serving.raw("GET", "/metrics", &serving.token, "");
    assert_eq!(status, 200);
    assert!(
        metrics.contains("dativo_rows_written_total{tenant=\"acme\"} 20"),
        "{metrics}"
    );
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 20);
}

#[test]
fn files_come_change_and_break_while_it_serves() {
    let dir = folder();
    put(&dir, 0);
    let serving = Serving::start(&dir, &[]);
    assert_eq!(serving.get("/api/v1/jobs")["jobs"], json!([]));
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    dir.write("jobs/acme/broken.yaml", "tenant_id: acme\nsource: [\n");
    let jobs = serving.wait("a look at the folder", |serving| {
        let jobs = serving.get("/api/v1/jobs");
        (jobs["jobs"].as_array().unwrap().len() == 1).then_some(jobs)
    });
    assert_eq!(jobs["broken"][0]["file"], "broken.yaml");
    assert_eq!(jobs["broken"][0]["errors"][0]["kind"], "job_invalid");
    let begun = serving.post("/api/v1/jobs/acme/rows/runs");
    let run = serving.ended(begun["run_id"].as_str().unwrap());
    assert_eq!(
        (&run["status"], &run["cause"]),
        (&json!("committed"), &json!("trigger"))
    );
    // It becomes wrong in a way that only its components know.
    dir.write(
        "jobs/acme/rows.yaml",
        &job("acme", "").replace("file_path", "file_paths"),
    );
    std::thread::sleep(Duration::from_secs(3));
    let begun = serving.post("/api/v1/jobs/acme/rows/runs");
    let run = serving.ended(begun["run_id"].as_str().unwrap());
    assert_eq!(run["status"], "failed");
    assert!(
        run["error"]["message"]
            .as_str()
            .unwrap()
            .contains("file_path"),
        "{run}"
    );
    std::fs::remove_file(dir.path().join("jobs/acme/rows.yaml")).unwrap();
    serving.wait("its end", |serving| {
        (serving.get("/api/v1/jobs")["jobs"] == json!([])).then_some(())
    });
    assert_eq!(
        serving
            .ask("POST", "/api/v1/jobs/acme/rows/runs", &serving.token)
            .0,
        404
    );
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_tenant_sees_and_touches_nothing_of_another() {
    let dir = folder();
    put(&dir, 0);
    let line = |token: &str, caller: &str| {
        let digest: String = Sha256::digest(token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{digest} {caller}\n")
    };
    let tokens = format!(
        "{}{}{}",
        line("root", "operator"),
        line("of-acme", "tenant acme"),
        line("of-other", "tenant other")
    );
    dir.write("tokens", &tokens);
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    dir.write("jobs/other/rows.yaml", &job("other", ""));
    dir.write(
        "jobs/other/secret.yaml",
        "tenant_id: other\nsecret_key_of_other: 1\n",
    );
    // A tenant may not work in the name of another, nor link to its files.
    dir.write("jobs/acme/stolen.yaml", &job("other", ""));
    std::os::unix::fs::symlink(
        "../other/rows.yaml",
        dir.path().join("jobs/acme/linked.yaml"),
    )
    .unwrap();
    let mut serving = Serving::start(&dir, &["--tokens", "tokens"]);
    serving.token = "root".to_owned();

    for token in ["", "wrong", "of-acme ", "root2"] {
        let expected = if token.trim() == "of-acme" { 200 } else { 401 };
        assert_eq!(
            serving.ask("GET", "/api/v1/jobs", token).0,
            expected,
            "{token}"
        );
    }
    let (_, jobs) = serving.ask("GET", "/api/v1/jobs", "of-acme");
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(jobs["broken"].as_array().unwrap().len(), 2, "{jobs}");
    assert!(!jobs.to_string().contains("secret_key_of_other"), "{jobs}");
    assert_eq!(
        serving.get("/api/v1/jobs")["jobs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let begun = serving.ask("POST", "/api/v1/jobs/other/rows/runs", "of-other");
    assert_eq!(begun.0, 202, "{begun:?}");
    let run_id = begun.1["run_id"].as_str().unwrap().to_owned();
    serving.ended(&run_id);
    let run = format!("/api/v1/runs/{run_id}");
    for (method, path) in [
        ("GET", run.as_str()),
        ("POST", &format!("{run}/cancel")),
        ("GET", "/api/v1/jobs/other/rows"),
        ("POST", "/api/v1/jobs/other/rows/runs"),
    ] {
        let (status, answer) = serving.ask(method, path, "of-acme");
        assert_eq!(status, 404, "{method} {path}: {answer}");
        // As for what is not there.
        let (status, absent) = serving.ask(
            method,
            &path.replace("other", "nobody").replace(&run_id, "none"),
            "of-acme",
        );
        assert_eq!((status, absent), (404, answer), "{method} {path}");
    }
    let (_, own) = serving.raw("GET", "/metrics", "of-other", "");
    assert!(
        own.contains("dativo_runs_succeeded_total{tenant=\"other\"} 1"),
        "{own}"
    );
    let (_, own) = serving.raw("GET", "/metrics", "of-acme", "");
    assert!(
        !own.contains("other") && !own.contains("up_seconds"),
        "{own}"
    );
    assert_eq!(serving.ask("GET", &run, "of-other").0, 200);
    let (_, runs) = serving.ask("GET", "/api/v1/runs?tenant=other", "of-acme");
    assert_eq!(runs["runs"], json!([]));
    let (_, runs) = serving.ask("GET", "/api/v1/runs", "of-other");
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    let everything = serving.get(&run).to_string();
    assert!(
        !everything.contains(dir.path().to_str().unwrap()),
        "{everything}"
    );
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn what_is_asked_wrongly_is_answered_with_what_is_wrong() {
    let dir = folder();
    let serving = Serving::start(&dir, &[]);
    let token = serving.token.clone();
    let message = |answer: &Value| answer["message"].as_str().unwrap_or_default().to_owned();
    for (path, status, part) in [
        ("/api/v1/runs?limit=0", 400, "from 1 to 500"),
        ("/api/v1/runs?limit=x", 400, "limit"),
        ("/api/v1/runs?limits=1", 400, "limits"),
        ("/api/v1/runs/none", 404, "no such run"),
        ("/api/v1/nothing", 404, "nothing at this path"),
    ] {
        let (found, answer) = serving.ask("GET", path, &token);
        assert_eq!(found, status, "{path}: {answer}");
        assert!(message(&answer).contains(part), "{path}: {answer}");
    }
    assert_eq!(serving.ask("DELETE", "/api/v1/runs", &token).0, 405);
    let (status, answer) = serving.raw(
        "POST",
        "/api/v1/validate",
        &token,
        "tenant_id: t\nsorce: {}\n",
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["valid"], &answer["errors"][0]["line"]),
        (&json!(false), &json!(2))
    );
    // It reads no file that the text names, and no secret.
    let text =
        format!("{}asset_path: /etc/passwd\n", job("t", "")).replace("in/*.csv", "${SECRET:HOME}");
    let (_, answer) = serving.raw("POST", "/api/v1/validate", &token, &text);
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap()["valid"],
        true,
        "{answer}"
    );
    let (status, _) = serving.raw("POST", "/api/v1/validate", &token, &"#".repeat(2 << 20));
    assert_eq!(status, 413);
    let document = serving.get("/api/v1/openapi.json");
    assert!(
        document["paths"]["/api/v1/runs/{run_id}"]["get"].is_object(),
        "{document}"
    );
    let (status, page) = serving.raw("GET", "/", "", "");
    assert!(status == 200 && page.contains("<title>dativo-wasm</title>"));
}

#[test]
fn attacks_of_one_tenant_end_there_and_the_other_runs_on() {
    let dir = folder();
    put(&dir, 0);
    let guests = test_guests();
    dir.write("jobs/acme/rows.yaml", &job("acme", ""));
    for attack in ["endless-loop", "memory-bomb", "log-flood"] {
        dir.write(
            &format!("jobs/other/{attack}.yaml"),
            &hostile("other", attack),
        );
    }
    let serving = Serving::start(&dir, &["--plugins", guests.to_str().unwrap()]);
    let trigger = |job: &str| {
        let begun = serving.post(&format!("/api/v1/jobs/{job}/runs"));
        begun["run_id"].as_str().unwrap().to_owned()
    };
    let attacks: Vec<String> = ["endless-loop", "memory-bomb", "log-flood"]
        .iter()
        .map(|attack| trigger(&format!("other/{attack}")))
        .collect();
    let run = serving.ended(&trigger("acme/rows"));
    assert_eq!(run["status"], "committed", "{run}");
    for attack in attacks {
        let run = serving.ended(&attack);
        let status = run["status"].as_str().unwrap();
        assert!(["failed", "committed", "empty"].contains(&status), "{run}");
    }
    check(&dir, "acme", 10);
}

#[test]
fn the_operator_caps_what_jobs_are_granted_and_which_components_they_use() {
    let dir = folder();
    put(&dir, 0);
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    let file = dir.write("job.yaml", &job("acme", ""));
    let file = file.to_str().unwrap();
    let run = |policy: &str| {
        dir.write("tenants/acme.yaml", policy);
        cli(&dir, &["run", file, "--json"])
    };
    let table = "iceberg: [\"write warehouse acme.*\"]";
    for (policy, part) in [
        ("grants: {}\n", "may not have `read in/*.csv`"),
        (
            "grants: { object-store: [\"read out/**\"] }\n",
            "may not have `read in/*.csv`",
        ),
        (
            "grants: { object-store: [\"read in/**\"] }\n",
            "may not have `write warehouse acme.rows`",
        ),
        ("components: [csv]\n", "writer `iceberg` may not be used"),
        (
            "components: [iceberg, \"csv@sha256:00\"]\n",
            "reader `csv` may not be used",
        ),
        ("grant: {}\n", "unknown key `grant`"),
    ] {
        let output = run(policy);
        assert_eq!(output.code, 2, "{policy}: {output:?}");
        assert!(output.stderr.contains(part), "{policy}: {output:?}");
        assert!(!dir.path().join("warehouse").exists(), "{policy}");
    }
    let policy = format!(
        "grants: {{ object-store: [\"read in/*\", \"read in/**\"], {table} }}\ncomponents: [csv, iceberg]\n"
    );
    assert_eq!(run(&policy).code, 0);
    let plan = cli(&dir, &["plan", file]);
    assert!(plan.stdout.contains("write warehouse acme.*"), "{plan:?}");
    // A component by its path is known by its digest alone.
    let own = dir.path().join("csv.wasm");
    std::fs::copy(test_guests().join("../csv.wasm"), &own).unwrap();
    dir.write(
        "job.yaml",
        &job("acme", "").replace("implementation: csv", "implementation: ./csv.wasm"),
    );
    let output = run(&policy);
    assert!(
        output.code == 2 && output.stderr.contains("may not be used"),
        "{output:?}"
    );
}

#[test]
fn a_job_reads_no_secret_of_the_process_and_no_file_that_it_may_not() {
    let dir = folder();
    let secret = job("acme", "").replace("in/*.csv", "${SECRET:PATH}");
    dir.write("jobs/acme/secret.yaml", &secret);
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    dir.write(
        "tenants/other.yaml",
        "grants: { object-store: [\"read in/**\"] }\n",
    );
    dir.write("elsewhere.yaml", "of_another: 1\n");
    let peeks = format!("{}asset_path: elsewhere.yaml\n", job("other", ""));
    dir.write("jobs/other/peeks.yaml", &peeks);
    let serving = Serving::start(&dir, &[]);
    let jobs = serving.get("/api/v1/jobs");
    assert_eq!(jobs["jobs"], json!([]), "{jobs}");
    let text = jobs["broken"].to_string();
    assert!(text.contains("secret `PATH` is not set"), "{text}");
    assert!(text.contains("does not allow this `asset_path`"), "{text}");
    assert!(!text.contains("of_another"), "{text}");
}

#[test]
fn a_run_can_be_stopped_and_a_drain_waits_no_longer_than_it_may() {
    let dir = folder();
    let guests = test_guests();
    dir.write("jobs/other/endless.yaml", &hostile("other", "endless-rows"));
    let serving = Serving::start(
        &dir,
        &["--plugins", guests.to_str().unwrap(), "--drain", "1s"],
    );
    let begin = || {
        serving.post("/api/v1/jobs/other/endless/runs")["run_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let run_id = begin();
    let run = format!("/api/v1/runs/{run_id}");
    let active = serving.wait("rows", |serving| {
        let (_, run) = serving.ask("GET", &run, &serving.token);
        (run["active"]["progress"]["rows_read"].as_u64() > Some(0)).then_some(run)
    });
    assert_eq!(active["status"], "running");
    // One at a time.
    assert_eq!(
        serving
            .ask("POST", "/api/v1/jobs/other/endless/runs", &serving.token)
            .0,
        409
    );
    assert_eq!(
        serving
            .ask("POST", &format!("{run}/cancel"), &serving.token)
            .0,
        202
    );
    assert_eq!(serving.ended(&run_id)["status"], "cancelled");
    begin();
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn kills_at_random_times_lose_and_double_nothing_and_no_job_stands_still() {
    let dir = folder();
    dir.write(
        "jobs/acme/rows.yaml",
        &job("acme", "schedule: { interval: every 1s }\n"),
    );
    let kills = if soak() { 50 } else { 5 };
    for kill in 0..kills {
        put(&dir, kill);
        let serving = Serving::start(&dir, &[]);
        let random = RandomState::new().hash_one(kill);
        std::thread::sleep(Duration::from_millis(random % 2_500));
        serving.kill();
    }
    put(&dir, kills);
    let serving = Serving::start(&dir, &[]);
    serving.wait("two runs of this process", |serving| {
        let (_, metrics) = serving.raw("GET", "/metrics", &serving.token, "");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("dativo_runs_succeeded_total{"));
        let runs: u64 = line?.rsplit_once(' ').unwrap().1.parse().unwrap();
        (runs >= 2).then_some(())
    });
    let unfinished = serving.get("/api/v1/runs?status=pending");
    assert_eq!(unfinished["runs"], json!([]));
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", (kills + 1) * 10);
}
