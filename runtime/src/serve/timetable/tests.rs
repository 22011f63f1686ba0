//! The timetable with a clock of its own.

use super::*;
use crate::job::Schedule;

fn at(text: &str) -> Time {
    format!("2026-11-30T{text}Z").parse().unwrap()
}

fn key(job: &str) -> JobKey {
    JobKey {
        tenant: "t".to_owned(),
        job: job.to_owned(),
    }
}

fn timing(interval: &str) -> Timing {
    Timing {
        schedule: Schedule::parse(interval, chrono_tz::UTC).unwrap(),
        overlap: Overlap::default(),
        catch_up: CatchUp::default(),
        jitter: Duration::ZERO,
        retries: 2,
    }
}

fn hourly(overlap: Overlap) -> (Timetable, JobKey) {
    let mut timetable = Timetable::default();
    let timing = Timing {
        overlap,
        ..timing("@hourly")
    };
    let actions = timetable.set(&key("a"), Some(timing), Before::default(), at("00:30:00"));
    assert_eq!(actions, []);
    (timetable, key("a"))
}

fn start(cause: Cause, due: Option<&str>, attempt: u32) -> Action {
    Action::Start(Start {
        key: key("a"),
        cause,
        due: due.map(|due| {
            let (first, last) = due.split_once('/').unwrap_or((due, due));
            Due {
                first: at(first),
                last: at(last),
            }
        }),
        attempt,
    })
}

#[test]
fn a_run_begins_when_it_is_due_and_not_before() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    assert_eq!(timetable.next_wake(), Some(at("01:00:00")));
    assert_eq!(timetable.tick(at("00:59:59")), []);
    let begun = [start(Cause::Schedule, Some("01:00:00"), 1)];
    assert_eq!(timetable.tick(at("01:00:00")), begun);
    assert_eq!(timetable.tick(at("01:00:00")), []);
    assert_eq!(timetable.ended(&key, Ended::Well, at("01:10:00")), []);
    assert_eq!(timetable.next(&key), Some(at("02:00:00")));
}

#[test]
fn a_run_that_is_due_during_another_is_skipped_queued_or_takes_its_place() {
    let (mut timetable, _) = hourly(Overlap::Skip);
    timetable.tick(at("01:00:00"));
    let skipped = [Action::Skipped(key("a"), at("02:00:00"))];
    assert_eq!(timetable.tick(at("02:00:00")), skipped);
    assert_eq!(timetable.ended(&key("a"), Ended::Well, at("02:10:00")), []);

    let (mut timetable, _) = hourly(Overlap::Queue);
    timetable.tick(at("01:00:00"));
    assert_eq!(timetable.tick(at("02:00:00")), []);
    assert_eq!(timetable.tick(at("03:00:00")), []);
    let one = [start(Cause::Schedule, Some("03:00:00"), 1)];
    assert_eq!(timetable.ended(&key("a"), Ended::Well, at("03:10:00")), one);
    assert_eq!(timetable.ended(&key("a"), Ended::Well, at("03:20:00")), []);

    let (mut timetable, _) = hourly(Overlap::Cancel);
    timetable.tick(at("01:00:00"));
    assert_eq!(timetable.tick(at("02:00:00")), [Action::Stop(key("a"))]);
    let next = [start(Cause::Schedule, Some("02:00:00"), 1)];
    assert_eq!(
        timetable.ended(&key("a"), Ended::Badly, at("02:00:01")),
        next
    );
}

#[test]
fn what_was_due_while_nobody_was_there_is_one_run_or_none() {
    let caught_up = |catch_up, dealt_with: Option<&str>| {
        let mut timetable = Timetable::default();
        let timing = Timing {
            catch_up,
            ..timing("@hourly")
        };
        let dealt_with = dealt_with.map(at);
        timetable.set(
            &key("a"),
            Some(timing),
            Before {
                dealt_with,
                ..Before::default()
            },
            at("05:30:00"),
        )
    };
    let one = [start(Cause::CatchUp, Some("02:00:00/05:30:00"), 1)];
    assert_eq!(caught_up(CatchUp::One, Some("01:00:00")), one);
    assert_eq!(caught_up(CatchUp::One, Some("05:00:00")), []);
    assert_eq!(caught_up(CatchUp::One, None), []);
    assert_eq!(caught_up(CatchUp::None, Some("01:00:00")), []);
}

