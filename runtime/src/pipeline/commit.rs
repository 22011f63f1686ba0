//! What to do with runs that were cut short, and where the next one starts: facts in, decision out.
//!
//! Pure: no I/O, no clock. The run store says what was begun and prepared, the target says what it
//! committed last; the target is the truth.

use super::envelope::{self, DeadLetterCommit};
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
    /// What the reader said.
    pub state: Option<String>,
    /// Its rows in the dead letter, which may not be published yet.
    pub dead_letter: Option<DeadLetterCommit>,
}

impl LastCommit {
    /// A commit with the state that the target keeps of it.
    pub fn read(run: String, sealed_state: Option<String>) -> Self {
        let (state, dead_letter) = envelope::open(sealed_state);
        Self {
            run,
            state,
            dead_letter,
        }
    }
}

/// What to do with the dead letter of the target's last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterDecision {
    /// There is none, or it is known to be published.
    Nothing,
    /// Commit it, perhaps again.
    Publish(DeadLetterCommit),
    /// The user asked for everything to be read again, these rows too: remove what is staged of them.
    Remove(DeadLetterCommit),
}

/// Decides about the dead letter of the last commit. `is_ended`: the run store knows that the run ended
/// as committed, which it is told only after both commits.
pub fn dead_letter(
    last: Option<&LastCommit>,
    is_ended: bool,
    reset_pending: bool,
) -> DeadLetterDecision {
    match last.and_then(|last| last.dead_letter.clone()) {
        Some(dead_letter) if !is_ended && reset_pending => DeadLetterDecision::Remove(dead_letter),
        Some(dead_letter) if !is_ended => DeadLetterDecision::Publish(dead_letter),
        _ => DeadLetterDecision::Nothing,
    }
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
    let pending = unfinished.iter().rfind(|run| run.pending.is_some());
    // A signal is the user's wish and no news about the target; what is pending stays so.
    let Some(run) = pending.filter(|_| error.kind() != Kind::Cancelled) else {
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
mod model;
#[cfg(test)]
mod tests;
