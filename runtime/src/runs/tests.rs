//! The run store as its callers and other processes see it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::holder::Holder;
use super::sqlite::{LAYOUT, Sqlite};
use super::{Beginning, Due, Filter, JobKey, Lease, Outcome, Pending, RunStore, Unfinished};
use crate::error::{Error, Kind, Result};

fn key() -> JobKey {
    JobKey {
        tenant: "t".to_owned(),
        job: "j".to_owned(),
    }
}

fn pending() -> Pending {
    Pending {
        prepared: vec!["one".to_owned(), "two".to_owned()],
        state: Some("s".to_owned()),
        base: None,
    }
}

/// Where a store is; each test of what stores do runs on every kind.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

impl Place {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// A new database on a server that these tests share.
    fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("runs_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = server();
        server.sql(&format!("CREATE DATABASE {name} OWNER store"));
        let port = server.port;
        Self::Postgres(format!(
            "postgresql://store:hunter2@127.0.0.1:{port}/{name}?sslmode=disable"
        ))
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/deep/state.db", folder.path().display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    fn open(&self) -> RunStore {
        open(&self.url()).unwrap()
    }
}

fn each(test: impl Fn(&Place, RunStore)) {
    for place in [Place::sqlite(), Place::postgres()] {
        test(&place, place.open());
    }
}

/// Opens a store on a runtime that stays.
fn open(url: &str) -> Result<RunStore> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.enable_all().build().unwrap()
    });
    let _entered = RUNTIME.enter();
    RunStore::open(url)
}

struct Server {
    bin: String,
    folder: String,
    port: u64,
    /// Ends with its standard input, and so with this process.
    _script: Child,
}

fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/postgres.sh");
        let mut script = Command::new(script)
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(script.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| facts[key].as_str().unwrap().to_owned();
        let server = Server {
            bin: text("bin"),
            folder: text("folder"),
            port: facts["port"].as_u64().unwrap(),
            _script: script,
        };
        server.sql("CREATE ROLE store LOGIN PASSWORD 'hunter2'");
        server
    });
    &SERVER
}

impl Server {
    fn sql(&self, statement: &str) {
        let status = Command::new(format!("{}/psql", self.bin))
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
            ])
            .args([
                "-h",
                &self.folder,
                "-p",
                &self.port.to_string(),
                "-c",
                statement,
            ])
            .status();
        assert!(status.unwrap().success(), "{statement}");
    }
}

fn refused(url: &str) -> Error {
    open(url).err().unwrap()
}

/// What a refused call says, once it is sure that the refusal is a conflict.
fn conflict<T>(result: Result<T>) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), Kind::StateConflict, "{error}");
    error.message().to_owned()
}

fn statuses(store: &RunStore) -> Vec<(String, String)> {
    let rows = store.history(&key(), 10).unwrap();
    rows.into_iter()
        .map(|row| (row.run_id, row.status))
        .collect()
}

fn expire_leases(store: &RunStore) {
    store.0.raw("UPDATE leases SET expires_ms = 0");
}

/// What a run that was killed leaves: a lease of a process that is no more.
fn crash(lease: Lease) {
    lease.store.raw("UPDATE leases SET started = started - 1");
    std::mem::forget(lease);
}

#[test]
fn refuses_a_url_that_names_no_file_and_shows_no_password() {
    for (url, says) in [
        (
            "mysql://me:hunter2@db/x",
            "a run store of kind `mysql` is not supported",
        ),
        ("state.db", "the run store is no URL"),
        ("", "the run store is no URL"),
        ("sqlite://", "the run store `sqlite://` names no file"),
        (
            "sqlite://folder/",
            "the run store `sqlite://folder/` names a folder",
        ),
    ] {
        let error = refused(url);
        assert_eq!((error.kind(), error.message()), (Kind::JobInvalid, says));
        assert!(error.hint_text().unwrap().contains("sqlite://PATH"));
    }
}