#[test]
fn a_run_that_was_killed_is_settled_at_once() {
    let mut timetable = Timetable::default();
    let killed = Before {
        is_cut_short: true,
        ..Before::default()
    };
    let actions = timetable.set(&key("a"), None, killed, at("05:30:00"));
    assert_eq!(actions, [start(Cause::Recovery, None, 1)]);
    // Its file is looked at again and again.
    assert_eq!(timetable.set(&key("a"), None, killed, at("05:30:02")), []);
}

#[test]
fn what_may_pass_is_tried_again_with_longer_and_longer_pauses() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    timetable.tick(at("01:00:00"));
    let may_pass = Ended::MayPass(Duration::ZERO);
    timetable.ended(&key, may_pass.clone(), at("01:00:10"));
    assert_eq!(timetable.tick(at("01:00:10")), []);
    let second = [start(Cause::Retry, None, 2)];
    assert_eq!(timetable.tick(at("01:00:11")), second);
    // The other side may say when.
    timetable.ended(
        &key,
        Ended::MayPass(Duration::from_secs(30)),
        at("01:00:20"),
    );
    assert_eq!(timetable.tick(at("01:00:49")), []);
    assert_eq!(
        timetable.tick(at("01:00:50")),
        [start(Cause::Retry, None, 3)]
    );
    // Two tries again were allowed.
    timetable.ended(&key, may_pass, at("01:01:00"));
    assert_eq!(timetable.next_wake(), Some(at("02:00:00")));
    // What is due comes first, and begins to count anew.
    assert_eq!(
        timetable.tick(at("02:00:00")),
        [start(Cause::Schedule, Some("02:00:00"), 1)]
    );
    timetable.ended(&key, Ended::Badly, at("02:00:01"));
    assert_eq!(timetable.next_wake(), Some(at("03:00:00")));
}

#[test]
fn a_run_on_demand_is_refused_while_one_is_active() {
    let (mut timetable, _) = hourly(Overlap::Queue);
    assert!(timetable.trigger(&key("b")).is_none());
    assert_eq!(timetable.trigger(&key("a")).unwrap().cause, Cause::Trigger);
    assert!(timetable.trigger(&key("a")).is_none());
}

#[test]
fn a_changed_schedule_counts_from_now_and_a_removed_job_never() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    let daily = timing("@daily");
    assert_eq!(
        timetable.set(
            &key,
            Some(daily),
            Before {
                dealt_with: Some(at("00:00:00")),
                is_cut_short: true,
                ..Before::default()
            },
            at("00:40:00")
        ),
        []
    );
    assert_eq!(timetable.tick(at("23:59:59")), []);
    timetable.remove(&key);
    assert_eq!(timetable.tick("2026-12-01T00:00:00Z".parse().unwrap()), []);
}

#[test]
fn a_machine_that_slept_begins_one_run_for_all_times_that_passed() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    assert_eq!(
        timetable.tick(at("04:10:00")),
        [start(Cause::Schedule, Some("01:00:00/04:10:00"), 1)]
    );
    assert_eq!(timetable.next(&key), Some(at("05:00:00")));
}

#[test]
fn jitter_spreads_jobs_and_stays_within_its_bound() {
    let mut timetable = Timetable::default();
    let timing = Timing {
        jitter: Duration::from_secs(60),
        ..timing("@hourly")
    };
    for job in 0..1_000 {
        timetable.set(
            &key(&job.to_string()),
            Some(timing.clone()),
            Before::default(),
            at("00:30:00"),
        );
    }
    assert_eq!(timetable.tick(at("00:59:59")), []);
    let half = timetable.tick(at("01:00:30")).len();
    assert!((400..600).contains(&half), "{half}");
    assert_eq!(half + timetable.tick(at("01:01:00")).len(), 1_000);
}

