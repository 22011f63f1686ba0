//! One run of a process that serves: loaded, begun, reported, or refused; and what its end means for the next one.

use std::sync::Arc;

use serde_json::json;

use super::fleet::Entry;
use super::timetable::{Cause, Ended, Start};
use super::{Active, Server};
use crate::error::{Error, Kind, Retry};
use crate::job;
use crate::pipeline::{self, Context, Ready};
use crate::report::errors;
use crate::runs::{Beginning, Due, Outcome};

impl Server {
    /// One run, from its file to its report.
    pub(super) async fn execute(
        self: Arc<Self>,
        start: Start,
        entry: Entry,
        active: Active,
    ) -> Ended {
        let (key, run_id) = (&start.key, &active.run_id);
        // Before the work of loading a job that another process ran.
        match self.store.is_due(key, &beginning(&start)) {
            Ok(true) => {}
            Ok(false) => return Ended::Elsewhere,
            Err(error) => return unknown(start, &error),
        }
        tracing::info!(
            event = "job_running",
            run_id,
            tenant = key.tenant,
            job = key.job,
            cause = start.cause.name(),
            attempt = start.attempt
        );
        let options = self.settings.options.clone();
        let loaded = tokio::task::spawn_blocking(move || job::load(&entry.file, &options)).await;
        let ready = match loaded {
            Ok(draft) => Ready::new(draft, &self.components, &self.settings.plugins).await,
            Err(error) => Err(vec![
                Error::internal("a job could not be read").caused_by(error),
            ]),
        };
        let ready = match ready {
            Ok(ready) if ready.key() == *key => ready,
            Ok(_) => {
                let message = "the file of the job was changed into another";
                let error = Error::new(Kind::JobInvalid, message);
                return self.refuse_counted(&start, run_id, &[error]);
            }
            Err(errors) => return self.refuse_counted(&start, run_id, &errors),
        };
        let context = Context {
            run_id: run_id.clone(),
            beginning: Some(beginning(&start)),
            store: self.store.clone(),
            metrics: active.metrics,
            telemetry: self.telemetry.clone(),
            parallelism: ready
                .parallelism
                .unwrap_or_else(pipeline::default_parallelism),
            stop: active.stop,
        };
        let report = pipeline::run(ready, &context).await;
        if let (false, Some(error)) = (report.has_begun, &report.error) {
            return self.not_begun(start, error);
        }
        if let Err(error) = self
            .store
            .record_report(run_id, &report.summary().to_string())
        {
            tracing::warn!(
                run_id,
                problem = error.message(),
                "the report of a run is lost"
            );
        }
        let mut inner = self.lock();
        let counts = inner.counts(&key.tenant);
        counts.rows_written += report.rows_written;
        counts.bytes_written += report.bytes_written;
        counts.milliseconds += report.duration_ms;
        match &report.error {
            None => counts.succeeded += 1,
            Some(error) if error.kind() == Kind::Cancelled => counts.cancelled += 1,
            Some(_) => counts.failed += 1,
        }
        ended(report.error.as_ref())
    }

    /// What it means for a run that the run store did not begin it.
    fn not_begun(&self, start: Start, error: &Error) -> Ended {
        if error.kind() != Kind::StateConflict {
            return unknown(start, error);
        }
        tracing::info!(
            event = "job_elsewhere",
            tenant = start.key.tenant,
            job = start.key.job,
            reason = error.message()
        );
        match self.store.is_due(&start.key, &beginning(&start)) {
            Ok(false) => Ended::Elsewhere,
            _ => Ended::Busy(start),
        }
    }

    /// [`Self::refuse`], where nobody holds the lock.
    fn refuse_counted(&self, start: &Start, run_id: &str, errors: &[Error]) -> Ended {
        let ended = self.refuse(start, run_id, errors);
        if let Ended::Badly | Ended::MayPass(_) = ended {
            self.lock().counts(&start.key.tenant).failed += 1;
        }
        ended
    }

    /// Keeps a run that could not begin.
    pub(super) fn refuse(&self, start: &Start, run_id: &str, errors: &[Error]) -> Ended {
        let Some(first) = errors.first() else {
            return Ended::Badly;
        };
        tracing::warn!(
            event = "job_error",
            run_id,
            tenant = start.key.tenant,
            job = start.key.job,
            problem = first.message()
        );
        let begun = self
            .store
            .begin(&start.key, run_id, Some(&beginning(start)));
        let _lease = match begun {
            Ok(lease) => lease,
            Err(error) => return self.not_begun(start.clone(), &error),
        };
        let report = json!({
            "run_id": run_id, "job": start.key.job, "tenant": start.key.tenant, "status": "failed",
            "errors": errors::list_json(errors)["errors"], "error": errors::to_json(first),
        });
        let report = report.to_string();
        self.telemetry.summary(&report);
        let finished = self.store.finish(run_id, &Outcome::failed(first));
        if let Err(error) = finished.and_then(|()| self.store.record_report(run_id, &report)) {
            tracing::warn!(
                run_id,
                problem = error.message(),
                "the report of a run is lost"
            );
        }
        ended(Some(first))
    }
}

fn beginning(start: &Start) -> Beginning {
    Beginning {
        cause: start.cause.name(),
        due: start.due.map(|due| Due {
            first_ms: due.first.timestamp_millis(),
            last_ms: due.last.timestamp_millis(),
        }),
        is_recovery: start.cause == Cause::Recovery,
    }
}

/// A run that the store could not be asked about.
fn unknown(start: Start, error: &Error) -> Ended {
    tracing::warn!(
        event = "job_error",
        tenant = start.key.tenant,
        job = start.key.job,
        problem = error.message(),
        "the run did not begin"
    );
    Ended::Unknown(start)
}

/// What the end of a run means for the next one.
fn ended(error: Option<&Error>) -> Ended {
    let Some(error) = error else {
        return Ended::Well;
    };
    match error.kind().retry() {
        // A run begins with asking the target what became of the one before, so that a commit without an answer is settled first.
        Retry::Backoff | Retry::AfterCheck => {
            Ended::MayPass(error.retry_after().unwrap_or_default())
        }
        Retry::Never => Ended::Badly,
    }
}
