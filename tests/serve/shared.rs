//! Two processes that serve the same jobs, with their run store in PostgreSQL.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{check, folder, job, put};
use crate::support::postgres::{Database, Server, server};
use crate::support::serve::Serving;
use crate::support::{TestDir, cli, command, soak, test_guests};

/// A database with a role that may make tables, and how the role connects.
fn store(server: &Server) -> (Database<'_>, String) {
    let database = server.database();
    database.sql(&format!(
        "grant create on schema public to reader; alter database {} set synchronous_commit = on;",
        database.name
    ));
    let url = database.url("reader");
    (database, url)
}

fn start(dir: &TestDir, url: &str) -> Serving {
    let guests = test_guests();
    let plugins = ["--plugins", guests.to_str().unwrap()];
    Serving::start_with(dir, &plugins, &[("DATIVO_STATE", url)])
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[test]
fn two_processes_run_each_time_of_a_schedule_once_and_the_jobs_of_one_that_died() {
    let (dir, (database, url)) = (folder(), store(server()));
    put(&dir, 0);
    for name in ["a", "b", "c"] {
        let text = job("acme", "schedule: { interval: every 2s }\n");
        dir.write(
            &format!("jobs/acme/{name}.yaml"),
            &text.replace("table: rows", &format!("table: {name}")),
        );
    }
    let begun = seconds_since_1970();
    let (first, second) = (start(&dir, &url), start(&dir, &url));
    first.wait("runs of each job", |serving| {
        let runs = serving.get("/api/v1/runs?limit=500");
        (runs["runs"].as_array().unwrap().len() >= 12).then_some(())
    });
    // Each lists what the other ran.
    assert!(
        second.get("/api/v1/runs?limit=500")["runs"]
            .as_array()
            .unwrap()
            .len()
            >= 12
    );
    let active = database.sql("select count(distinct pid) from dativo_leases");
    assert!(active.trim().parse::<u32>().unwrap() <= 2);
    first.kill();
    second.wait("runs that go on", |serving| {
        let runs = serving.get("/api/v1/runs?limit=500");
        (runs["runs"].as_array().unwrap().len() >= 24).then_some(())
    });
    second.wait("the end of what was cut short", |_| {
        let left = database.sql("select count(*) from dativo_runs join dativo_leases using (run) where ended_at is null and since < extract(epoch from now()) - 5");
        (left.trim() == "0").then_some(())
    });
    assert_eq!(second.terminate(), Some(0));
    let most = (seconds_since_1970() - begun) / 2 + 1;
    for name in ["a", "b", "c"] {
        let runs = database.sql(&format!(
            "select count(*) from dativo_runs join dativo_reports using (run) where job = '{name}' and cause = 'schedule'"
        ));
        let runs: u64 = runs.trim().parse().unwrap();
        assert!(runs <= most, "{runs} runs of `{name}` in {most} times");
    }
    let unfinished = "select count(*) from dativo_runs where ended_at is null";
    assert_eq!(database.sql(unfinished).trim(), "0");
}

#[test]
fn kills_at_random_times_of_one_of_two_lose_and_double_nothing_and_no_job_stands_still() {
    let (dir, (database, url)) = (folder(), store(server()));
    dir.write(
        "jobs/acme/rows.yaml",
        &job("acme", "schedule: { interval: every 1s }\n"),
    );
    let kills = if soak() { 50 } else { 6 };
    let mut other = start(&dir, &url);
    for kill in 0..kills {
        put(&dir, kill);
        let serving = start(&dir, &url);
        let random = RandomState::new().hash_one(kill);
        std::thread::sleep(Duration::from_millis(random % 2_500));
        other.kill();
        other = serving;
    }
    put(&dir, kills);
    let last = format!(
        "select count(*) from dativo_runs where ended_at >= {}",
        seconds_since_1970() + 2
    );
    other.wait("two runs after the last kill", |_| {
        (database.sql(&last).trim().parse::<u32>().unwrap() >= 2).then_some(())
    });
    assert_eq!(other.terminate(), Some(0));
    let unfinished = "select count(*) from dativo_runs where ended_at is null";
    assert_eq!(database.sql(unfinished).trim(), "0");
    check(&dir, "acme", (kills + 1) * 10);
}

#[test]
fn a_run_of_another_process_is_seen_kept_to_and_stopped() {
    let (dir, (_database, url)) = (folder(), store(server()));
    dir.write(
        "jobs/acme/slow.yaml",
        &super::hostile("acme", "endless-loop").replace("cpu_per_call: 2s", "cpu_per_call: 60s"),
    );
    let (first, second) = (start(&dir, &url), start(&dir, &url));
    let run = first.post("/api/v1/jobs/acme/slow/runs");
    let run = run["run_id"].as_str().unwrap();
    let status = second.wait("the run in the other process", |serving| {
        let (status, run) = serving.ask("GET", &format!("/api/v1/runs/{run}"), &serving.token);
        (status == 200).then_some(run["status"].clone())
    });
    assert_eq!(status, "running");
    let (status, problem) = second.ask("POST", "/api/v1/jobs/acme/slow/runs", &second.token);
    assert_eq!((status, &problem["kind"]), (409, &json!("state_conflict")));
    let begun = Instant::now();
    second.post(&format!("/api/v1/runs/{run}/cancel"));
    assert_eq!(first.ended(run)["status"], "cancelled");
    assert!(begun.elapsed() < Duration::from_secs(30));
    // On the command line, too.
    let plugins = test_guests();
    let mut show = command(
        &dir,
        &[
            "state",
            "show",
            "jobs/acme/slow.yaml",
            "--json",
            "--plugins",
            plugins.to_str().unwrap(),
        ],
    );
    let shown = show.env("DATIVO_STATE", &url).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("cancelled"));
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("pw-of-reader"));
}

#[test]
fn a_store_that_is_gone_holds_runs_up_and_loses_none() {
    let server = Server::start(None);
    let (dir, (database, url)) = (folder(), store(&server));
    put(&dir, 0);
    dir.write(
        "jobs/acme/rows.yaml",
        &job("acme", "schedule: { interval: every 1s }\n"),
    );
    let serving = start(&dir, &url);
    serving.wait("a run", |serving| {
        let runs = serving.get("/api/v1/runs?status=committed");
        (!runs["runs"].as_array().unwrap().is_empty()).then_some(())
    });
    database.sql("alter role reader nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'");
    put(&dir, 1);
    std::thread::sleep(Duration::from_secs(3));
    let (status, _) = serving.ask("GET", "/api/v1/runs", &serving.token);
    assert_eq!(status, 503);
    database.sql("alter role reader login");
    serving.wait("a run with what came meanwhile", |serving| {
        let (_, runs) = serving.ask("GET", "/api/v1/runs?status=committed", &serving.token);
        let runs = runs["runs"].as_array()?;
        (runs.len() == 2).then_some(())
    });
    assert_eq!(serving.terminate(), Some(0));
    check(&dir, "acme", 20);
    // A name that leads nowhere is said at the start, without the password.
    let refused = cli(
        &dir,
        &[
            "serve",
            "--jobs",
            "jobs",
            "--state",
            &url.replace("127.0.0.1", "127.0.0.1:1")
                .replace(&format!(":1:{}", server.port), ":1"),
        ],
    );
    assert_eq!(refused.code, 75, "{refused:?}");
    assert!(!refused.stderr.contains("pw-of-reader"));
}