#[test]
fn refuses_a_file_that_is_no_run_store_and_leaves_every_byte_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, says: &str| {
        let file = folder.path().join(name);
        let before = std::fs::read(&file).unwrap();
        let error = refused(&format!("sqlite://{}", file.display()));
        assert_eq!(error.kind(), Kind::JobInvalid, "{error}");
        assert!(error.message().contains(says), "{error}");
        assert!(error.hint_text().is_some());
        assert!(std::fs::read(&file).unwrap() == before, "{name} changed");
    };
    let text = "this is a text of more than sixteen bytes, and no database";
    std::fs::write(folder.path().join("text"), text).unwrap();
    check("text", "is damaged or no run store");

    let other = rusqlite::Connection::open(folder.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE x (y)").unwrap();
    check("other.db", "is the database of another program");

    drop(RunStore::open(&format!("sqlite://{}/old.db", folder.path().display())).unwrap());
    let mut damaged = std::fs::read(folder.path().join("old.db")).unwrap();
    // The page after the header: the list of tables.
    damaged[100..4096].fill(0xff);
    std::fs::write(folder.path().join("damaged.db"), damaged).unwrap();
    check("damaged.db", "is damaged or no run store");
}

#[test]
fn refuses_a_newer_layout() {
    let place = Place::sqlite();
    drop(place.open());
    let Place::Sqlite(folder) = &place else {
        return;
    };
    let path = folder.path().join("deep/state.db");
    let database = rusqlite::Connection::open(path).unwrap();
    database
        .pragma_update(None, "user_version", LAYOUT + 1)
        .unwrap();
    drop(database);
    let error = refused(&place.url());
    assert_eq!(error.kind(), Kind::JobInvalid);
    let says = format!("has layout {}; this version knows {LAYOUT}", LAYOUT + 1);
    assert!(error.message().contains(&says), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for name in ["file/state.db", "."] {
        let error = refused(&format!("sqlite://{}/{name}", folder.path().display()));
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(!error.causes().is_empty() && error.hint_text().is_some());
    }
}

#[test]
fn only_the_owner_may_look_into_a_folder_made_for_the_store() {
    let place = Place::sqlite();
    let _store = place.open();
    let Place::Sqlite(folder) = &place else {
        return;
    };
    let made = std::fs::metadata(folder.path().join("deep")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_was_written_survives_a_power_cut() {
    let store = Sqlite::open(&Place::sqlite().url()).unwrap();
    let settings = store.read(|database| {
        let mode: String = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: i64 =
            database.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((mode, synchronous))
    });
    let full = 2;
    assert_eq!(settings.unwrap(), ("wal".to_owned(), full));
}

#[test]
fn of_many_that_open_a_new_store_at_once_every_one_gets_it() {
    for n in 0..20 {
        let place = match n % 2 {
            0 => Place::sqlite(),
            _ => Place::postgres(),
        };
        let barrier = std::sync::Barrier::new(8);
        let open = |n: u32| {
            let job = JobKey {
                job: format!("j{n}"),
                ..key()
            };
            barrier.wait();
            drop(place.open().begin(&job, &job.job, None).unwrap());
        };
        std::thread::scope(|scope| {
            for n in 0..8 {
                let open = &open;
                scope.spawn(move || open(n));
            }
        });
    }
}

#[test]
fn one_run_of_a_job_is_active_and_other_jobs_are_free() {
    each(|place, store| {
        let lease = store.begin(&key(), "a", None).unwrap();
        let second = place.open();
        for store in [&store, &second] {
            let error = store.begin(&key(), "b", None).err().unwrap();
            assert_eq!(error.kind(), Kind::StateConflict);
            let details: Vec<_> = error.details().iter().map(|(name, _)| *name).collect();
            assert_eq!(details, ["run", "process", "since"]);
            assert_eq!(error.details()[0].1, "a");
            assert_eq!(error.details()[1].1, std::process::id().to_string());
        }
        for (tenant, job) in [("t", "other"), ("other", "j")] {
            let (tenant, job) = (tenant.to_owned(), job.to_owned());
            let run = format!("{tenant}{job}");
            second.begin(&JobKey { tenant, job }, &run, None).unwrap();
        }
        lease.renew().unwrap();
        drop(lease);
        second.begin(&key(), "b", None).unwrap();
        let expected = [("b", "running"), ("a", "running")];
        let expected = expected.map(|(run, status)| (run.to_owned(), status.to_owned()));
        assert_eq!(statuses(&store), expected, "a refused run leaves no trace");
    });
}

#[test]
fn a_run_whose_lease_expired_goes_on_until_another_takes_it_and_no_further() {
    each(|_, store| {
        let first = store.begin(&key(), "a", None).unwrap();
        expire_leases(&store);
        first.renew().unwrap();
        conflict(store.begin(&key(), "b", None));
        expire_leases(&store);
        let _second = store.begin(&key(), "b", None).unwrap();

        conflict(first.renew());
        conflict(store.record_pending("a", &pending()));
        // Neither does giving back what is lost take it from the other.
        drop(first);
        conflict(store.begin(&key(), "c", None));
    });
}

#[test]
fn a_lease_of_another_machine_is_waited_for() {
    each(|_, store| {
        let holder = Holder {
            boot: "another machine".to_owned(),
            pid: u32::MAX,
            started: 1,
        };
        let lease = store.begin_as(&key(), "a", None, &holder).unwrap();
        conflict(store.begin(&key(), "b", None));
        expire_leases(&store);
        store.begin(&key(), "b", None).unwrap();
        conflict(lease.renew());
    });
}

#[test]
fn a_pending_commit_is_recorded_once_by_the_run_that_holds_the_job() {
    each(|_, store| {
        conflict(store.record_pending("never began", &pending()));
        let lease = store.begin(&key(), "a", None).unwrap();
        store.record_pending("a", &pending()).unwrap();
        conflict(store.record_pending("a", &pending()));
        drop(lease);
        let lease = store.begin(&key(), "b", None).unwrap();
        store.finish("b", &Outcome::Cancelled).unwrap();
        conflict(store.record_pending("b", &pending()));
        drop(lease);
    });
}

#[test]
fn a_withdrawn_commit_is_forgotten_and_its_run_is_not() {
    each(|_, store| {
        let lease = store.begin(&key(), "a", None).unwrap();
        store.record_pending("a", &pending()).unwrap();
        store.withdraw("a").unwrap();
        let found = store.unfinished(&key(), "other").unwrap();
        assert_eq!((found.len(), &found[0].pending), (1, &None));
        assert!(!store.is_committed("a").unwrap());
        let receipt = "{}".to_owned();
        store.finish("a", &Outcome::Committed { receipt }).unwrap();
        assert!(store.is_committed("a").unwrap());
        // An end is not undone.
        store.withdraw("a").unwrap();
        assert!(store.is_committed("a").unwrap());
        drop(lease);
    });
}

#[test]
fn a_run_without_an_end_is_found_with_what_it_prepared() {
    each(|place, store| {
        // Run ids out of order: runs are told in the order in which they began.
        for run in ["c", "a", "b"] {
            let lease = store.begin(&key(), run, None).unwrap();
            if run == "a" {
                store.record_pending(run, &pending()).unwrap();
            }
            crash(lease);
        }
        let store = place.open();
        let unfinished = |run: &str, pending| Unfinished {
            run: run.to_owned(),
            pending,
        };
        let expected = [unfinished("c", None), unfinished("a", Some(pending()))];
        assert_eq!(store.unfinished(&key(), "b").unwrap(), expected);
        let other = JobKey {
            tenant: "other".to_owned(),
            ..key()
        };
        assert!(store.unfinished(&other, "b").unwrap().is_empty());
    });
}

#[test]
fn the_first_end_of_a_run_stays() {
    each(|_, store| {
        let failed = Outcome::Failed {
            kind: "rejected".to_owned(),
            message: "no".to_owned(),
        };
        let committed = Outcome::Committed {
            receipt: "{}".to_owned(),
        };
        let rows = [
            (committed.clone(), "committed", Some("{}")),
            (Outcome::Empty, "empty", None),
            (failed.clone(), "failed", Some("rejected: no")),
            (Outcome::Cancelled, "cancelled", None),
            (Outcome::Removed, "removed", None),
        ];
        for (outcome, status, detail) in rows {
            drop(store.begin(&key(), status, None).unwrap());
            store.finish(status, &outcome).unwrap();
            for late in [&failed, &committed] {
                store.finish(status, late).unwrap();
            }
            assert!(store.unfinished(&key(), "").unwrap().is_empty());
            let row = store.history(&key(), 1).unwrap().remove(0);
            assert_eq!((row.run_id.as_str(), row.status.as_str()), (status, status));
            assert_eq!(row.detail.as_deref(), detail);
            assert!(row.ended_at >= Some(row.started_at));
        }
    });
}

#[test]
fn a_reset_holds_until_the_target_moves_on() {
    each(|_, store| {
        let check = |mark: Option<&str>, other: Option<&str>| {
            store.reset(&key(), mark).unwrap();
            assert!(store.is_reset(&key(), mark).unwrap());
            assert!(!store.is_reset(&key(), other).unwrap());
        };
        assert!(!store.is_reset(&key(), None).unwrap());
        check(None, Some("a"));
        check(Some("a"), Some("b"));
        check(Some("b"), None);
    });
}

#[test]
fn a_job_is_not_reset_under_a_run_that_would_commit_the_old_state() {
    each(|_, store| {
        let lease = store.begin(&key(), "a", None).unwrap();
        conflict(store.reset(&key(), None));
        assert!(!store.is_reset(&key(), None).unwrap());
        crash(lease);
        store.reset(&key(), None).unwrap();
    });
}

#[test]
fn of_many_at_once_exactly_one_gets_the_lease_of_a_dead_run() {
    let check = |place: &Place, store: RunStore| {
        crash(store.begin(&key(), "dead", None).unwrap());
        let barrier = std::sync::Barrier::new(8);
        let take = |n: u32| {
            let store = place.open();
            barrier.wait();
            // Kept until every other has tried.
            let lease = store.begin(&key(), &format!("r{n}"), None);
            barrier.wait();
            lease.is_ok()
        };
        let winners = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|n| scope.spawn(move || take(n))).collect();
            let won = tries.into_iter().map(|thread| thread.join().unwrap());
            won.filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
    };
    for _ in 0..10 {
        each(check);
    }
}

fn beginning(cause: &'static str, due: Option<(i64, i64)>) -> Beginning {
    Beginning {
        cause,
        due: due.map(|(first_ms, last_ms)| Due { first_ms, last_ms }),
        is_recovery: cause == "recovery",
    }
}

#[test]
fn a_time_of_a_schedule_is_dealt_with_once_whoever_begins() {
    each(|place, store| {
        let (second, at) = (place.open(), |first, last| {
            beginning("schedule", Some((first, last)))
        });
        drop(store.begin(&key(), "a", Some(&at(1000, 1003))).unwrap());
        for late in [at(1000, 1005), at(1000, 1000), at(1003, 1003)] {
            assert!(!second.is_due(&key(), &late).unwrap());
            conflict(second.begin(&key(), "late", Some(&late)));
        }
        assert!(second.is_due(&key(), &at(1004, 1004)).unwrap());
        drop(second.begin(&key(), "b", Some(&at(2000, 2000))).unwrap());
        // An earlier end does not take the later one back.
        drop(store.begin(&key(), "c", Some(&at(2001, 1))).unwrap());
        assert_eq!(store.dealt_with().unwrap(), HashMap::from([(key(), 2000)]));
        let runs: Vec<String> = statuses(&store).into_iter().map(|(run, _)| run).collect();
        assert_eq!(runs, ["c", "b", "a"]);
    });
}

#[test]
fn a_job_is_recovered_once_and_only_where_its_holder_is_gone() {
    each(|place, store| {
        let (second, recovery) = (place.open(), beginning("recovery", None));
        let unsettled = |store: &RunStore| {
            let found = store.unsettled().unwrap().into_iter();
            let found: Vec<_> = found.map(|job| (job.key.job, job.is_given_back)).collect();
            found
        };
        conflict(store.begin(&key(), "nothing to recover", Some(&recovery)));
        let lease = store.begin(&key(), "a", None).unwrap();
        assert!(unsettled(&second).is_empty(), "active");
        crash(lease);
        assert_eq!(unsettled(&second), [("j".to_owned(), false)]);
        let lease = second.begin(&key(), "b", Some(&recovery)).unwrap();
        assert!(unsettled(&store).is_empty(), "taken over");
        second.finish("a", &Outcome::Removed).unwrap();
        second.finish("b", &Outcome::Empty).unwrap();
        drop(lease);
        conflict(store.begin(&key(), "c", Some(&recovery)));
        drop(store.begin(&key(), "d", None).unwrap());
        assert_eq!(unsettled(&store), [("j".to_owned(), true)]);
    });
}

#[test]
fn a_run_hears_that_it_is_to_stop_wherever_it_is_held() {
    each(|place, store| {
        assert!(!store.request_cancel("a").unwrap());
        let lease = store.begin(&key(), "a", None).unwrap();
        conflict(store.check_free(&key()));
        assert!(!lease.renew().unwrap());
        assert!(place.open().request_cancel("a").unwrap());
        assert!(lease.renew().unwrap());
        drop(lease);
        store.check_free(&key()).unwrap();
        let next = store.begin(&key(), "b", None).unwrap();
        assert!(!next.renew().unwrap(), "the next run was not asked to");
    });
}

#[test]
fn runs_are_forgotten_but_for_what_the_next_ones_ask_for() {
    each(|_, store| {
        let receipt = || "{}".to_owned();
        let rows = [
            ("a", Outcome::Committed { receipt: receipt() }),
            ("b", Outcome::Committed { receipt: receipt() }),
            ("c", Outcome::Empty),
        ];
        for (run, outcome) in rows {
            let why = beginning("trigger", None);
            drop(store.begin(&key(), run, Some(&why)).unwrap());
            store.record_report(run, "{}").unwrap();
            store.finish(run, &outcome).unwrap();
        }
        drop(store.begin(&key(), "d", None).unwrap());
        assert_eq!(store.forget(0).unwrap(), 0);
        assert_eq!(store.forget(i64::MAX).unwrap(), 2);
        let left: Vec<String> = statuses(&store).into_iter().map(|(run, _)| run).collect();
        assert_eq!(left, ["d", "b"]);
        let kept = store.find("b").unwrap().unwrap();
        assert_eq!(kept.report.as_deref(), Some("{}"));
        assert!(store.find("a").unwrap().is_none());
    });
}

#[test]
fn lists_have_what_was_asked_for_the_newest_first() {
    each(|_, store| {
        for n in 0..6 {
            let (tenant, job) = (format!("t{}", n % 2), format!("j{}", n % 3));
            drop(
                store
                    .begin(&JobKey { tenant, job }, &n.to_string(), None)
                    .unwrap(),
            );
        }
        store.finish("3", &Outcome::Empty).unwrap();
        let runs = |filter: &Filter, limit| -> String {
            let listed = store.list(filter, limit).unwrap();
            listed.into_iter().map(|listed| listed.row.run_id).collect()
        };
        let (all, tenant) = (Filter::default(), Some("t1"));
        assert_eq!(runs(&all, 10), "543210");
        assert_eq!(
            runs(
                &Filter {
                    tenant,
                    ..all.clone()
                },
                2
            ),
            "53"
        );
        assert_eq!(
            runs(
                &Filter {
                    tenant,
                    status: Some("empty"),
                    ..all.clone()
                },
                9
            ),
            "3"
        );
        assert_eq!(
            runs(
                &Filter {
                    job: Some("j0"),
                    ..all.clone()
                },
                9
            ),
            "30"
        );
        let before = Some(store.find("3").unwrap().unwrap().place);
        assert_eq!(
            runs(
                &Filter {
                    before,
                    tenant: Some("t0"),
                    ..all.clone()
                },
                9
            ),
            "20"
        );
        assert_eq!(
            runs(
                &Filter {
                    tenant: Some("' OR 1=1 --"),
                    ..all
                },
                9
            ),
            ""
        );
    });
}

#[test]
fn a_server_that_was_restarted_is_connected_to_again() {
    let place = Place::postgres();
    let store = place.open();
    let lease = store.begin(&key(), "a", None).unwrap();
    let Place::Postgres(url) = &place else { return };
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    server().sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    lease.renew().unwrap();
    store.finish("a", &Outcome::Empty).unwrap();
    assert_eq!(statuses(&store).len(), 1);
}

#[test]
fn a_database_that_does_not_let_us_in_is_an_error_without_its_password() {
    let url = Place::postgres().url();
    for (url, kind) in [
        (url.replace("hunter2", "wrong-one"), Kind::Rejected),
        (
            "postgresql://me:hunter2@127.0.0.1:1/x".to_owned(),
            Kind::Unavailable,
        ),
        (
            "postgresql://me:hunter2@127.0.0.1/x?what=1".to_owned(),
            Kind::JobInvalid,
        ),
    ] {
        let error = refused(&url);
        let text = format!("{error:?}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("wrong-one"),
            "{text}"
        );
        assert!(error.hint_text().is_some(), "{text}");
    }
}

/// Names the store for [`runs_in_a_process_of_its_own`], and the run.
const CHILD_STORE: &str = "DATIVO_TEST_STORE";
const CHILD_RUN: &str = "DATIVO_TEST_RUN";

#[test]
#[ignore = "a process for other tests: takes the lease and keeps it until it is killed"]
fn runs_in_a_process_of_its_own() {
    let (Ok(url), Ok(run)) = (std::env::var(CHILD_STORE), std::env::var(CHILD_RUN)) else {
        return;
    };
    let lease = open(&url).and_then(|store| store.begin(&key(), &run, None));
    // After a line break: the test harness has begun a line of its own.
    let answer = if lease.is_ok() { "taken" } else { "refused" };
    writeln!(std::io::stdout(), "\nlease {answer}").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// Starts a process that runs the job.
fn spawn(url: &str, run: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact"])
        .arg("runs::tests::runs_in_a_process_of_its_own")
        .envs([(CHILD_STORE, url), (CHILD_RUN, run)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn got_the_lease(child: &mut Child) -> bool {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("lease ").map(str::to_owned));
    line.unwrap() == "taken"
}

#[test]
fn a_run_right_after_kill_9_takes_over_whether_or_not_the_dead_was_waited_for() {
    each(|place, store| {
        let mut child = spawn(&place.url(), "killed");
        assert!(got_the_lease(&mut child));
        let error = store.begin(&key(), "too early", None).err().unwrap();
        assert_eq!(error.kind(), Kind::StateConflict);
        assert_eq!(error.details()[1].1, child.id().to_string());

        child.kill().unwrap();
        // The signal is on its way; what is left is a zombie until it is waited for.
        let mut tries = 0;
        let lease = loop {
            match store.begin(&key(), "next", None) {
                Ok(lease) => break lease,
                Err(_) if tries < 1000 => tries += 1,
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        let found = store.unfinished(&key(), "next").unwrap();
        assert_eq!(found[0].run, "killed");
        lease.renew().unwrap();
        child.wait().unwrap();
        lease.renew().unwrap();
    });
}

#[test]
fn of_several_processes_at_once_exactly_one_gets_the_lease_of_a_dead_run() {
    each(|place, store| {
        crash(store.begin(&key(), "dead", None).unwrap());
        let url = place.url();
        let mut children: Vec<Child> = (0..4).map(|n| spawn(&url, &format!("r{n}"))).collect();
        let winners = children
            .iter_mut()
            .filter_map(|child| got_the_lease(child).then_some(()));
        let winners = winners.count();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(winners, 1);
    });
}
