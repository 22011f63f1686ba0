//! The run loop: settle what an earlier run left, read and stage split by split, commit, remember.
//!
//! Knows components by their calls and the run store by its verbs; `commit.rs` decides what to do
//! after a crash, `settle.rs` does it.

mod channel;
mod checker;
mod clean;
pub mod commit;
pub mod crash;
mod envelope;
mod guard;
mod metrics;
mod places;
mod ready;
mod report;
mod retry;
mod settle;
mod split;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arrow::datatypes::SchemaRef;
use tokio::task::JoinSet;

use crate::component::{ReaderInstance, Stop};
use crate::contract::{Enforcement, Mapping};
use crate::error::{Error, Kind, Result};
use crate::runs::{Beginning, JobKey, Outcome, Pending, RunStore};
use crate::telemetry::Telemetry;
pub use checker::Checker;
pub use clean::{Cleaned, clean};
use commit::LastCommit;
use envelope::DeadLetterCommit;
use guard::Guard;
pub use metrics::{Metrics, Totals};
pub use ready::Ready;
pub use report::{RunReport, Status, state_json};
pub use settle::{Recovered, last_commit};
use split::{Done, Shared};

/// What a run needs beside its job.
pub struct Context {
    /// A new one, as [`new_run_id`] makes them.
    pub run_id: String,
    /// Why it begins, where somebody wants to know later.
    pub beginning: Option<Beginning>,
    pub store: RunStore,
    pub metrics: Arc<Metrics>,
    pub telemetry: Arc<Telemetry>,
    /// How many splits the reader is asked for.
    pub parallelism: NonZeroU32,
    /// The user's signal.
    pub stop: Stop,
}

/// How many splits the reader of a job is asked for that does not say: one for each processor.
pub fn default_parallelism() -> NonZeroU32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

/// An id that sorts by the time at which it was made.
pub fn new_run_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Runs a job once, from the state of its last commit, and reports whatever happens.
pub async fn run(mut ready: Ready, context: &Context) -> RunReport {
    let (start, began) = (Instant::now(), SystemTime::now());
    let trace = context.telemetry.trace();
    ready.trace = trace.clone();
    let mut report = RunReport::new(context.run_id.clone(), &ready);
    tracing::info!(
        event = "job_started",
        run_id = report.run_id,
        tenant = report.tenant,
        job = report.job
    );
    let http = ready.http();
    let cpu = ready.cpu.clone();
    let outcome = cpu.pay_for(attempt(ready, context, &mut report)).await;
    report.set_http(&http);
    report.finish(outcome, &context.metrics, start.elapsed());
    if report.has_begun {
        let telemetry = &context.telemetry;
        telemetry.run_ended(&report, began, trace.as_deref());
    }
    tracing::info!(
        event = "job_finished",
        run_id = report.run_id,
        tenant = report.tenant,
        job = report.job,
        status = report.status.name(),
        rows_read = report.rows_read,
        rows_written = report.rows_written,
        rows_rejected = report.rows_rejected,
        retries = report.retries,
        bytes_written = report.bytes_written,
        http_requests = report.http.map(|http| http.requests),
        http_retries = report.http.map(|http| http.retries),
        http_waited_ms = report.http.map(|http| http.waited_ms),
        duration_ms = report.duration_ms
    );
    report
}

async fn attempt(ready: Ready, context: &Context, report: &mut RunReport) -> Result<()> {
    let run_id = report.run_id.clone();
    let key = ready.key();
    let beginning = context.beginning.as_ref();
    let lease = context.store.begin(&key, &run_id, beginning)?;
    report.has_begun = true;
    crash::point("begun");
    let guard = Guard::start(lease, ready.limits.deadline, context.stop.clone());
    let outcome = transfer(ready, &key, context, &guard, report).await;
    let is_clean = outcome.as_ref().err().is_none_or(|failed| failed.is_clean);
    let outcome = outcome.map_err(|failed| failed.error);
    // A call that was stopped says only that; the guard knows why.
    let outcome = outcome.map_err(|error| match error.kind() {
        Kind::Cancelled => guard.reason().unwrap_or(error),
        _ => error,
    });
    let ended = match &outcome {
        Ok(outcome) => context.store.finish(&run_id, outcome),
        // The run stays unfinished: the next one asks the target what became of it, or removes the rest.
        Err(error) if error.kind() == Kind::CommitUnknown || !is_clean => Ok(()),
        Err(error) => context.store.finish(&run_id, &Outcome::failed(error)),
    };
    crash::point("finished");
    outcome.and(ended)
}

