//! One split: read in one instance, written in another, a bounded channel between them.
//!
//! Knows nothing of commits: it ends with what the writer prepared, durable and not visible.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::datatypes::{Schema, SchemaRef};

use super::channel::{Receiver, Sender, channel};
use super::crash;
use super::metrics::SplitMetrics;
use super::ready::Ready;
use crate::component::{Batches, ReaderInstance, Run, Stop, WriterInstance};
use crate::contract::{Bad, Checked, Enforcement};
use crate::data::{Batch, batch_bytes};
use crate::error::{Error, Kind, Result};

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

/// Reads `split` and stages its rows.
pub async fn transfer(
    shared: Arc<Shared>,
    index: u32,
    split: String,
    metrics: Arc<SplitMetrics>,
) -> Result<Done> {
    let (sender, receiver) = channel();
    let reading = tokio::spawn(read(shared.clone(), index, split, sender, metrics.clone()));
    let written = write(&shared, index, receiver, &metrics, reading).await;
    if written.is_ok() {
        metrics.progress_millionths.store(1_000_000, Relaxed);
    }
    written
}

async fn read(
    shared: Arc<Shared>,
    index: u32,
    split: String,
    sender: Sender,
    metrics: Arc<SplitMetrics>,
) -> Result<String> {
    let ready = &shared.ready;
    let name = format!("reader {}, split {index}", ready.reader.component.name);
    let mut reader = ready
        .open_reader(
            &shared.run.id,
            name,
            shared.state.as_deref(),
            shared.stop.clone(),
        )
        .await?;
    let batches = reader.read(&split).await?;
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
        if sender.send(batch).await.is_err() {
            // The writer failed and says why.
            return Err(Error::new(
                Kind::Cancelled,
                "the writer of this split ended first",
            ));
        }
    }
    reader.end(batches).await
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
    shared: &Shared,
    index: u32,
    mut receiver: Receiver,
    metrics: &SplitMetrics,
    reading: tokio::task::JoinHandle<Result<String>>,
) -> Result<Done> {
    let reading = AbortOnDrop(reading);
    let ready = &shared.ready;
    let name = format!("writer {}, split {index}", ready.writer.component.name);
    let mut writer = ready
        .start(&ready.writer, &shared.run.id, name, shared.stop.clone())
        .await?;
    writer
        .open(&ready.writer.config, shared.output(), &shared.run, index)
        .await?;
    let contract = shared.contract.as_ref();
    let mut check = contract.map(|contract| contract.split(index));
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
            reject(shared, index, &mut dead_letter, rows).await?;
            metrics.rows_rejected.fetch_add(rejected, Relaxed);
            crash::point("rows-rejected");
        }
    }
    // The channel also ends where the reader failed: only its answer tells a whole split from a cut one.
    let end = reading.joined().await?;
    crash::point("before-prepare");
    let prepared = writer.prepare().await?;
    crash::point("prepared");
    let dead_letter = match &mut dead_letter {
        Some(writer) => Some(writer.prepare().await?),
        None => None,
    };
    Ok(Done {
        end,
        prepared,
        dead_letter,
    })
}

/// Writes rows to the dead letter of this split, which the first of them opens.
async fn reject(
    shared: &Shared,
    index: u32,
    dead_letter: &mut Option<WriterInstance>,
    rows: Batch,
) -> Result<()> {
    let ready = &shared.ready;
    let Some(side) = &ready.dead_letter else {
        return Err(Error::internal(
            "rows were refused, and there is no dead letter",
        ));
    };
    let writer = match dead_letter {
        Some(writer) => writer,
        None => {
            let name = format!("dead letter, split {index}");
            let mut writer = ready
                .start(side, &shared.run.id, name, shared.stop.clone())
                .await?;
            writer
                .open(&side.config, rows.schema(), &shared.run, index)
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

/// Holds every batch against what the reader promised.
pub struct Checker {
    declared: SchemaRef,
    pub max_rows: u32,
    batches: u64,
    who: String,
}

impl Checker {
    pub fn new(declared: &SchemaRef, max_rows: u32, who: &str) -> Self {
        Self {
            declared: declared.clone(),
            max_rows,
            batches: 0,
            who: who.to_owned(),
        }
    }

    /// The batch under the declared schema, or what differs.
    pub fn check(&mut self, batch: Batch) -> Result<Batch> {
        self.batches += 1;
        if batch.num_rows() > self.max_rows as usize {
            return Err(Error::new(
                Kind::DataInvalid,
                format!(
                    "batch {} of {} has {} rows, and at most {} were asked for",
                    self.batches,
                    self.who,
                    batch.num_rows(),
                    self.max_rows
                ),
            ));
        }
        if let Some(difference) = difference(&self.declared, &batch.schema()) {
            return Err(Error::new(Kind::ContractBroken, difference)
                .with("component", &self.who)
                .with("batch", self.batches)
                .hint("the reader must yield the schema that it declared; its author needs this message"));
        }
        Ok(batch)
    }
}

/// How `found` differs from `declared` in names, types or nullability; metadata may differ.
fn difference(declared: &Schema, found: &Schema) -> Option<String> {
    let (wanted, got) = (declared.fields().len(), found.fields().len());
    for (wanted, got) in declared.fields().iter().zip(found.fields()) {
        if wanted.name() != got.name() {
            return Some(format!(
                "column `{}` stands where `{}` was declared",
                got.name(),
                wanted.name()
            ));
        }
        if wanted.data_type() != got.data_type() {
            return Some(format!(
                "column `{}` changed from {} to {}",
                wanted.name(),
                wanted.data_type(),
                got.data_type()
            ));
        }
        if got.is_nullable() && !wanted.is_nullable() {
            return Some(format!("column `{}` became nullable", wanted.name()));
        }
    }
    (wanted != got).then(|| format!("a batch has {got} columns, and {wanted} were declared"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn names_how_a_schema_differs() {
        let schema = |fields: &[(&str, DataType, bool)]| {
            Schema::new(
                fields
                    .iter()
                    .map(|(name, kind, null)| Field::new(*name, kind.clone(), *null))
                    .collect::<Vec<_>>(),
            )
        };
        let declared = schema(&[("amount", DataType::Int64, false)]);
        let check = |found: &[(&str, DataType, bool)], expected: Option<&str>| {
            assert_eq!(difference(&declared, &schema(found)).as_deref(), expected);
        };
        check(
            &[("amount", DataType::Utf8, false)],
            Some("column `amount` changed from Int64 to Utf8"),
        );
        check(
            &[("sum", DataType::Int64, false)],
            Some("column `sum` stands where `amount` was declared"),
        );
        check(
            &[("amount", DataType::Int64, true)],
            Some("column `amount` became nullable"),
        );
        check(&[], Some("a batch has 0 columns, and 1 were declared"));
        check(&[("amount", DataType::Int64, false)], None);
    }
}
