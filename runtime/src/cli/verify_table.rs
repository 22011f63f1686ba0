//! `verify JOB`: whether what the last runs of a job wrote to its Iceberg table is there.

use std::path::Path;

use serde_json::json;

use super::{Options, one};
use crate::error::{Error, Kind};
use crate::report;

/// How many runs are looked at.
const RUNS: usize = 10;

pub async fn verify(path: &Path, options: &Options) -> super::Outcome {
    let ready = options.ready(path).await?;
    let Some(tables) = ready.writer.tables() else {
        let message = format!(
            "{} keeps no table that can be read again",
            ready.writer.component.who()
        );
        return Err(one(Error::new(Kind::JobInvalid, message).hint(
            "name a job that writes to an Iceberg table, or the audit record of an encrypted run",
        )));
    };
    let found = tables.verify(&ready.writer.config, &ready.tenant, &ready.job, RUNS);
    let verified = found.await.map_err(|failure| one(failure.into()))?;
    let problems = verified.iter().flat_map(|run| {
        run.problems.iter().map(|problem| {
            Error::new(Kind::DataInvalid, problem.clone())
                .with("run_id", &run.run)
                .hint("restore the object from a version or a copy, or roll the table back to a snapshot before this run")
        })
    });
    let problems: Vec<Error> = problems.collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    if options.json {
        let runs = verified.iter().map(|run| {
            json!({ "run_id": run.run, "snapshot_id": run.snapshot, "files": run.files, "rows": run.rows, "status": "intact" })
        });
        report::json(
            &json!({ "job": ready.job, "tenant": ready.tenant, "runs": runs.collect::<Vec<_>>() }),
        );
        return Ok(());
    }
    if verified.is_empty() {
        report::result("the table has no snapshot of this job");
    }
    for run in &verified {
        report::result(&format!(
            "run {}, snapshot {}: {} files with {} rows are there as they were written",
            run.run, run.snapshot, run.files, run.rows
        ));
    }
    Ok(())
}
