//! `state`: what a job will start from.

use std::path::Path;

use serde_json::{Value, json};

use super::job_verbs::NO_RUN;
use super::{Options, one};
use crate::error::{Error, Kind};
use crate::pipeline::{Ready, last_commit, state_json};
use crate::report;
use crate::runs::{JobKey, RunStore};

/// How many runs `state show` lists.
const SHOWN_RUNS: u32 = 10;

/// `state show`: the target's last commit and the last runs.
pub async fn show(path: &Path, options: &Options) -> super::Outcome {
    let (ready, store, key) = open(path, options).await?;
    let last = last_commit(&ready, NO_RUN).await.map_err(one)?;
    let last_run = last.as_ref().map(|last| last.run.as_str());
    let is_reset = store.is_reset(&key, last_run).map_err(one)?;
    let runs: Vec<Value> = store
        .history(&key, SHOWN_RUNS)
        .map_err(one)?
        .iter()
        .map(|run| json!(run))
        .collect();
    let state = last
        .as_ref()
        .and_then(|last| last.state.as_deref())
        .map(state_json);
    if options.json {
        report::json(&json!({
            "job": key.job, "tenant": key.tenant, "last_commit": last.as_ref().map(|last| &last.run),
            "state": if is_reset { None } else { state }, "reset": is_reset, "runs": runs,
        }));
        return Ok(());
    }
    report::result(&match (&last, is_reset) {
        (None, _) => format!(
            "job `{}` has no commit: the next run reads everything",
            key.job
        ),
        (Some(last), true) => format!(
            "job `{}` was reset after run {}: the next run reads everything",
            key.job, last.run
        ),
        (Some(last), false) => format!("job `{}` starts from run {}", key.job, last.run),
    });
    if let (Some(state), false) = (state, is_reset) {
        report::result(&format!("{state:#}"));
    }
    for run in runs {
        report::result(&format!("  {run}"));
    }
    Ok(())
}

/// `state reset`: the next run reads everything again.
pub async fn reset(path: &Path, options: &Options) -> super::Outcome {
    let (ready, store, key) = open(path, options).await?;
    let last = last_commit(&ready, NO_RUN)
        .await
        .map_err(one)?
        .map(|last| last.run);
    store.reset(&key, last.as_deref()).map_err(one)?;
    // A run that committed in between has moved the target on, and the mark stands for nothing.
    if last_commit(&ready, NO_RUN)
        .await
        .map_err(one)?
        .map(|last| last.run)
        != last
    {
        let conflict = format!("a run of job `{}` committed meanwhile", key.job);
        return Err(one(
            Error::new(Kind::StateConflict, conflict).hint("reset it again")
        ));
    }
    if options.json {
        report::json(&json!({ "job": key.job, "tenant": key.tenant, "reset_after": last }));
    } else {
        report::result(&format!(
            "job `{}` reads everything in its next run",
            key.job
        ));
    }
    Ok(())
}

async fn open(path: &Path, options: &Options) -> Result<(Ready, RunStore, JobKey), Vec<Error>> {
    let ready = options.ready(path).await?;
    let key = ready.key();
    Ok((ready, options.store()?, key))
}
