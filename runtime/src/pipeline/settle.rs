//! Does what `commit.rs` decides: publishes or removes what earlier runs left, and commits this one.

use std::time::Duration;

use serde::Serialize;

use super::commit::{self, AfterFailure, DeadLetterDecision, Decision, LastCommit, TargetFact};
use super::crash;
use super::envelope::DeadLetterCommit;
use super::ready::{Ready, Side};
use crate::component::{CommitRecord, Output, Receipt, Run, Stop};
use crate::error::{Error, Kind, Result};
use crate::runs::{JobKey, Outcome, Pending, RunStore};

/// How long cleaning up after a failure or a signal may take. What is left is removed by the next run.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a run starts from.
pub struct Settled {
    /// The run of the target's last commit.
    pub base: Option<String>,
    /// What the reader is opened with.
    pub state: Option<String>,
    /// What the target holds: differs from `state` after `state reset`.
    pub target_state: Option<String>,
    pub recovered: Vec<Recovered>,
}

/// An earlier run that was cut short.
#[derive(Debug, Clone, Serialize)]
pub struct Recovered {
    pub run_id: String,
    pub outcome: RecoveredAs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveredAs {
    /// Its commit had landed.
    AlreadyCommitted,
    /// Its rows were staged and are now published.
    Published,
    /// What it had staged was removed; its rows are read again.
    Removed,
}

impl RecoveredAs {
    /// For people: what became of the run.
    pub fn sentence(self) -> &'static str {
        match self {
            RecoveredAs::AlreadyCommitted => "its commit had landed",
            RecoveredAs::Published => "its rows were staged and are now published",
            RecoveredAs::Removed => "what it had staged was removed",
        }
    }
}

/// Finds out where the job is, and ends what earlier runs left unfinished. The caller holds the lease.
pub async fn settle(
    ready: &Ready,
    store: &RunStore,
    key: &JobKey,
    run_id: &str,
    stop: Stop,
) -> Result<Settled> {
    let is_reset = |last: Option<&LastCommit>| store.is_reset(key, last.map(|l| l.run.as_str()));
    let unfinished = store.unfinished(key, run_id)?;
    let target = fact(ask(ready, &ready.writer, run_id, stop).await);
    let mut last = match &target {
        TargetFact::Last(last) => last.clone(),
        TargetFact::Unknown(_) => None,
    };
    let is_reset_now = is_reset(last.as_ref())?;
    let is_clean = settle_dead_letter(ready, store, last.as_ref(), is_reset_now).await?;
    let mut recovered = Vec::new();
    for (id, decision) in commit::decide(&unfinished, &target, is_reset_now)? {
        crash::point("settling");
        let (outcome, recovered_as) = match decision {
            // Something of its dead letter is left: the next run tries again.
            Decision::Committed if !is_clean => continue,
            Decision::Committed => (
                Outcome::Committed {
                    receipt: "{}".to_owned(),
                },
                RecoveredAs::AlreadyCommitted,
            ),
            Decision::CommitAgain(pending) => {
                let run = ready.run(&id, pending.base.clone());
                if let Err(failed) = commit(ready, store, &run, &pending).await {
                    if failed.is_over {
                        store.finish(&id, &Outcome::failed(&failed.error))?;
                    }
                    return Err(failed.error);
                }
                last = Some(LastCommit::read(id.clone(), pending.state));
                (
                    Outcome::Committed {
                        receipt: "{}".to_owned(),
                    },
                    RecoveredAs::Published,
                )
            }
            Decision::Remove => {
                let run = ready.run(&id, None);
                let pending = unfinished.iter().find(|known| known.run == id);
                let pending = pending.and_then(|known| known.pending.as_ref());
                store.withdraw(&id)?;
                if !discard(ready, &run, pending).await {
                    // Still unfinished: the next run tries again.
                    continue;
                }
                (Outcome::Removed, RecoveredAs::Removed)
            }
        };
        store.finish(&id, &outcome)?;
        recovered.push(Recovered {
            run_id: id,
            outcome: recovered_as,
        });
    }
    let start = commit::start(last.as_ref(), is_reset(last.as_ref())?);
    let target_state = last.and_then(|last| last.state);
    Ok(Settled {
        base: start.base,
        state: start.state,
        target_state,
        recovered,
    })
}

