//! One point in time, whatever happens beside the run: writers at full speed, lost connections, a server that stops.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{check_rows, error, rows_read, run, write_job};
use crate::support::postgres::{Database, Server, server};
use crate::support::{TestDir, cli, command, files_below, python, soak};

const ACCOUNTS: u64 = 40_000;

/// Accounts that together hold 0, some MiB of them, so that several instances have something to do.
fn with_accounts(server: &Server) -> Database<'_> {
    let database = server.database();
    database.sql(&format!(
        "create table accounts (id int4 primary key, balance int8 not null, moves int8 not null, filler text);
         insert into accounts select n, 0, 0, repeat('f', 400) from generate_series(1, {ACCOUNTS}) n;
         create table marks (n int8 primary key); vacuum analyze accounts;",
    ));
    database
}

/// Moves money between accounts, each move a transaction that counts itself on both sides.
const MOVES: &str = "
\\set a random(1, 40000)
\\set b random(1, 40000)
\\set amount random(-1000, 1000)
begin;
update accounts set balance = balance - :amount, moves = moves + 1 where id = least(:a, :b);
update accounts set balance = balance + :amount, moves = moves + 1 where id = greatest(:a, :b);
end;
";

fn config(database: &Database<'_>) -> Value {
    json!({ "connection_string": database.url("reader"), "table": "accounts", "batch_size": 500 })
}