/// A run that failed, and whether anything that it staged is left.
struct Failed {
    error: Error,
    is_clean: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_clean: true,
        }
    }
}

/// Everything between taking the lease and giving it back.
async fn transfer(
    ready: Ready,
    key: &JobKey,
    context: &Context,
    guard: &Guard,
    report: &mut RunReport,
) -> Result<Outcome, Failed> {
    let settled = settle::settle(&ready, &context.store, key, &report.run_id, guard.stop()).await?;
    report.recovered = settled.recovered;
    report.set_state(settled.target_state.as_deref());

    let run = ready.run(&report.run_id, settled.base);
    let name = format!("reader {}, plan", ready.reader.component.name);
    let mut planner = ready
        .open_reader(&run.id, name, settled.state.as_deref(), guard.stop())
        .await?;
    let schema = planner.schema().await?;
    tracing::debug!(event = "extractor_initialized", run_id = run.id);
    let contract = enforcement(&ready, &schema, report)?;
    let splits = splits(&mut planner, context.parallelism, &ready).await?;
    if splits.is_empty() {
        tracing::info!(
            event = "no_batches_extracted",
            run_id = run.id,
            tenant = run.tenant
        );
        return Ok(Outcome::Empty);
    }
    let state = settled.state;
    let shared = Arc::new(Shared {
        ready,
        run,
        state,
        schema,
        contract,
        stop: guard.stop(),
    });

    report.splits = splits.len();
    tracing::info!(
        event = "extraction_started",
        run_id = shared.run.id,
        tenant = shared.run.tenant,
        splits = report.splits
    );
    // A signal that came while the last split was prepared still stops the run; after this, it commits.
    let staged = stage(&shared, splits, &mut planner, context, guard, report).await;
    let pending = match staged.and_then(|pending| guard.reason().map_or(Ok(pending), Err)) {
        Ok(pending) => pending,
        Err(error) => {
            guard.stop_all();
            let is_clean = settle::discard(&shared.ready, &shared.run, None).await;
            return Err(Failed { error, is_clean });
        }
    };
    drop(planner);
    tracing::info!(
        event = "extraction_complete",
        run_id = shared.run.id,
        tenant = shared.run.tenant,
        rows = context.metrics.totals().rows_read
    );
    crash::point("before-pending");
    if let Err(error) = context.store.record_pending(&shared.run.id, &pending) {
        // It may have been recorded, where the answer was lost: half of what it would publish is nothing to commit.
        let is_clean = context.store.withdraw(&shared.run.id).is_ok()
            && settle::discard(&shared.ready, &shared.run, Some(&pending)).await;
        return Err(Failed { error, is_clean });
    }
    crash::point("pending");
    let committed = settle::commit(&shared.ready, &context.store, &shared.run, &pending)
        .await
        .map_err(|failed| {
            tracing::warn!(
                event = "commit_failed",
                run_id = shared.run.id,
                tenant = shared.run.tenant,
                problem = failed.error.message()
            );
            Failed {
                error: failed.error,
                is_clean: failed.is_over,
            }
        })?;
    tracing::info!(
        event = "commit_success",
        run_id = shared.run.id,
        tenant = shared.run.tenant,
        files = committed.receipt.outputs.len()
    );
    crash::point("committed");
    report.set_committed(&committed, context.metrics.totals());
    report.set_state(
        LastCommit::read(shared.run.id.clone(), pending.state)
            .state
            .as_deref(),
    );
    Ok(Outcome::Committed {
        receipt: report.receipt_json(),
    })
}

