//! What to do with runs that were cut short, and where the next one starts: facts in, decision out.
//!
//! Pure: no I/O, no clock. The run store says what was begun and prepared, the target says what it
//! committed last; the target is the truth.

use crate::error::{Error, Kind};
use crate::runs::{Pending, Unfinished};

/// What the target says of a job.
#[derive(Debug, Clone)]
pub enum TargetFact {
    /// Its last commit, if there is one.
    Last(Option<LastCommit>),
    /// It did not answer.
    Unknown(Error),
}

/// The last commit of a job at its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCommit {
    pub run: String,
    pub state: Option<String>,
}

/// What to do with one unfinished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Its commit landed: remember that.
    Committed,
    /// All its rows are durable at the target and the target is where it was when the run started:
    /// publish them instead of reading again.
    CommitAgain(Pending),
    /// It prepared nothing, or the target has moved on since: remove what it staged.
    Remove,
}

/// Where a run starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The target's last commit, which the new commit must find unchanged.
    pub base: Option<String>,
    /// What the reader is opened with.
    pub state: Option<String>,
}

/// Decides about every unfinished run, in the order in which they began.
///
/// At most one decision is [`Decision::CommitAgain`]: two runs cannot both be the next commit after
/// the same base, and it is the newest, since an older one that prepared would have been settled
/// before the newer began. A run of before the last `state reset` is never published: the user asked
/// for everything to be read again, and its rows will be.
pub fn decide(
    unfinished: &[Unfinished],
    target: &TargetFact,
    reset_pending: bool,
) -> Result<Vec<(String, Decision)>, Error> {
    let last = match target {
        TargetFact::Last(last) => last.as_ref().map(|last| last.run.as_str()),
        TargetFact::Unknown(error) => return Err(unknown(unfinished, error)),
    };
    let newest = unfinished.iter().rposition(|run| publishable(run, last));
    let decisions = unfinished.iter().enumerate().map(|(at, run)| {
        let decision = match &run.pending {
            _ if last == Some(run.run.as_str()) => Decision::Committed,
            Some(pending) if Some(at) == newest && !reset_pending => {
                Decision::CommitAgain(pending.clone())
            }
            _ => Decision::Remove,
        };
        (run.run.clone(), decision)
    });
    Ok(decisions.collect())
}

/// Whether the run is the next commit after the target's last one.
fn publishable(run: &Unfinished, last: Option<&str>) -> bool {
    last != Some(run.run.as_str())
        && run
            .pending
            .as_ref()
            .is_some_and(|pending| pending.base.as_deref() == last)
}

fn unknown(unfinished: &[Unfinished], error: &Error) -> Error {
    let Some(run) = unfinished.iter().rfind(|run| run.pending.is_some()) else {
        return error.clone();
    };
    Error::new(
        Kind::CommitUnknown,
        format!(
            "run {} may or may not be visible, and the target does not answer",
            run.run
        ),
    )
    .caused_by(error)
    .hint("nothing was read or removed; run the job again when the target answers")
}

/// Where the next run starts: from the state of the last commit, unless that was reset.
pub fn start(last: Option<&LastCommit>, reset_pending: bool) -> Start {
    let base = last.map(|last| last.run.clone());
    Start {
        base,
        state: last
            .filter(|_| !reset_pending)
            .and_then(|last| last.state.clone()),
    }
}

/// What a commit that failed, or whose answer was lost, came to.
#[derive(Debug, Clone)]
pub enum AfterFailure {
    /// It landed all the same.
    Committed,
    /// It did not land, and cannot any more: what was staged is removed and this is the error.
    Failed(Error),
    /// Nobody knows: nothing is removed, and the next run asks again.
    Unknown(Error),
}

/// Decides about a commit of `run` that ended in `failure`, by what the target says now.
///
/// Only an answer of the target that shows another last commit than `run` makes the failure certain,
/// and only where the failure itself was an answer: a call that was cut short may still act.
pub fn after_failure(run: &str, failure: Error, target: &TargetFact) -> AfterFailure {
    match target {
        TargetFact::Last(Some(last)) if last.run == run => AfterFailure::Committed,
        TargetFact::Last(_) if was_answered(&failure) => AfterFailure::Failed(failure),
        TargetFact::Last(_) => AfterFailure::Unknown(lost(run, &failure)),
        TargetFact::Unknown(error) => AfterFailure::Unknown(lost(run, &failure).caused_by(error)),
    }
}

/// Whether the target, or the component, said no; a trap, a deadline or a lost connection did not.
fn was_answered(failure: &Error) -> bool {
    matches!(
        failure.kind(),
        Kind::Rejected
            | Kind::Denied
            | Kind::JobInvalid
            | Kind::ContractBroken
            | Kind::StateConflict
    )
}

