//! Does what `commit.rs` decides: publishes or removes what earlier runs left, and commits this one.

use std::time::Duration;

use serde::Serialize;

use super::commit::{self, AfterFailure, Decision, LastCommit, TargetFact};
use super::crash;
use super::ready::Ready;
use crate::component::{CommitRecord, Receipt, Run, Stop};
use crate::error::{Error, Result};
use crate::runs::{JobKey, Outcome, Pending, RunStore, Unfinished};

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
    let target = fact(last_commit(ready, run_id, stop).await);
    let mut last = match &target {
        TargetFact::Last(last) => last.clone(),
        TargetFact::Unknown(_) => None,
    };
    let mut recovered = Vec::new();
    for (id, decision) in commit::decide(&unfinished, &target, is_reset(last.as_ref())?)? {
        crash::point("settling");
        let (outcome, recovered_as) = match decision {
            Decision::Committed => (
                Outcome::Committed {
                    receipt: "{}".to_owned(),
                },
                RecoveredAs::AlreadyCommitted,
            ),
            Decision::CommitAgain(pending) => {
                let run = ready.run(&id, pending.base.clone());
                if let Err(failed) = commit(ready, &run, &pending).await {
                    if failed.is_over {
                        store.finish(&id, &Outcome::failed(&failed.error))?;
                    }
                    return Err(failed.error);
                }
                last = Some(LastCommit {
                    run: id.clone(),
                    state: pending.state,
                });
                (
                    Outcome::Committed {
                        receipt: "{}".to_owned(),
                    },
                    RecoveredAs::Published,
                )
            }
            Decision::Remove => {
                let run = ready.run(&id, None);
                let prepared = prepared_by(&unfinished, &id);
                if !discard(ready, &run, &prepared).await {
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

/// Commits `run`, and finds out what became of it where the answer is an error or none.
pub async fn commit(ready: &Ready, run: &Run, pending: &Pending) -> Result<Receipt, CommitFailed> {
    let failure = match send(ready, run, pending).await {
        Ok(receipt) => return Ok(receipt),
        Err(failure) => failure,
    };
    let found = last_commit(ready, &run.id, Stop::never()).await;
    let receipt = found
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .map(|last| last.receipt.clone());
    match commit::after_failure(&run.id, failure, &fact(found)) {
        AfterFailure::Committed => Ok(receipt.unwrap_or_default()),
        AfterFailure::Failed(error) => {
            let is_over = discard(ready, run, &pending.prepared).await;
            Err(CommitFailed { error, is_over })
        }
        AfterFailure::Unknown(error) => Err(CommitFailed {
            error,
            is_over: false,
        }),
    }
}

fn fact(answer: Result<Option<CommitRecord>>) -> TargetFact {
    match answer {
        Ok(last) => TargetFact::Last(last.map(|last| LastCommit {
            run: last.run,
            state: last.state,
        })),
        Err(error) => TargetFact::Unknown(error),
    }
}

fn prepared_by(unfinished: &[Unfinished], run: &str) -> Vec<String> {
    let found = unfinished.iter().find(|unfinished| unfinished.run == run);
    found
        .and_then(|found| found.pending.clone())
        .map(|pending| pending.prepared)
        .unwrap_or_default()
}

/// Asks the target for its last commit, in an instance of its own.
async fn last_commit(ready: &Ready, run_id: &str, stop: Stop) -> Result<Option<CommitRecord>> {
    let mut writer = ready
        .start_writer(run_id, "writer, last commit".to_owned(), stop)
        .await?;
    writer
        .last_commit(&ready.writer.config, &ready.tenant, &ready.job)
        .await
}

/// Sends a commit, in an instance of its own. A signal does not interrupt it: it is one step at the
/// target and bounded by the call's deadline.
async fn send(ready: &Ready, run: &Run, pending: &Pending) -> Result<Receipt> {
    let mut writer = ready
        .start_writer(&run.id, "writer, commit".to_owned(), Stop::never())
        .await?;
    let state = pending.state.as_deref();
    writer
        .commit(&ready.writer.config, run, &pending.prepared, state)
        .await
}

/// Removes what `run` staged. Best effort, within [`DISCARD_TIMEOUT`]: the next run tries again.
pub async fn discard(ready: &Ready, run: &Run, prepared: &[String]) -> bool {
    let abort = async {
        let mut writer = ready
            .start_writer(&run.id, "writer, abort".to_owned(), Stop::never())
            .await?;
        writer.abort(&ready.writer.config, run, prepared).await
    };
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
