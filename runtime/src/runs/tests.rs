//! The run store as its callers and other processes see it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::holder::Holder;
use super::sqlite::LAYOUT;
use super::{JobKey, Lease, Outcome, Pending, RunStore, Unfinished};
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

fn url(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}/deep/state.db", folder.path().display())
}

fn new_store() -> (tempfile::TempDir, RunStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::open(&url(&folder)).unwrap();
    (folder, store)
}

fn refused(url: &str) -> Error {
    RunStore::open(url).err().unwrap()
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
    let expire = |transaction: &rusqlite::Transaction<'_>| {
        transaction.execute("UPDATE leases SET expires_ms = 0", [])?;
        Ok(())
    };
    store.0.write(expire).unwrap();
}

/// What a run that was killed leaves: a lease of a process that is no more.
fn crash(lease: Lease) {
    let died = |transaction: &rusqlite::Transaction<'_>| {
        transaction.execute("UPDATE leases SET started = started - 1", [])?;
        Ok(())
    };
    lease.connection.write(died).unwrap();
    std::mem::forget(lease);
}

#[test]
fn refuses_a_url_that_names_no_file_and_shows_no_password() {
    for (url, says) in [
        (
            "postgres://me:hunter2@db/x",
            "a run store of kind `postgres` is not supported",
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
    let (folder, store) = new_store();
    drop(store);
    let path = folder.path().join("deep/state.db");
    let database = rusqlite::Connection::open(path).unwrap();
    database
        .pragma_update(None, "user_version", LAYOUT + 1)
        .unwrap();
    drop(database);
    let error = refused(&url(&folder));
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
    let (folder, _store) = new_store();
    let made = std::fs::metadata(folder.path().join("deep")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_was_written_survives_a_power_cut() {
    let (_folder, store) = new_store();
    let settings = store.0.read(|database| {
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
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(8);
        let open = |n: u32| {
            let job = JobKey {
                job: format!("j{n}"),
                ..key()
            };
            barrier.wait();
            drop(
                RunStore::open(&url(&folder))
                    .unwrap()
                    .begin(&job, &job.job, None)
                    .unwrap(),
            );
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
    let (folder, store) = new_store();
    let lease = store.begin(&key(), "a", None).unwrap();
    let second = RunStore::open(&url(&folder)).unwrap();
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
}

#[test]
fn a_run_whose_lease_expired_goes_on_until_another_takes_it_and_no_further() {
    let (_folder, store) = new_store();
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
}

#[test]
fn a_lease_of_another_machine_is_waited_for() {
    let (_folder, store) = new_store();
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
}

#[test]
fn a_pending_commit_is_recorded_once_by_the_run_that_holds_the_job() {
    let (_folder, store) = new_store();
    conflict(store.record_pending("never began", &pending()));
    let lease = store.begin(&key(), "a", None).unwrap();
    store.record_pending("a", &pending()).unwrap();
    conflict(store.record_pending("a", &pending()));
    drop(lease);
    let lease = store.begin(&key(), "b", None).unwrap();
    store.finish("b", &Outcome::Cancelled).unwrap();
    conflict(store.record_pending("b", &pending()));
    drop(lease);
}

#[test]
fn a_withdrawn_commit_is_forgotten_and_its_run_is_not() {
    let (_folder, store) = new_store();
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
}

#[test]
fn a_run_without_an_end_is_found_with_what_it_prepared() {
    let (folder, store) = new_store();
    // Run ids out of order: runs are told in the order in which they began.
    for run in ["c", "a", "b"] {
        let lease = store.begin(&key(), run, None).unwrap();
        if run == "a" {
            store.record_pending(run, &pending()).unwrap();
        }
        crash(lease);
    }
    let store = RunStore::open(&url(&folder)).unwrap();
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
}

#[test]
fn the_first_end_of_a_run_stays() {
    let (_folder, store) = new_store();
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
}

#[test]
fn a_reset_holds_until_the_target_moves_on() {
    let (_folder, store) = new_store();
    let check = |mark: Option<&str>, other: Option<&str>| {
        store.reset(&key(), mark).unwrap();
        assert!(store.is_reset(&key(), mark).unwrap());
        assert!(!store.is_reset(&key(), other).unwrap());
    };
    assert!(!store.is_reset(&key(), None).unwrap());
    check(None, Some("a"));
    check(Some("a"), Some("b"));
    check(Some("b"), None);
}

#[test]
fn a_job_is_not_reset_under_a_run_that_would_commit_the_old_state() {
    let (_folder, store) = new_store();
    let lease = store.begin(&key(), "a", None).unwrap();
    conflict(store.reset(&key(), None));
    assert!(!store.is_reset(&key(), None).unwrap());
    crash(lease);
    store.reset(&key(), None).unwrap();
}

#[test]
fn of_many_at_once_exactly_one_gets_the_lease_of_a_dead_run() {
    for _ in 0..10 {
        let (folder, store) = new_store();
        crash(store.begin(&key(), "dead", None).unwrap());
        let barrier = std::sync::Barrier::new(8);
        let take = |n: u32| {
            let store = RunStore::open(&url(&folder)).unwrap();
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
    let lease = RunStore::open(&url).and_then(|store| store.begin(&key(), &run, None));
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
    let (folder, store) = new_store();
    let mut child = spawn(&url(&folder), "killed");
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
}

#[test]
fn of_several_processes_at_once_exactly_one_gets_the_lease_of_a_dead_run() {
    let (folder, store) = new_store();
    crash(store.begin(&key(), "dead", None).unwrap());
    let url = url(&folder);
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
}