/// 10,000 jobs of 1,000 tenants through a day, minute by minute.
#[test]
fn in_a_day_of_ten_thousand_jobs_none_is_missed_or_begun_twice() {
    let mut timetable = Timetable::default();
    let mut expected = 0;
    for job in 0..10_000_u32 {
        let key = JobKey {
            tenant: format!("tenant-{}", job % 1_000),
            job: job.to_string(),
        };
        let minutes = [1, 5, 15, 60, 1_440][(job % 5) as usize];
        let interval = format!("every {minutes}m");
        timetable.set(
            &key,
            Some(timing(&interval)),
            Before::default(),
            at("00:00:00"),
        );
        expected += 1_440 / minutes;
    }
    let mut begun = 0;
    for minute in 1..=1_440 {
        let now = at("00:00:00") + Duration::from_secs(60 * minute);
        for action in timetable.tick(now) {
            let Action::Start(start) = action else {
                panic!("{action:?}");
            };
            assert_eq!(start.due.map(|due| due.last), Some(now));
            begun += 1;
            assert_eq!(timetable.ended(&start.key, Ended::Well, now), []);
        }
    }
    assert_eq!(begun, expected);
}

#[test]
fn a_job_whose_file_comes_back_during_its_run_has_one_run() {
    let mut timetable = Timetable::default();
    let before = Before {
        is_active: true,
        is_cut_short: true,
        dealt_with: None,
    };
    let hourly = timing("@hourly");
    assert_eq!(
        timetable.set(&key("a"), Some(hourly), before, at("00:30:00")),
        []
    );
    assert!(timetable.trigger(&key("a")).is_none());
    timetable.ended(&key("a"), Ended::Well, at("00:40:00"));
    assert!(timetable.trigger(&key("a")).is_some());
}

#[test]
fn of_two_processes_one_runs_a_time_and_the_other_goes_by_the_overlap() {
    let begun = |timetable: &mut Timetable, time| match timetable.tick(at(time)).pop() {
        Some(Action::Start(start)) => start,
        other => panic!("{other:?}"),
    };
    let (mut timetable, key) = hourly(Overlap::Skip);
    begun(&mut timetable, "01:00:00");
    assert_eq!(timetable.ended(&key, Ended::Elsewhere, at("01:00:01")), []);
    let busy = Ended::Busy(begun(&mut timetable, "02:00:00"));
    let skipped = [Action::Skipped(key.clone(), at("02:00:00"))];
    assert_eq!(timetable.ended(&key, busy, at("02:00:01")), skipped);
    assert_eq!(timetable.next_wake(), Some(at("03:00:00")));

    let (mut timetable, key) = hourly(Overlap::Queue);
    let first = begun(&mut timetable, "01:00:00");
    for second in ["01:00:05", "01:00:10", "01:00:15"] {
        let busy = Ended::Busy(first.clone());
        assert_eq!(timetable.ended(&key, busy, timetable_now(second)), []);
        assert_eq!(begun(&mut timetable, second), first);
    }
}

/// Five seconds before.
fn timetable_now(text: &str) -> Time {
    at(text) - chrono::Duration::seconds(5)
}

#[test]
fn a_run_that_could_not_be_begun_is_tried_until_it_is() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    timetable.tick(at("01:00:00"));
    let mut attempt = 1;
    for (now, next) in [
        ("01:00:00", "01:00:01"),
        ("01:00:01", "01:00:03"),
        ("01:00:03", "01:00:07"),
        ("01:00:07", "01:00:15"),
    ] {
        let Action::Start(now_starting) = start(Cause::Schedule, Some("01:00:00"), attempt) else {
            return;
        };
        attempt += 1;
        timetable.ended(&key, Ended::Unknown(now_starting), at(now));
        assert_eq!(
            timetable.tick(at(next)),
            [start(Cause::Schedule, Some("01:00:00"), attempt)]
        );
    }
}

#[test]
fn a_job_is_recovered_unless_it_is_active_here() {
    let (mut timetable, key) = hourly(Overlap::Skip);
    assert_eq!(timetable.recover(&self::key("b")), []);
    assert_eq!(timetable.recover(&key), [start(Cause::Recovery, None, 1)]);
    assert_eq!(timetable.recover(&key), []);
}