fn lost(run: &str, failure: &Error) -> Error {
    Error::new(
        Kind::CommitUnknown,
        format!("run {run} may or may not be visible"),
    )
    .caused_by(failure)
    .hint("run the job again: it asks the target first, and nothing arrives twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, pending: Option<Option<&str>>) -> Unfinished {
        let pending = pending.map(|base| Pending {
            prepared: vec![format!("rows of {name}")],
            state: Some(format!("after {name}")),
            base: base.map(str::to_owned),
        });
        Unfinished {
            run: name.to_owned(),
            pending,
        }
    }

    fn last(name: Option<&str>) -> TargetFact {
        TargetFact::Last(name.map(|run| LastCommit {
            run: run.to_owned(),
            state: Some(format!("after {run}")),
        }))
    }

    /// The decisions as words, in order.
    fn check(unfinished: &[Unfinished], target: &TargetFact, reset: bool) -> Vec<&'static str> {
        let decisions = decide(unfinished, target, reset).unwrap();
        let word = |(_, decision): (String, Decision)| match decision {
            Decision::Committed => "committed",
            Decision::CommitAgain(_) => "commit again",
            Decision::Remove => "remove",
        };
        decisions.into_iter().map(word).collect()
    }

    #[test]
    fn every_crash_point_has_its_decision() {
        // (where the crash was, the run as the store knows it, the target's last commit, decision)
        type Row = (&'static str, Unfinished, Option<&'static str>, &'static str);
        let rows: [Row; 12] = [
            (
                "before anything was staged",
                run("b", None),
                Some("a"),
                "remove",
            ),
            ("while writing", run("b", None), Some("a"), "remove"),
            (
                "after some splits prepared",
                run("b", None),
                Some("a"),
                "remove",
            ),
            (
                "after all prepared, before pending",
                run("b", None),
                Some("a"),
                "remove",
            ),
            (
                "after pending, before commit",
                run("b", Some(Some("a"))),
                Some("a"),
                "commit again",
            ),
            (
                "the same, in the first run of a job",
                run("b", Some(None)),
                None,
                "commit again",
            ),
            (
                "inside commit, before its point",
                run("b", Some(Some("a"))),
                Some("a"),
                "commit again",
            ),
            (
                "inside commit, after its point",
                run("b", Some(Some("a"))),
                Some("b"),
                "committed",
            ),
            (
                "after commit, before it was remembered",
                run("b", Some(None)),
                Some("b"),
                "committed",
            ),
            (
                "another host committed meanwhile",
                run("b", Some(Some("a"))),
                Some("x"),
                "remove",
            ),
            (
                "the target was emptied meanwhile",
                run("b", Some(Some("a"))),
                None,
                "remove",
            ),
            (
                "the target was swapped for a used one",
                run("b", Some(None)),
                Some("x"),
                "remove",
            ),
        ];
        for (place, unfinished, target, decision) in rows {
            assert_eq!(
                check(&[unfinished], &last(target), false),
                [decision],
                "{place}"
            );
        }
    }

    #[test]
    fn of_several_unfinished_runs_only_the_newest_is_published() {
        let runs = [
            run("b", Some(Some("a"))),
            run("c", None),
            run("d", Some(Some("a"))),
        ];
        assert_eq!(
            check(&runs, &last(Some("a")), false),
            ["remove", "remove", "commit again"]
        );
        assert_eq!(
            check(&runs, &last(Some("b")), false),
            ["committed", "remove", "remove"]
        );
    }

    #[test]
    fn a_reset_removes_what_was_prepared_before_it() {
        let runs = [run("b", Some(Some("a")))];
        assert_eq!(check(&runs, &last(Some("a")), true), ["remove"]);
        assert_eq!(check(&runs, &last(Some("b")), true), ["committed"]);
    }

    #[test]
    fn a_target_that_does_not_answer_stops_everything() {
        let silent = TargetFact::Unknown(Error::new(Kind::Unavailable, "no answer"));
        let kind = |runs: &[Unfinished]| decide(runs, &silent, false).unwrap_err().kind();
        assert_eq!(kind(&[]), Kind::Unavailable);
        assert_eq!(kind(&[run("b", None)]), Kind::Unavailable);
        assert_eq!(kind(&[run("b", Some(None))]), Kind::CommitUnknown);
    }

    #[test]
    fn a_run_starts_from_the_state_of_the_last_commit_unless_it_was_reset() {
        let a = LastCommit {
            run: "a".to_owned(),
            state: Some("after a".to_owned()),
        };
        let check = |last: Option<&LastCommit>, reset, base: Option<&str>, state: Option<&str>| {
            let expected = Start {
                base: base.map(str::to_owned),
                state: state.map(str::to_owned),
            };
            assert_eq!(start(last, reset), expected);
        };
        check(None, false, None, None);
        check(Some(&a), false, Some("a"), Some("after a"));
        check(Some(&a), true, Some("a"), None);
    }

    #[test]
    fn a_failed_commit_is_what_the_target_says() {
        let check = |kind: Kind, target: &TargetFact| match after_failure(
            "b",
            Error::new(kind, "failed"),
            target,
        ) {
            AfterFailure::Committed => "committed",
            AfterFailure::Failed(_) => "failed",
            AfterFailure::Unknown(error) => {
                assert_eq!(error.kind(), Kind::CommitUnknown);
                "unknown"
            }
        };
        let silent = TargetFact::Unknown(Error::new(Kind::Unavailable, "no answer"));
        assert_eq!(check(Kind::Unavailable, &last(Some("b"))), "committed");
        assert_eq!(check(Kind::GuestTrapped, &last(Some("b"))), "committed");
        assert_eq!(check(Kind::Rejected, &last(Some("x"))), "failed");
        assert_eq!(check(Kind::Unavailable, &last(Some("a"))), "unknown");
        assert_eq!(check(Kind::GuestTrapped, &last(Some("a"))), "unknown");
        assert_eq!(check(Kind::LimitExceeded, &last(None)), "unknown");
        assert_eq!(check(Kind::Rejected, &silent), "unknown");
    }
}