/// Sums over what a job wrote: rows, different accounts, balance, moves.
fn sums(dir: &TestDir, name: &str) -> Vec<i128> {
    let folder = dir.path().join("out").join(name);
    let found = python(
        "query.py",
        &[
            folder.to_str().unwrap(),
            "select count(*), count(distinct id), sum(balance), sum(moves)::hugeint from rows",
        ],
    );
    let row = found[0].as_array().unwrap().iter();
    row.map(|cell| cell.as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn four_instances_see_one_point_in_time_beside_writers_at_full_speed() {
    let database = with_accounts(server());
    let clients = database.clients(MOVES, 4);
    // They take a while to connect, and the first run must not be over before.
    while database.sql("select max(moves) from accounts") == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let dir = TestDir::new();
    let mut before = 0;
    for round in 0..if soak() { 20 } else { 4 } {
        let name = format!("round{round}");
        let output = run(
            &dir,
            &name,
            &config(&database),
            &json!({ "parallelism": 4 }),
        );
        assert_eq!(rows_read(&output), ACCOUNTS);
        let found = sums(&dir, &name);
        let rows = i128::from(ACCOUNTS);
        assert_eq!(found[..3], [rows, rows, 0], "round {round}");
        assert!(
            found[3] > before && found[3] % 2 == 0,
            "round {round}: {found:?} after {before}"
        );
        before = found[3];
    }
    clients.stop();
}

#[test]
fn a_replica_is_read_and_followed_like_its_primary() {
    let primary = Server::start(None);
    let database = with_accounts(&primary);
    let replica = primary.replica();
    let copy = replica.existing(&database.name);
    let clients = database.clients(MOVES, 2);
    let dir = TestDir::new();
    for round in 0..2 {
        let name = format!("round{round}");
        let output = run(&dir, &name, &config(&copy), &json!({ "parallelism": 4 }));
        assert_eq!(rows_read(&output), ACCOUNTS);
        let rows = i128::from(ACCOUNTS);
        assert_eq!(sums(&dir, &name)[..3], [rows, rows, 0], "round {round}");
    }
    clients.stop();

    database.sql(
        "create table t (id int8 primary key, at timestamptz); insert into t select n, now() from generate_series(1, 9) n;",
    );
    let reader = json!({ "connection_string": copy.url("reader"), "table": "t", "incremental": { "cursor": "at" } });
    let next = || {
        // Inserted, which an asynchronous commit is before it is written.
        let written = database.sql("select pg_current_wal_insert_lsn()");
        while copy.sql(&format!("select pg_last_wal_replay_lsn() >= '{written}'")) != "t" {
            std::thread::sleep(Duration::from_millis(20));
        }
        rows_read(&run(
            &dir,
            "followed",
            &reader,
            &json!({ "parallelism": 2 }),
        ))
    };
    assert_eq!((next(), next()), (9, 0));
    database.sql("insert into t values (10, '2000-01-01'); update t set at = now() where id < 3");
    assert_eq!((next(), next()), (3, 0));
    // The primary has the same rows, and so has what follows from the replica's state.
    let reader = json!({ "connection_string": database.url("reader"), "table": "t", "incremental": { "cursor": "at" } });
    assert_eq!(rows_read(&run(&dir, "followed", &reader, &json!({}))), 0);
}

/// Begins a run that takes some seconds, since the test's rows are slow: each costs a short sleep.
fn start_slow_run(dir: &TestDir, database: &Database<'_>, parallelism: u32) -> Child {
    // A view over the table would be read by one instance: the sleep stands in the condition.
    let mut config = config(database);
    config["where"] = json!("id % 100 > 0 or pg_sleep(0.01) is not null");
    write_job(dir, "slow", &config, &json!({ "parallelism": parallelism }));
    command(dir, &["run", "slow.yaml", "--json"])
        .spawn()
        .unwrap()
}

/// Waits until so many statements of the run read the table.
fn wait_for_readers(database: &Database<'_>, count: u64) {
    let begun = Instant::now();
    let asked = "select count(*) from pg_stat_activity where usename = 'reader' and state = 'active' and query ilike '%pg_sleep%'";
    while database.sql(asked).parse::<u64>().unwrap() < count {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the run did not begin to read"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ended(child: Child) -> (i32, Value) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code().unwrap(), answer)
}

#[test]
fn a_split_that_loses_its_connection_is_read_again_and_every_row_is_there_once() {
    let database = with_accounts(server());
    let dir = TestDir::new();
    let clients = database.clients(MOVES, 1);
    let child = start_slow_run(&dir, &database, 2);
    wait_for_readers(&database, 2);
    std::thread::sleep(Duration::from_millis(300));
    let ended_one = database.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where usename = 'reader' and state = 'active' and query ilike '%pg_sleep%' order by pid limit 1",
    );
    assert_eq!(ended_one, "t");
    let (code, answer) = ended(child);
    clients.stop();
    assert_eq!(code, 0, "{answer:#}");
    assert_eq!(answer["rows_read"], ACCOUNTS, "{answer:#}");
    let rows = i128::from(ACCOUNTS);
    assert_eq!(sums(&dir, "slow")[..3], [rows, rows, 0]);
    let leftovers: Vec<String> = files_below(&dir.path().join("out/slow"))
        .into_iter()
        .filter(|file| !file.ends_with(".parquet") && !file.starts_with("_dativo/"))
        .collect();
    assert_eq!(leftovers, Vec::<String>::new());
}

#[test]
fn a_connection_that_is_lost_again_and_again_ends_the_run_as_unavailable() {
    let database = with_accounts(server());
    let dir = TestDir::new();
    let child = start_slow_run(&dir, &database, 2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (code, answer) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                database.sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where usename = 'reader' and state = 'active' and query ilike '%pg_sleep%'",
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let ended = ended(child);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ended
    });
    assert_eq!(
        (code, &answer["error"]["kind"]),
        (75, &json!("unavailable")),
        "{answer:#}"
    );
    assert_eq!(files_below(&dir.path().join("out")), Vec::<String>::new());
}

#[test]
fn a_server_that_stops_in_mid_run_leaves_nothing_visible_and_the_next_run_is_right() {
    let one = Server::start(None);
    let database = with_accounts(&one);
    let dir = TestDir::new();
    let child = start_slow_run(&dir, &database, 2);
    wait_for_readers(&database, 2);
    one.stop();
    let (code, answer) = ended(child);
    assert_eq!(code, 75, "{answer:#}");
    assert_eq!(answer["error"]["kind"], "unavailable", "{answer:#}");
    assert_eq!(files_below(&dir.path().join("out")), Vec::<String>::new());

    let database = with_accounts(server());
    write_job(
        &dir,
        "slow",
        &config(&database),
        &json!({ "parallelism": 2 }),
    );
    let output = cli(&dir, &["run", "slow.yaml", "--json"]);
    assert_eq!(rows_read(&output), ACCOUNTS);
    check_rows(&dir, &database, "slow", "select * from accounts");
}

#[test]
fn a_lock_that_is_never_released_does_not_hang_a_run_for_ever() {
    let database = with_accounts(server());
    let blocker = database.clients("begin; lock table accounts; select pg_sleep(600); end;", 1);
    let held = "select count(*) from pg_locks where relation = 'accounts'::regclass and mode = 'AccessExclusiveLock' and granted";
    while database.sql(held) == "0" {
        std::thread::sleep(Duration::from_millis(50));
    }
    let dir = TestDir::new();
    let begun = Instant::now();
    let output = run(
        &dir,
        "locked",
        &config(&database),
        &json!({ "limits": { "call_timeout": "3s" } }),
    );
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    assert_ne!(output.code, 0, "{:?}", error(&output));
    blocker.stop();
}