/// A commit that did not end in a receipt.
pub struct CommitFailed {
    pub error: Error,
    /// It did not land and nothing of it is left: the run is over.
    pub is_over: bool,
}

/// What a run made visible.
pub struct Committed {
    pub receipt: Receipt,
    /// In the dead letter.
    pub dead_letter: Vec<Output>,
}

/// Commits `run`, and finds out what became of it where the answer is an error or none. The rows that
/// its contract refused are published after it: what the target then holds says that they have to be.
pub async fn commit(
    ready: &Ready,
    store: &RunStore,
    run: &Run,
    pending: &Pending,
) -> Result<Committed, CommitFailed> {
    let receipt = commit_target(ready, store, run, pending).await?;
    let committed = LastCommit::read(run.id.clone(), pending.state.clone());
    let Some(dead_letter) = committed.dead_letter else {
        return Ok(Committed {
            receipt,
            dead_letter: Vec::new(),
        });
    };
    crash::point("dead-letter-due");
    let published = publish(ready, &run.id, &dead_letter).await;
    crash::point("dead-letter-committed");
    match published {
        Ok(dead_letter) => Ok(Committed {
            receipt,
            dead_letter,
        }),
        Err(error) => Err(CommitFailed {
            error,
            is_over: false,
        }),
    }
}

async fn commit_target(
    ready: &Ready,
    store: &RunStore,
    run: &Run,
    pending: &Pending,
) -> Result<Receipt, CommitFailed> {
    let failure = match send(ready, run, pending).await {
        Ok(receipt) => return Ok(receipt),
        Err(failure) => failure,
    };
    let found = ask(ready, &ready.writer, &run.id, Stop::never()).await;
    let receipt = found
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .map(|last| last.receipt.clone());
    match commit::after_failure(&run.id, failure, &fact(found)) {
        AfterFailure::Committed => Ok(receipt.unwrap_or_default()),
        AfterFailure::Failed(error) => {
            let withdrawn = store.withdraw(&run.id).is_ok();
            let is_over = withdrawn && discard(ready, run, Some(pending)).await;
            Err(CommitFailed { error, is_over })
        }
        AfterFailure::Unknown(error) => Err(CommitFailed {
            error,
            is_over: false,
        }),
    }
}

/// Ends what the last commit left of its dead letter, before anything is read. False where something
/// staged could not be removed.
async fn settle_dead_letter(
    ready: &Ready,
    store: &RunStore,
    last: Option<&LastCommit>,
    reset_pending: bool,
) -> Result<bool> {
    let Some(last) = last.filter(|last| last.dead_letter.is_some()) else {
        return Ok(true);
    };
    let is_ended = store.is_committed(&last.run)?;
    match commit::dead_letter(Some(last), is_ended, reset_pending) {
        DeadLetterDecision::Nothing => {}
        DeadLetterDecision::Publish(dead_letter) => {
            crash::point("settling-dead-letter");
            publish(ready, &last.run, &dead_letter).await?;
        }
        DeadLetterDecision::Remove(dead_letter) => {
            if let Some(side) = ready.dead_letter_at(&dead_letter.path) {
                let run = ready.run(&last.run, None);
                return Ok(abort(ready, side, &run, &dead_letter.prepared).await);
            }
        }
    }
    Ok(true)
}

/// Commits the dead letter of a run whose rows are visible. Done already is success.
async fn publish(
    ready: &Ready,
    run_id: &str,
    dead_letter: &DeadLetterCommit,
) -> Result<Vec<Output>> {
    let due = |hint: String| {
        let message =
            format!("run {run_id} is visible, and the rows that it refused are not published yet");
        Error::new(Kind::CommitUnknown, message).hint(hint)
    };
    let Some(side) = ready.dead_letter_at(&dead_letter.path) else {
        let path = &dead_letter.path;
        return Err(due(format!(
            "write `dead_letter: {{ path: {path} }}` into the job until it has run once; `dativo-wasm state reset` gives those rows up and reads everything again"
        )));
    };
    let send = async {
        let run = ready.run(run_id, dead_letter.base.clone());
        let name = "dead letter, commit".to_owned();
        let mut writer = ready.start(side, run_id, name, Stop::never()).await?;
        writer
            .commit(&side.config, &run, &dead_letter.prepared, None)
            .await
    };
    let again = "run the job again: it publishes them first; `dativo-wasm state reset` gives them up and reads everything again";
    let receipt: Receipt = send
        .await
        .map_err(|error| due(again.to_owned()).caused_by(error))?;
    let rows: u64 = receipt.outputs.iter().map(|output| output.rows).sum();
    // Where another target writes to the same folder, this commit would be taken for one of its own.
    if rows != dead_letter.rows {
        let cause = format!("the dead letter took {rows} of {} rows", dead_letter.rows);
        return Err(due(again.to_owned()).caused_by(cause));
    }
    Ok(receipt.outputs)
}

