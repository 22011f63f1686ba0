//! One split: read in one instance, written in another, a bounded channel between them. Where its source is lost,
//! both begin again.
//!
//! Knows nothing of commits: it ends with what the writer prepared, durable and not visible. What a lost attempt
//! staged is named by nobody; the writer removes it when the run commits or is aborted.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use arrow::datatypes::SchemaRef;

use super::channel::{Closed, Receiver, Sender, channel};
use super::checker::Checker;
use super::crash;
use super::metrics::SplitMetrics;
use super::ready::Ready;
use super::retry;
use crate::component::{Batches, ReaderInstance, Run, Stop, WriterInstance};
use crate::contract::{Bad, Checked, Enforcement};
use crate::data::{Batch, batch_bytes};
use crate::error::{Error, Kind, Result};
use crate::trace::{Span, What};
use crate::traffic;

/// A reader that yields this many batches without a row is taken for stuck.
const MAX_EMPTY_BATCHES: u32 = 10_000;

/// What every split of a run shares.
pub struct Shared {
    pub ready: Ready,
    pub run: Run,
    pub state: Option<String>,
    /// What the reader declared.
    pub schema: SchemaRef,
    pub contract: Option<Arc<Enforcement>>,
    pub stop: Stop,
}

impl Shared {
    /// What the writer gets.
    fn output(&self) -> SchemaRef {
        match &self.contract {
            Some(contract) => contract.mapping.output.clone(),
            None => self.schema.clone(),
        }
    }
}

/// A split that was read to its end and whose rows are durable at the target.
pub struct Done {
    /// What `batches.end` said, for `reader.state`.
    pub end: String,
    /// What `writer.prepare` said, for `commit`.
    pub prepared: String,
    /// The same of the dead letter, where a row went there.
    pub dead_letter: Option<String>,
}

/// One attempt at one split.
#[derive(Clone)]
struct Attempt {
    shared: Arc<Shared>,
    index: u32,
    /// Attempts before this one.
    retries: u32,
    split: String,
    metrics: Arc<SplitMetrics>,
}

/// An attempt that failed. Its instances are gone.
struct Failed {
    error: Error,
    is_of_reader: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_of_reader: false,
        }
    }
}

/// Reads `split` and stages its rows; again from its start where its source is lost.
pub async fn transfer(
    shared: Arc<Shared>,
    index: u32,
    split: String,
    metrics: Arc<SplitMetrics>,
) -> Result<Done> {
    let (trace, start, counts) = (
        shared.ready.trace.clone(),
        SystemTime::now(),
        metrics.clone(),
    );
    let done = attempts(shared, index, split, metrics).await;
    if let Some(trace) = trace {
        let what = What::Split {
            index,
            rows: counts.rows_written.load(Relaxed),
            error: done.as_ref().err().map(|error| error.kind().name()),
        };
        let end = SystemTime::now();
        trace.add(Span { what, start, end });
    }
    done
}

async fn attempts(
    shared: Arc<Shared>,
    index: u32,
    split: String,
    metrics: Arc<SplitMetrics>,
) -> Result<Done> {
    let mut attempt = Attempt {
        shared,
        index,
        retries: 0,
        split,
        metrics,
    };
    loop {
        let this = Arc::new(attempt.clone());
        let (sender, receiver) = channel(attempt.shared.ready.limits.batch_rows);
        let reading = tokio::spawn({
            let cpu = this.shared.ready.cpu.clone();
            cpu.task(read(this.clone(), sender))
        });
        let Failed {
            error,
            is_of_reader,
        } = match write(&this, receiver, reading).await {
            Ok(done) => {
                this.metrics.progress_millionths.store(1_000_000, Relaxed);
                return Ok(done);
            }
            Err(failed) => failed,
        };
        let wait = retry::wait(&error, attempt.retries, random()).filter(|_| is_of_reader);
        let Some(wait) = wait else {
            return Err(match attempt.retries {
                0 => error,
                retries => error.with("retries", retries),
            });
        };
        crash::point("split-lost");
        attempt.begin_again(&error, wait).await?;
    }
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
}

