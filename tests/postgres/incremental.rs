//! Runs that follow a cursor: every version of a row that a run can see arrives once, whoever writes beside it and
//! wherever a run is killed. The cases are in the modules below.

mod edges;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::write_job;
use crate::support::postgres::{Database, Server, newer_server, server};
use crate::support::{Output, TestDir, cli, command, files_below, python, soak};

/// How rows get their cursor, and how a job follows it.
struct Case {
    /// The cursor's type, and an expression with many equal values that grows with time.
    kind: &'static str,
    cursor: &'static str,
    /// What is read: the table, or a view over it.
    table: &'static str,
    lag: Option<&'static str>,
    /// How long a position that lags behind takes to reach a row.
    wait: Duration,
}

const NO_WAIT: Duration = Duration::ZERO;

/// A table whose every version of a row has a number of its own, which `history` keeps with its transaction.
fn with_history<'a>(server: &'a Server, case: &Case) -> Database<'a> {
    let database = server.database();
    database.sql(&format!(
        "create sequence versions;
         create table t (id int8 generated always as identity primary key, at {kind}, version int8 not null, payload text);
         create index on t (at, id);
         create table history (version int8 primary key, id int8, transaction int8, payload text);
         create view v as select * from t;
         create function stamp() returns trigger language plpgsql as $$
           begin new.version := nextval('versions'); return new; end $$;
         create function keep() returns trigger language plpgsql as $$
           begin insert into history values (new.version, new.id, txid_current(), new.payload); return null; end $$;
         create trigger stamp before insert or update on t for each row execute function stamp();
         create trigger keep after insert or update on t for each row execute function keep();
         create function uuid7(at timestamptz) returns uuid language sql volatile as $$
           select (lpad(to_hex((extract(epoch from at) * 1000)::int8), 12, '0') || '7' || substr(md5(random()::text), 1, 19))::uuid $$;
         insert into t (at, payload) select {cursor}, 'first' from generate_series(1, 500);",
        kind = case.kind,
        cursor = case.cursor,
    ));
    database
}

/// Inserts and updates some rows in a transaction that takes a while, and sometimes comes to nothing.
fn writers(case: &Case) -> String {
    format!(
        "\\set rows random(1, 6)\n\\set part random(0, 96)\n\\set wait random(0, 80)\n\\set luck random(1, 10)\n\
         begin;\n\
         insert into t (at, payload) select {cursor}, md5(random()::text) from generate_series(1, :rows);\n\
         \\sleep :wait ms\n\
         update t set at = {cursor}, payload = md5(random()::text) where id in \
           (select id from t where id % 97 = :part limit :rows for update skip locked);\n\
         \\if :luck = 1\nrollback;\n\\elif :luck = 2\n\\sleep 700 ms\nend;\n\\else\nend;\n\\endif\n\
         \\sleep :wait ms\n",
        cursor = case.cursor,
    )
}

/// What the target holds: the versions that were delivered, and how often.
fn delivered(dir: &TestDir) -> BTreeMap<u64, (u64, String)> {
    let folder = dir.path().join("out/job");
    if !files_below(&folder)
        .iter()
        .any(|file| file.ends_with(".parquet"))
    {
        return BTreeMap::new();
    }
    let query = "select version, count(*), any_value(payload) from rows group by version";
    let rows = python("query.py", &[folder.to_str().unwrap(), query]);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        let cell = |at: usize| row[at].as_str().unwrap();
        (
            cell(0).parse().unwrap(),
            (cell(1).parse().unwrap(), cell(2).to_owned()),
        )
    })
    .collect()
}

/// A version of a row as `history` has it.
struct Version {
    number: u64,
    transaction: u64,
    payload: String,
    /// No later version of the row was committed.
    is_last: bool,
}