/// The job's contract, held against the schema of the source: refused here, before any data moves.
fn enforcement(
    ready: &Ready,
    schema: &SchemaRef,
    report: &mut RunReport,
) -> Result<Option<Arc<Enforcement>>> {
    let Some(contract) = &ready.contract else {
        return Ok(None);
    };
    let mapping = Mapping::new(contract, schema).map_err(|problems| {
        let several = format!("the source does not fit contract `{}`", contract.name);
        match <[Error; 1]>::try_from(problems) {
            Ok([only]) => only,
            Err(problems) => problems
                .iter()
                .fold(Error::new(Kind::ContractBroken, several), Error::caused_by)
                .hint("`dativo-wasm check` shows each problem with its remedy"),
        }
    })?;
    report.warnings.extend(mapping.warnings.iter().cloned());
    Ok(Some(Arc::new(Enforcement::new(mapping))))
}

async fn splits(
    planner: &mut ReaderInstance,
    parallelism: NonZeroU32,
    ready: &Ready,
) -> Result<Vec<String>> {
    let splits = planner.splits(parallelism.get()).await?;
    if splits.len() > parallelism.get() as usize {
        return Err(Error::new(
            Kind::GuestFailed,
            format!(
                "{} made {} splits where at most {parallelism} were asked for",
                ready.reader.component.who(),
                splits.len()
            ),
        ));
    }
    Ok(splits)
}

/// Reads all splits side by side into staged outputs, and asks the reader for the state they lead to.
async fn stage(
    shared: &Arc<Shared>,
    splits: Vec<String>,
    planner: &mut ReaderInstance,
    context: &Context,
    guard: &Guard,
    report: &mut RunReport,
) -> Result<Pending> {
    let mut tasks = JoinSet::new();
    let mut done: Vec<Option<Done>> = splits.iter().map(|_| None).collect();
    for (index, split) in (0..).zip(splits) {
        let (shared, metrics) = (shared.clone(), context.metrics.split());
        let cpu = shared.ready.cpu.clone();
        let work = async move { (index, split::transfer(shared, index, split, metrics).await) };
        tasks.spawn(cpu.task(work));
    }
    let mut failure: Option<Error> = None;
    while let Some(joined) = tasks.join_next().await {
        let error = match joined {
            Ok((index, Ok(split))) => {
                if let Some(place) = done.get_mut(index as usize) {
                    *place = Some(split);
                }
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(error) => Error::internal("the task of a split ended").caused_by(error),
        };
        guard.stop_all();
        // The first failure stops the other splits; that they were stopped is no news.
        if failure
            .as_ref()
            .is_none_or(|first| first.kind() == Kind::Cancelled)
        {
            failure = Some(error);
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let (mut ends, mut prepared, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for done in done.into_iter().flatten() {
        ends.push(done.end);
        prepared.push(done.prepared);
        rejected.extend(done.dead_letter);
    }
    if let Some(contract) = &shared.contract {
        report.rejected = contract.tallies();
        report.warnings.extend(contract.verdict(SystemTime::now())?);
    }
    let state = planner.state(&ends).await?;
    let dead_letter = dead_letter(shared, rejected, context.metrics.totals()).await?;
    Ok(Pending {
        prepared,
        state: envelope::seal(state, dead_letter),
        base: shared.run.base.clone(),
    })
}

/// The commit of the dead letter, where there is one to make.
async fn dead_letter(
    shared: &Shared,
    prepared: Vec<String>,
    totals: Totals,
) -> Result<Option<DeadLetterCommit>> {
    let Some(side) = &shared.ready.dead_letter else {
        return Ok(None);
    };
    let (ready, stop) = (&shared.ready, shared.stop.clone());
    if prepared.is_empty() {
        // A commit removes what lost attempts staged, and here will be none.
        if totals.retries > 0 {
            settle::remove(ready, side, &shared.run, &[], stop).await?;
        }
        return Ok(None);
    }
    Ok(Some(DeadLetterCommit {
        path: side.path.clone().unwrap_or_default(),
        base: settle::dead_letter_base(ready, side, &shared.run, stop).await?,
        prepared,
        rows: totals.rows_rejected,
    }))
}