impl Attempt {
    /// Undoes what this attempt counted, and waits to begin the next one.
    async fn begin_again(&mut self, lost: &Error, wait: Duration) -> Result<()> {
        self.metrics.begin_again();
        self.retries += 1;
        tracing::warn!(
            event = "split_retried",
            run_id = self.shared.run.id,
            tenant = self.shared.run.tenant,
            split = self.index,
            retry = self.retries,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            problem = lost.to_string(),
            "the source was lost; after the wait, the split is read again from its start"
        );
        let mut stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            () = stop.requested() => {
                Err(Error::new(Kind::Cancelled, "the run was stopped"))
            }
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// What an instance is called in logs.
    fn instance(&self, role: &str) -> String {
        match self.retries {
            0 => format!("{role}, split {}", self.index),
            retry => format!("{role}, split {}, retry {retry}", self.index),
        }
    }
}

async fn read(this: Arc<Attempt>, mut sender: Sender) -> Result<String> {
    let (shared, metrics) = (&this.shared, &this.metrics);
    let (ready, mut stop) = (&shared.ready, shared.stop.clone());
    let name = this.instance(&format!("reader {}", ready.reader.component.name));
    let mut reader = ready
        .open_reader(
            &shared.run.id,
            name,
            shared.state.as_deref(),
            shared.stop.clone(),
        )
        .await?;
    let batches = reader.read(&this.split).await?;
    let mut checker = Checker::new(
        &shared.schema,
        ready.limits.batch_rows,
        &ready.reader.component.who(),
    );
    while let Some(batch) = next(&mut reader, batches, &mut checker).await? {
        if let Some(progress) = reader.progress(batches).await? {
            metrics
                .progress_millionths
                .store(millionths(progress), Relaxed);
        }
        metrics.batch_read(batch.num_rows() as u64, batch_bytes(&batch));
        crash::point("batch-read");
        sender.send(batch).await.map_err(|Closed| writer_ended())?;
        tokio::select! {
            () = traffic::settle(&shared.run.tenant) => {}
            () = stop.requested() => {}
        }
    }
    sender.flush().await.map_err(|Closed| writer_ended())?;
    reader.end(batches).await
}

/// The writer failed and says why.
fn writer_ended() -> Error {
    Error::new(Kind::Cancelled, "the writer of this split ended first")
}

/// The next batch with rows, checked.
async fn next(
    reader: &mut ReaderInstance,
    batches: Batches,
    checker: &mut Checker,
) -> Result<Option<Batch>> {
    for _ in 0..MAX_EMPTY_BATCHES {
        let Some(batch) = reader.next(batches, checker.max_rows).await? else {
            return Ok(None);
        };
        let batch = checker.check(batch)?;
        if batch.num_rows() > 0 {
            return Ok(Some(batch));
        }
    }
    Err(Error::new(
        Kind::GuestFailed,
        format!(
            "{} yielded {MAX_EMPTY_BATCHES} batches in a row without a row",
            checker.who
        ),
    ))
}

fn millionths(share: f32) -> u64 {
    // Of a guest: NaN becomes 0 and everything else is clamped.
    (f64::from(share).clamp(0.0, 1.0) * 1e6) as u64
}

async fn write(
    this: &Attempt,
    mut receiver: Receiver,
    reading: tokio::task::JoinHandle<Result<String>>,
) -> Result<Done, Failed> {
    let reading = AbortOnDrop(reading);
    let (shared, metrics) = (&this.shared, &this.metrics);
    let ready = &shared.ready;
    let name = this.instance(&format!("writer {}", ready.writer.component.name));
    let mut writer = ready
        .start(&ready.writer, &shared.run.id, name, shared.stop.clone())
        .await?;
    writer
        .open(
            &ready.writer.config,
            shared.output(),
            &shared.run,
            this.index,
        )
        .await?;
    let contract = shared.contract.as_ref();
    let mut check = contract.map(|contract| contract.split(this.index, this.retries));
    let mut dead_letter = None;
    while let Some(batch) = receiver.next().await {
        let (good, bad) = match &mut check {
            Some(check) => {
                let Checked { good, bad } = check.check(&batch)?;
                (good, bad)
            }
            None => (batch, None),
        };
        let rows = good.num_rows() as u64;
        if rows > 0 {
            writer.write(good).await?;
            metrics.rows_written.fetch_add(rows, Relaxed);
            crash::point("batch-written");
        }
        if let Some(Bad(rows)) = bad {
            let rejected = rows.num_rows() as u64;
            reject(this, &mut dead_letter, rows).await?;
            metrics.rows_rejected.fetch_add(rejected, Relaxed);
            crash::point("rows-rejected");
        }
    }
    // The channel also ends where the reader failed: only its answer tells a whole split from a cut one.
    let end = reading.joined().await.map_err(|error| Failed {
        error,
        is_of_reader: true,
    })?;
    crash::point("before-prepare");
    let prepared = writer.prepare().await?;
    crash::point("prepared");
    let dead_letter = match &mut dead_letter {
        Some(writer) => Some(writer.prepare().await?),
        None => None,
    };
    if let Some(check) = check {
        check.finish();
    }
    Ok(Done {
        end,
        prepared,
        dead_letter,
    })
}

/// Writes rows to the dead letter of this split, which the first of them opens.
async fn reject(
    this: &Attempt,
    dead_letter: &mut Option<WriterInstance>,
    rows: Batch,
) -> Result<()> {
    let shared = &this.shared;
    let ready = &shared.ready;
    let Some(side) = &ready.dead_letter else {
        return Err(Error::internal(
            "rows were refused, and there is no dead letter",
        ));
    };
    let writer = match dead_letter {
        Some(writer) => writer,
        None => {
            let name = this.instance("dead letter");
            let mut writer = ready
                .start(side, &shared.run.id, name, shared.stop.clone())
                .await?;
            writer
                .open(&side.config, rows.schema(), &shared.run, this.index)
                .await?;
            dead_letter.insert(writer)
        }
    };
    writer.write(rows).await
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<Result<String>>);

impl AbortOnDrop {
    async fn joined(mut self) -> Result<String> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) => Err(Error::internal("the task of a reader ended").caused_by(error)),
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
