//! Every point at which a run can be cut short, as a row.

use super::*;

fn run(name: &str) -> Unfinished {
    Unfinished {
        run: name.to_owned(),
        pending: None,
    }
}

fn pending(name: &str, base: Option<&str>) -> Unfinished {
    Unfinished {
        pending: Some(Pending {
            prepared: vec![format!("rows of {name}")],
            state: Some(format!("after {name}")),
            base: base.map(str::to_owned),
        }),
        ..run(name)
    }
}

fn commit(run: &str) -> LastCommit {
    LastCommit {
        run: run.to_owned(),
        state: Some(format!("after {run}")),
        dead_letter: None,
    }
}

fn last(run: Option<&str>) -> TargetFact {
    TargetFact::Last(run.map(commit))
}

fn silent() -> TargetFact {
    TargetFact::Unknown(Error::new(Kind::Unavailable, "no answer"))
}

/// What is decided, and where the next run starts once that was done, as one line.
fn check(unfinished: &[Unfinished], last_run: Option<&str>, reset: Option<Option<&str>>) -> String {
    let is_reset = |last: Option<&str>| reset == Some(last);
    let decisions = decide(unfinished, &last(last_run), is_reset(last_run)).unwrap();
    let mut words = Vec::new();
    let mut last = last_run.map(commit);
    for (run, decision) in decisions {
        words.push(match decision {
            Decision::Committed => format!("{run} is committed"),
            Decision::CommitAgain(pending) => {
                assert_eq!(pending.prepared, [format!("rows of {run}")]);
                last = Some(commit(&run));
                format!("commit {run}")
            }
            Decision::Remove => format!("remove {run}"),
        });
    }
    let start = start(
        last.as_ref(),
        is_reset(last.as_ref().map(|last| last.run.as_str())),
    );
    assert_eq!(start.base, last.map(|last| last.run));
    words.push(match start.state {
        Some(state) => format!("read on {state}"),
        None => "read all".to_owned(),
    });
    words.join(", ")
}

#[test]
fn every_crash_point_has_its_decision() {
    let (a, b, x) = (Some("a"), Some("b"), Some("x"));
    // (where the crash was, unfinished runs, the target's last commit, decision)
    let rows = [
        ("nothing ever ran", vec![], None, "read all"),
        (
            "the last run ended as it should",
            vec![],
            a,
            "read on after a",
        ),
        (
            "before anything was staged",
            vec![run("b")],
            a,
            "remove b, read on after a",
        ),
        (
            "while writing, in the first run of a job",
            vec![run("b")],
            None,
            "remove b, read all",
        ),
        (
            "after some or all splits prepared, before that was recorded",
            vec![run("b")],
            a,
            "remove b, read on after a",
        ),
        (
            "after the commit was recorded, before it was sent",
            vec![pending("b", a)],
            a,
            "commit b, read on after b",
        ),
        (
            "the same, in the first run of a job",
            vec![pending("b", None)],
            None,
            "commit b, read on after b",
        ),
        (
            "during commit, after the target's commit point",
            vec![pending("b", a)],
            b,
            "b is committed, read on after b",
        ),
        (
            "after the first commit, before it was remembered",
            vec![pending("b", None)],
            b,
            "b is committed, read on after b",
        ),
        (
            "while an earlier crash was being settled",
            vec![pending("b", a), run("c")],
            a,
            "commit b, remove c, read on after b",
        ),
        (
            "after an earlier crash was settled, before that was remembered",
            vec![pending("b", a), run("c")],
            b,
            "b is committed, remove c, read on after b",
        ),
        (
            "several times, each before anything was recorded",
            vec![run("b"), run("c"), run("d")],
            a,
            "remove b, remove c, remove d, read on after a",
        ),
        (
            "twice after the same commit, since the first could not be removed",
            vec![pending("b", a), run("c"), pending("d", a)],
            a,
            "remove b, remove c, commit d, read on after d",
        ),
        (
            "twice after the same commit, and the first landed",
            vec![pending("b", a), run("c"), pending("d", a)],
            b,
            "b is committed, remove c, remove d, read on after b",
        ),
        (
            "after commit, and the run store was deleted",
            vec![],
            b,
            "read on after b",
        ),
        (
            "before commit, and the run store was deleted",
            vec![],
            a,
            "read on after a",
        ),
        (
            "another machine committed meanwhile",
            vec![pending("b", a)],
            x,
            "remove b, read on after x",
        ),
        (
            "another machine made the job's first commit meanwhile",
            vec![pending("b", None)],
            x,
            "remove b, read on after x",
        ),
        (
            "the target was deleted meanwhile",
            vec![pending("b", a)],
            None,
            "remove b, read all",
        ),
    ];
    for (place, unfinished, target, decision) in rows {
        assert_eq!(check(&unfinished, target, None), decision, "{place}");
    }
}

