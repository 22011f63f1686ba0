//! `run`: one job, or every job of a directory.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{Options, one, parallelism as splits, worst};
use crate::component::Stop;
use crate::error::{Error, Kind};
use crate::pipeline::{self, Context, Metrics, RunReport};
use crate::report::{self, Progress};
use crate::telemetry::Telemetry;

/// Runs `path` and returns the exit code: of the run, or the worst of several.
pub async fn run(
    path: &Path,
    parallelism: Option<NonZeroU32>,
    summaries: Option<&str>,
    options: &Options,
) -> Result<u8, Vec<Error>> {
    let telemetry = Arc::new(Telemetry::start(summaries).map_err(one)?);
    let outcome = run_all(path, parallelism, options, &telemetry).await;
    telemetry.close().await;
    outcome
}

async fn run_all(
    path: &Path,
    parallelism: Option<NonZeroU32>,
    options: &Options,
    telemetry: &Arc<Telemetry>,
) -> Result<u8, Vec<Error>> {
    let (switch, stop) = Stop::switch();
    let mut signals = Signals::new().map_err(one)?;
    tokio::spawn(async move {
        signals.next().await;
        report::note("stopping: what is staged is removed; a second signal ends at once");
        switch.send_replace(true);
        signals.next().await;
        std::process::exit(i32::from(Kind::Cancelled.exit_code()));
    });
    if !path.is_dir() {
        return match run_one(path, parallelism, options, telemetry, &stop).await {
            Ok(report) => {
                show(&report, options);
                Ok(exit_code(&report))
            }
            Err(errors) if options.json => {
                report::json(&refused_json(path, &errors));
                report::errors(&errors);
                Ok(worst(&errors))
            }
            Err(errors) => Err(errors),
        };
    }
    let mut reports = Vec::new();
    let mut refused = Vec::new();
    for job in job_files(path).map_err(one)? {
        if stop.is_requested() {
            break;
        }
        match run_one(&job, parallelism, options, telemetry, &stop).await {
            Ok(report) => {
                if !options.json {
                    report::run(&report);
                }
                reports.push(report);
            }
            // A job that cannot start does not keep the others from running.
            Err(errors) => {
                report::errors(&errors);
                refused.extend(errors);
            }
        }
    }
    if options.json {
        report::json(
            &json!({ "runs": reports, "refused": report::errors::list_json(&refused)["errors"] }),
        );
    }
    let failed = reports.iter().filter_map(|report| report.error.clone());
    refused.extend(failed);
    Ok(if refused.is_empty() {
        0
    } else {
        worst(&refused)
    })
}

async fn run_one(
    job: &Path,
    parallelism: Option<NonZeroU32>,
    options: &Options,
    telemetry: &Arc<Telemetry>,
    stop: &Stop,
) -> Result<RunReport, Vec<Error>> {
    let ready = options.ready(job).await?;
    let metrics = Arc::<Metrics>::default();
    let context = Context {
        run_id: pipeline::new_run_id(),
        beginning: None,
        store: options.store()?,
        metrics: metrics.clone(),
        telemetry: telemetry.clone(),
        parallelism: splits(parallelism, ready.parallelism),
        stop: stop.clone(),
    };
    let _progress = Progress::show(metrics, options.json);
    Ok(pipeline::run(ready, &context).await)
}

fn show(report: &RunReport, options: &Options) {
    if options.json {
        report::json(&json!(report));
        report::errors(report.error.as_slice());
    } else {
        report::run(report);
    }
}

/// The summary of a run that did not begin, with the keys of [`RunReport`] that scripts rely on.
fn refused_json(job: &Path, errors: &[Error]) -> Value {
    let errors: Vec<Value> = errors.iter().map(report::errors::to_json).collect();
    json!({
        "run_id": null, "job": job.file_stem().map(|name| name.to_string_lossy()), "tenant": null,
        "status": "failed", "splits": 0, "retries": 0, "rows_read": 0, "rows_written": 0, "rows_rejected": 0,
        "bytes_written": 0, "outputs": [], "contract": null, "rejected": [], "dead_letter": [],
        "warnings": [], "state": null, "duration_ms": 0, "peak_memory_bytes": 0,
        "error": errors.first(), "errors": errors,
    })
}

fn exit_code(report: &RunReport) -> u8 {
    report
        .error
        .as_ref()
        .map_or(0, |error| error.kind().exit_code())
}

/// The `.yaml` and `.yml` files of a directory, by name.
fn job_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Error::new(
            Kind::JobInvalid,
            format!("cannot read `{}`", folder.display()),
        )
        .caused_by(error)
    })?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Error::new(
            Kind::JobInvalid,
            format!("`{}` holds no `.yaml` file", folder.display()),
        ));
    }
    Ok(files)
}

/// Ctrl-C and SIGTERM.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub fn new() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::internal("signals cannot be listened to").caused_by(error))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