/// The run of the dead letter's last commit, which the next one must find unchanged.
pub async fn dead_letter_base(
    ready: &Ready,
    side: &Side,
    run: &Run,
    stop: Stop,
) -> Result<Option<String>> {
    Ok(ask(ready, side, &run.id, stop).await?.map(|last| last.run))
}

/// What the target of a job knows of it.
pub async fn last_commit(ready: &Ready, run_id: &str) -> Result<Option<LastCommit>> {
    let last = ask(ready, &ready.writer, run_id, Stop::never()).await?;
    Ok(last.map(|last| LastCommit::read(last.run, last.state)))
}

fn fact(answer: Result<Option<CommitRecord>>) -> TargetFact {
    match answer {
        Ok(last) => TargetFact::Last(last.map(|last| LastCommit::read(last.run, last.state))),
        Err(error) => TargetFact::Unknown(error),
    }
}

/// Asks the target, or the dead letter, for its last commit, in an instance of its own.
async fn ask(ready: &Ready, side: &Side, run_id: &str, stop: Stop) -> Result<Option<CommitRecord>> {
    let name = "writer, last commit".to_owned();
    let mut writer = ready.start(side, run_id, name, stop).await?;
    writer
        .last_commit(&side.config, &ready.tenant, &ready.job)
        .await
}

/// Sends a commit, in an instance of its own. A signal does not interrupt it: it is one step at the
/// target and bounded by the call's deadline.
async fn send(ready: &Ready, run: &Run, pending: &Pending) -> Result<Receipt> {
    let side = &ready.writer;
    let name = "writer, commit".to_owned();
    let mut writer = ready.start(side, &run.id, name, Stop::never()).await?;
    let state = pending.state.as_deref();
    writer
        .commit(&side.config, run, &pending.prepared, state)
        .await
}

/// Removes what `run` staged, at the target and in the dead letter. Best effort: the next run tries again.
pub async fn discard(ready: &Ready, run: &Run, pending: Option<&Pending>) -> bool {
    let prepared = pending.map_or(&[][..], |pending| &pending.prepared);
    let mut is_clean = abort(ready, &ready.writer, run, prepared).await;
    if let Some(side) = &ready.dead_letter {
        let state = pending.and_then(|pending| pending.state.clone());
        let dead_letter = LastCommit::read(run.id.clone(), state).dead_letter;
        let here =
            dead_letter.filter(|dead_letter| ready.dead_letter_at(&dead_letter.path).is_some());
        let prepared = here.map(|dead_letter| dead_letter.prepared);
        is_clean &= abort(ready, side, run, &prepared.unwrap_or_default()).await;
    }
    is_clean
}

/// Removes what `run` staged on one side.
pub async fn remove(
    ready: &Ready,
    side: &Side,
    run: &Run,
    prepared: &[String],
    stop: Stop,
) -> Result<()> {
    let name = "writer, abort".to_owned();
    let mut writer = ready.start(side, &run.id, name, stop).await?;
    writer.abort(&side.config, run, prepared).await
}

/// Removes what `run` staged on one side, within [`DISCARD_TIMEOUT`]. False where the next run has to.
async fn abort(ready: &Ready, side: &Side, run: &Run, prepared: &[String]) -> bool {
    let abort = remove(ready, side, run, prepared, Stop::never());
    let problem = match tokio::time::timeout(DISCARD_TIMEOUT, abort).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    tracing::warn!(
        run_id = run.id,
        tenant = run.tenant,
        problem,
        "what the run staged could not be removed now; the next run of the job removes it"
    );
    false
}