#[test]
fn after_a_reset_nothing_that_was_read_before_it_is_published_and_everything_is_read() {
    let (a, b) = (Some("a"), Some("b"));
    let rows = [
        ("nothing pending", vec![], a, "read all"),
        (
            "a run pending",
            vec![pending("b", a)],
            a,
            "remove b, read all",
        ),
        (
            "a run pending, and its removal was cut short",
            vec![pending("b", a), run("c")],
            a,
            "remove b, remove c, read all",
        ),
        (
            "the run after the reset committed",
            vec![pending("b", a)],
            b,
            "b is committed, read on after b",
        ),
    ];
    for (place, unfinished, target, decision) in rows {
        assert_eq!(check(&unfinished, target, Some(a)), decision, "{place}");
    }
    let first = check(&[pending("b", None)], None, Some(None));
    assert_eq!(first, "remove b, read all", "before the first commit");
}

#[test]
fn a_target_that_does_not_answer_stops_everything() {
    let check = |runs: &[Unfinished], fact: &TargetFact| decide(runs, fact, false).unwrap_err();
    assert_eq!(check(&[], &silent()).kind(), Kind::Unavailable);
    assert_eq!(check(&[run("b")], &silent()).kind(), Kind::Unavailable);
    let unknown = check(&[pending("b", None), run("c")], &silent());
    assert_eq!(unknown.kind(), Kind::CommitUnknown);
    assert!(unknown.message().contains("run b may or may not"));
    assert!(unknown.hint_text().is_some());
    let signal = TargetFact::Unknown(Error::new(Kind::Cancelled, "a signal"));
    assert_eq!(
        check(&[pending("b", None)], &signal).kind(),
        Kind::Cancelled
    );
}

#[test]
fn a_failed_commit_is_what_the_target_says() {
    let check = |kind: Kind, target: &TargetFact| match after_failure(
        "b",
        Error::new(kind, "failed"),
        target,
    ) {
        AfterFailure::Committed => "committed",
        AfterFailure::Failed(error) => {
            assert_eq!(error.kind(), kind);
            "failed"
        }
        AfterFailure::Unknown(error) => {
            assert_eq!(error.kind(), Kind::CommitUnknown);
            "unknown"
        }
    };
    for kind in Kind::ALL {
        let answered = [
            Kind::Rejected,
            Kind::Denied,
            Kind::JobInvalid,
            Kind::ContractBroken,
            Kind::StateConflict,
        ];
        let not_there = match answered.contains(&kind) {
            true => "failed",
            false => "unknown",
        };
        let name = kind.name();
        assert_eq!(check(kind, &last(Some("b"))), "committed", "{name}");
        assert_eq!(check(kind, &last(Some("a"))), not_there, "{name}");
        assert_eq!(check(kind, &last(Some("x"))), not_there, "{name}");
        assert_eq!(check(kind, &last(None)), not_there, "{name}");
        assert_eq!(check(kind, &silent()), "unknown", "{name}");
    }
}

#[test]
fn the_dead_letter_of_the_last_commit_is_published_until_it_is_known_to_be() {
    let due = DeadLetterCommit {
        path: "rejected".to_owned(),
        prepared: vec!["bad rows of a".to_owned()],
        base: None,
        rows: 1,
    };
    let with = LastCommit {
        dead_letter: Some(due.clone()),
        ..commit("a")
    };
    let check = |last: Option<&LastCommit>, is_ended, reset, expected| {
        assert_eq!(dead_letter(last, is_ended, reset), expected);
    };
    check(None, false, false, DeadLetterDecision::Nothing);
    check(
        Some(&commit("a")),
        false,
        false,
        DeadLetterDecision::Nothing,
    );
    check(Some(&with), true, false, DeadLetterDecision::Nothing);
    check(Some(&with), true, true, DeadLetterDecision::Nothing);
    check(
        Some(&with),
        false,
        false,
        DeadLetterDecision::Publish(due.clone()),
    );
    check(Some(&with), false, true, DeadLetterDecision::Remove(due));
}