fn history(database: &Database<'_>) -> Vec<Version> {
    let rows = database.sql(
        "select version, transaction, version = max(version) over (partition by id), payload from history order by version",
    );
    rows.lines()
        .map(|line| {
            let mut cells = line.splitn(4, '|');
            let mut next = || cells.next().unwrap();
            Version {
                number: next().parse().unwrap(),
                transaction: next().parse().unwrap(),
                is_last: next() == "t",
                payload: next().to_owned(),
            }
        })
        .collect()
}

/// What was delivered was committed, once and as it is; what had to be there by now is. Transactions below `horizon`
/// were over when the run began.
fn check_delivered(dir: &TestDir, database: &Database<'_>, horizon: u64, place: &str) {
    let history = history(database);
    let delivered = delivered(dir);
    let twice: Vec<_> = delivered
        .iter()
        .filter(|(_, (times, _))| *times != 1)
        .collect();
    assert!(twice.is_empty(), "{place}: more than once: {twice:?}");
    let known: BTreeMap<u64, &str> = history
        .iter()
        .map(|version| (version.number, version.payload.as_str()))
        .collect();
    for (version, (_, payload)) in &delivered {
        assert_eq!(
            known.get(version),
            Some(&payload.as_str()),
            "{place}: version {version}"
        );
    }
    let missing: BTreeSet<u64> = history
        .iter()
        .filter(|version| {
            version.is_last
                && version.transaction < horizon
                && !delivered.contains_key(&version.number)
        })
        .map(|version| version.number)
        .collect();
    assert!(
        missing.is_empty(),
        "{place}: of {} versions missing: {missing:?}",
        history.len()
    );
}

/// A number generator for places to kill at: other numbers each run would make a failure hard to repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const POINTS: [&str; 8] = [
    "begun:1",
    "batch-written:1",
    "prepared:1",
    "before-pending:1",
    "pending:1",
    "object-created:1",
    "published:1",
    "committed:1",
];

/// One run: every third is killed at a named point, if it comes there, and every third at any time. Whether it came to
/// its end.
fn run_once(dir: &TestDir, dice: &mut Dice, number: u64) -> bool {
    let mut command = command(dir, &["run", "job.yaml", "--json"]);
    if number.is_multiple_of(3) {
        let point = POINTS[usize::try_from(dice.roll(8)).unwrap()];
        command.env("DATIVO_CRASH_AT", point);
    }
    let mut child = command.spawn().unwrap();
    if number % 3 == 1 {
        std::thread::sleep(Duration::from_millis(dice.roll(400)));
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => true,
        None => false,
        code => panic!("{code:?}: {text}"),
    }
}

fn check(server: &Server, case: &Case, runs: u64) {
    let database = with_history(server, case);
    let dir = TestDir::new();
    let mut incremental = json!({ "cursor": "at", "key": "id" });
    if let Some(lag) = case.lag {
        // A number where the cursor is one.
        incremental["lag"] = lag.parse::<u64>().map_or(json!(lag), |lag| json!(lag));
    }
    let reader = json!({ "connection_string": database.url("reader"), "table": case.table, "incremental": incremental });
    let clients = database.clients(&writers(case), 5);
    let mut dice = Dice(runs);
    let (mut killed, mut ended) = (0, 0);
    for number in 0..runs {
        write_job(
            &dir,
            "job",
            &reader,
            &json!({ "parallelism": 1 + number % 3 }),
        );
        let horizon: u64 = database
            .sql("select txid_snapshot_xmin(txid_current_snapshot())")
            .parse()
            .unwrap();
        let has_ended = run_once(&dir, &mut dice, number);
        (killed, ended) = if has_ended {
            (killed, ended + 1)
        } else {
            (killed + 1, ended)
        };
        // What a position that lags behind owes shows at the end.
        let horizon = if has_ended && case.wait.is_zero() {
            horizon
        } else {
            0
        };
        check_delivered(
            &dir,
            &database,
            horizon,
            &format!("{}, run {number}", case.kind),
        );
    }
    clients.stop();
    std::thread::sleep(case.wait);
    database.settle();
    assert!(run_once(&dir, &mut dice, 2));
    check_delivered(
        &dir,
        &database,
        u64::MAX,
        &format!("{}, the last run", case.kind),
    );
    let output = cli(&dir, &["run", "job.yaml", "--json"]);
    assert_eq!(output.json()["rows_read"], 0, "{output:?}");
    println!(
        "{} of {}: {ended} runs, {killed} killed, {} versions",
        case.kind,
        case.table,
        delivered(&dir).len()
    );
    assert!(
        ended >= runs / 3 && killed > 0,
        "{ended} runs ended, {killed} were killed"
    );
}

fn runs() -> u64 {
    if soak() { 120 } else { 10 }
}

const BY_TIME: Case = Case {
    kind: "timestamptz",
    cursor: "date_trunc('second', now())",
    table: "t",
    lag: None,
    wait: NO_WAIT,
};

#[test]
fn every_version_arrives_once_by_timestamp() {
    check(server(), &BY_TIME, runs());
}

#[test]
fn every_version_arrives_once_by_timestamp_on_a_newer_server() {
    check(newer_server(), &BY_TIME, runs());
}

#[test]
fn every_version_arrives_once_by_timestamp_within_a_window() {
    check(
        server(),
        &Case {
            lag: Some("1m"),
            ..BY_TIME
        },
        runs(),
    );
}

#[test]
fn every_version_arrives_once_by_integer() {
    let case = Case {
        kind: "int8",
        cursor: "extract(epoch from now())::int8 / 2",
        ..BY_TIME
    };
    check(server(), &case, runs());
}

#[test]
fn every_version_arrives_once_by_integer_within_a_window() {
    let case = Case {
        kind: "int8",
        cursor: "extract(epoch from now())::int8 / 2",
        lag: Some("30"),
        ..BY_TIME
    };
    check(server(), &case, runs());
}

#[test]
fn every_version_arrives_once_by_text() {
    let case = Case {
        kind: "text",
        cursor: "to_char(now(), 'YYYY-MM-DD HH24:MI:SS')",
        ..BY_TIME
    };
    check(server(), &case, runs());
}

#[test]
fn every_version_arrives_once_by_uuid() {
    let case = Case {
        kind: "uuid",
        cursor: "uuid7(now())",
        ..BY_TIME
    };
    check(server(), &case, runs());
}

#[test]
fn every_version_arrives_once_through_a_view_whose_position_lags_behind() {
    let case = Case {
        table: "v",
        lag: Some("3s"),
        wait: Duration::from_secs(4),
        ..BY_TIME
    };
    check(server(), &case, runs());
}

/// A table, and a job that follows `at` in it: what the cases below are made of.
struct Followed<'a> {
    dir: TestDir,
    database: Database<'a>,
}

impl Followed<'static> {
    fn new(sql: &str, table: &str, incremental: &Value, more: &Value) -> Self {
        let database = server().database();
        database.sql(sql);
        let dir = TestDir::new();
        let reader = json!({ "connection_string": database.url("reader"), "table": table, "incremental": incremental });
        write_job(&dir, "job", &reader, more);
        Self { dir, database }
    }

    /// Runs when all that was written is settled.
    fn run(&self) -> Output {
        self.database.settle();
        self.run_now()
    }

    fn run_now(&self) -> Output {
        cli(&self.dir, &["run", "job.yaml", "--json"])
    }

    /// How many rows the next run reads.
    fn rows(&self) -> u64 {
        super::rows_read(&self.run())
    }

    fn state(&self) -> Value {
        let output = cli(&self.dir, &["state", "show", "job.yaml", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }

    fn ids(&self) -> Vec<i64> {
        let folder = self.dir.path().join("out/job");
        let rows = python(
            "query.py",
            &[folder.to_str().unwrap(), "select id from rows order by id"],
        );
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row[0].as_str().unwrap().parse().unwrap())
            .collect()
    }
}
