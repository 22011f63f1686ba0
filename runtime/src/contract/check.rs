//! A contract held against every batch while it moves: what is good, what is refused, and why.
//!
//! One [`Enforcement`] a run, shared by its splits; one [`SplitCheck`] an attempt at a split. What an attempt
//! counted is added to the run once its rows are durable, so that nothing of a lost one is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::convert::Converted;
use super::dataset::Facts;
use super::mapping::{Origin, Planned};
use super::refused::{Reason, Subject, Tallies, Tally};
use super::unique::{Bringer, KeySet, Seen};
use super::{Column, Contract, Mapping, Mode, REASON_COLUMN, mask_batch, shorten};
use crate::error::{Error, Kind, Result};

/// A contract at work: what the splits of one run share.
pub struct Enforcement {
    pub mapping: Mapping,
    keys: Option<KeySet>,
    counts: Mutex<Counts>,
}

/// A contract at work in one attempt at a split.
pub struct SplitCheck {
    shared: Arc<Enforcement>,
    split: u32,
    bringer: Bringer,
    /// Rows of the batches before.
    rows: usize,
    counts: Counts,
}

/// What checked rows add up to.
#[derive(Default)]
struct Counts {
    tallies: Tallies,
    facts: Facts,
}

/// A batch held against the contract.
pub struct Checked {
    /// For the writer, masked. It may have no rows.
    pub good: RecordBatch,
    pub bad: Option<Bad>,
}

/// Rows that break the contract, as they were read, masked, each with its reasons.
pub struct Bad(pub RecordBatch);

/// One broken rule of one row.
struct Broken {
    reason: Reason,
    /// The value, where it may be shown.
    value: Option<String>,
}

/// The broken rules of a batch: by row, then in the order of the columns; keys come last.
type BrokenRows = BTreeMap<usize, Vec<(Rule, Broken)>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Of the contract's column with this index.
    Column(usize),
    Key,
}

impl Enforcement {
    pub fn new(mapping: Mapping) -> Self {
        let unique = mapping.contract.dataset.unique.as_ref();
        Self {
            keys: unique.map(|unique| KeySet::new(unique.memory_bytes)),
            mapping,
            counts: Mutex::default(),
        }
    }

    /// Attempts at one split are numbered from 0.
    pub fn split(self: &Arc<Self>, split: u32, attempt: u32) -> SplitCheck {
        SplitCheck {
            shared: self.clone(),
            split,
            bringer: Bringer::new(split, attempt),
            rows: 0,
            counts: Counts::default(),
        }
    }

    /// What was refused in the splits that are finished.
    pub fn tallies(&self) -> Vec<Tally> {
        self.counts().tallies.list()
    }

    /// Once every row was read: the rules about all of them together that are broken. They are errors
    /// in strict mode, and come back as warnings otherwise.
    pub fn verdict(&self, now: SystemTime) -> Result<Vec<String>> {
        let contract = self.contract();
        let mut broken = self.counts().facts.broken(contract, now);
        if contract.mode == Mode::Warn || broken.is_empty() {
            return Ok(broken);
        }
        let first = broken.remove(0);
        let mut error = Error::new(Kind::ContractBroken, first);
        for other in broken {
            error = error.with("also", other);
        }
        Err(error.hint(format!(
            "nothing was published; correct the source, or the rule under `dataset` in `{}`",
            contract.file
        )))
    }

    fn contract(&self) -> &Contract {
        &self.mapping.contract
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_reasons(
    contract: &Contract,
    rows: &RecordBatch,
    reasons: Vec<String>,
) -> Result<RecordBatch, ArrowError> {
    let masked = mask_batch(contract, rows)?;
    let mut fields: Vec<_> = masked.schema_ref().fields().iter().cloned().collect();
    fields.push(Field::new(REASON_COLUMN, DataType::Utf8, false).into());
    let mut columns = masked.columns().to_vec();
    columns.push(Arc::new(StringArray::from(reasons)));
    RecordBatch::try_new(Schema::new(fields).into(), columns)
}

fn failed(error: ArrowError) -> Error {
    Error::internal("a batch could not be held against its contract").caused_by(error)
}

impl SplitCheck {
    /// Tells good rows from bad ones. In strict mode the first bad row is an error.
    pub fn check(&mut self, batch: &RecordBatch) -> Result<Checked> {
        let mapping = &self.shared.mapping;
        let mut broken = BrokenRows::new();
        let mut columns = Vec::with_capacity(mapping.columns.len());
        for planned in &mapping.columns {
            columns.push(self.column(planned, batch, &mut broken).map_err(failed)?);
        }
        self.keys(&columns, batch.num_rows(), &mut broken)?;
        if self.shared.contract().mode == Mode::Strict
            && let Some((row, rules)) = broken.first_key_value()
            && let Some((rule, broken)) = rules.first()
        {
            return Err(self.refusal(*row, *rule, broken));
        }
        self.rows += batch.num_rows();
        self.part(batch, columns, broken).map_err(failed)
    }

    /// Adds what was counted to the run: every row of the split is durable.
    pub fn finish(self) {
        let mut run = self.shared.counts();
        run.tallies.add(self.counts.tallies);
        run.facts.add(self.counts.facts);
    }

    /// The values of one column of the output, before its mask.
    fn column(
        &self,
        planned: &Planned,
        batch: &RecordBatch,
        broken: &mut BrokenRows,
    ) -> Result<ArrayRef, ArrowError> {
        let contract = self.shared.contract();
        let (source, conversion) = match &planned.origin {
            Origin::Nulls => {
                return Ok(new_null_array(planned.field.data_type(), batch.num_rows()));
            }
            Origin::Source(at, conversion) => (batch.column(*at), conversion),
        };
        let Some((index, column)) = planned
            .column
            .and_then(|index| Some((index, contract.columns.get(index)?)))
        else {
            return Ok(source.clone());
        };
        let Converted { values, refused } = conversion.run(source, &column.kind)?;
        let mut note = |row, broken_rule| {
            let rules = broken.entry(row).or_default();
            rules.push((Rule::Column(index), broken_rule));
        };
        if let Some(refused) = refused {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(source.as_ref(), &options)?;
            for row in refused.set_indices() {
                let shown = || formatter.value(row).try_to_string();
                let value = match column.mask {
                    Some(_) => None,
                    None => Some(shorten(&shown()?)),
                };
                note(
                    row,
                    Broken {
                        reason: Reason::Type,
                        value,
                    },
                );
            }
        }
        if column.required
            && let Some(nulls) = source.logical_nulls().filter(has_nulls)
        {
            for row in (!nulls.inner()).set_indices() {
                note(
                    row,
                    Broken {
                        reason: Reason::Null,
                        value: None,
                    },
                );
            }
        }
        Ok(values)
    }

    /// Finds keys that were there before, among rows that break no other rule: a row that is refused
    /// must not keep a good one out.
    fn keys(&self, columns: &[ArrayRef], rows: usize, broken: &mut BrokenRows) -> Result<()> {
        let contract = self.shared.contract();
        let (Some(keys), Some(unique)) = (&self.shared.keys, &contract.dataset.unique) else {
            return Ok(());
        };
        let planned = self.shared.mapping.columns.iter().zip(columns);
        let of = |name: &String| {
            let mut planned = planned.clone();
            planned.find(|(planned, _)| planned.field.name() == name)
        };
        let key: Vec<ArrayRef> = unique
            .columns
            .iter()
            .filter_map(|name| of(name).map(|(_, values)| values.clone()))
            .collect();
        let fields = key
            .iter()
            .map(|values| SortField::new(values.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(failed)?;
        let encoded = converter.convert_columns(&key).map_err(failed)?;
        let nulls = key.iter().fold(None, |nulls: Option<NullBuffer>, values| {
            NullBuffer::union(nulls.as_ref(), values.logical_nulls().as_ref())
        });
        for row in 0..rows {
            // As in SQL, null is no value that could be there twice.
            let has_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            if has_null || broken.contains_key(&row) {
                continue;
            }
            match keys.insert(encoded.row(row).as_ref(), self.bringer) {
                Seen::First => {}
                Seen::Again => {
                    let value = self.shown_key(&key, row).map_err(failed)?;
                    let reason = Reason::Duplicate;
                    broken.insert(row, vec![(Rule::Key, Broken { reason, value })]);
                    if contract.mode == Mode::Strict {
                        break;
                    }
                }
                Seen::Full => return Err(self.full(keys)),
            }
        }
        Ok(())
    }

    /// The values of a key, unless one of them is masked.
    fn shown_key(&self, key: &[ArrayRef], row: usize) -> Result<Option<String>, ArrowError> {
        let names = self.key_names();
        let masked = |name: &String| {
            let columns = &self.shared.contract().columns;
            columns
                .iter()
                .any(|column| column.name == *name && column.mask.is_some())
        };
        if names.iter().any(masked) {
            return Ok(None);
        }
        let mut shown = Vec::new();
        for values in key {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(values.as_ref(), &options)?;
            shown.push(shorten(&formatter.value(row).try_to_string()?));
        }
        Ok(Some(shown.join(", ")))
    }

    fn key_names(&self) -> Vec<String> {
        let unique = self.shared.contract().dataset.unique.as_ref();
        unique
            .map(|unique| unique.columns.clone())
            .unwrap_or_default()
    }

    fn full(&self, keys: &KeySet) -> Error {
        let contract = self.shared.contract();
        Error::new(
            Kind::LimitExceeded,
            format!(
                "the run has more keys than the memory of contract `{}` holds, which is enough for {}",
                contract.name,
                keys.max_keys()
            ),
        )
        .hint("raise `dataset.unique.memory`; a key takes 20 bytes of it")
    }

    /// The batch in two: what goes to the writer, and what does not.
    fn part(
        &mut self,
        batch: &RecordBatch,
        mut columns: Vec<ArrayRef>,
        broken: BrokenRows,
    ) -> Result<Checked, ArrowError> {
        let shared = self.shared.clone();
        let contract = shared.contract();
        let mut bad = None;
        let mut rows = batch.num_rows();
        if !broken.is_empty() {
            rows -= broken.len();
            let is_good =
                BooleanBuffer::collect_bool(batch.num_rows(), |row| !broken.contains_key(&row));
            let is_bad = BooleanArray::new(!&is_good, None);
            let is_good = BooleanArray::new(is_good, None);
            for values in &mut columns {
                *values = filter(values, &is_good)?;
            }
            let reasons = broken
                .into_values()
                .map(|rules| self.reasons(rules))
                .collect();
            let refused = filter_record_batch(batch, &is_bad)?;
            bad = Some(Bad(with_reasons(contract, &refused, reasons)?));
        }
        self.counts.facts.add_rows(rows as u64);
        for (planned, values) in shared.mapping.columns.iter().zip(&mut columns) {
            let freshness = contract.dataset.freshness.as_ref();
            if freshness.is_some_and(|rule| rule.column == *planned.field.name()) {
                self.counts.facts.add_times(values)?;
            }
            let column = planned.column.and_then(|index| contract.columns.get(index));
            if let Some(mask) = column.and_then(|column| column.mask.as_ref()) {
                *values = mask.apply(&planned.field, values)?;
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let output = shared.mapping.output.clone();
        Ok(Checked {
            good: RecordBatch::try_new_with_options(output, columns, &options)?,
            bad,
        })
    }

    /// Counts the broken rules of a row and puts them into one text.
    fn reasons(&mut self, rules: Vec<(Rule, Broken)>) -> String {
        let mut reasons = Vec::new();
        for (rule, broken) in rules {
            reasons.push(self.sentence(rule, &broken));
            let subject = match rule {
                Rule::Column(index) => Subject::Column(self.column_name(index).to_owned()),
                Rule::Key => Subject::Key(self.key_names()),
            };
            let tallies = &mut self.counts.tallies;
            tallies.count(subject, broken.reason, 1, broken.value);
        }
        reasons.join("; ")
    }

    /// `column `amount`: `abc` is not a decimal(12,2)`.
    fn sentence(&self, rule: Rule, broken: &Broken) -> String {
        let Rule::Column(index) = rule else {
            let names = self.key_names().join("`, `");
            return match &broken.value {
                Some(value) => format!("key `{names}`: `{value}` is there already"),
                None => format!("key `{names}`: the value is there already"),
            };
        };
        let name = self.column_name(index);
        let column = self.shared.contract().columns.get(index);
        let kind = column.map_or(String::new(), |column: &Column| column.kind.with_article());
        match (broken.reason, &broken.value) {
            (Reason::Null, _) => format!("column `{name}`: null, and a value is required"),
            (_, Some(value)) => format!("column `{name}`: `{value}` is not {kind}"),
            (_, None) => format!("column `{name}`: the value is not {kind}"),
        }
    }

    fn column_name(&self, index: usize) -> &str {
        let column = self.shared.contract().columns.get(index);
        column.map_or("", |column| column.name.as_str())
    }

    /// The error that a bad row is in strict mode. Rows count from 1.
    fn refusal(&self, row: usize, rule: Rule, broken: &Broken) -> Error {
        let contract = self.shared.contract();
        let at = match rule {
            Rule::Column(index) => contract
                .columns
                .get(index)
                .and_then(|column| column.at.clone()),
            Rule::Key => None,
        };
        Error::new(
            Kind::ContractBroken,
            format!(
                "row {} of split {} breaks contract `{}`: {}",
                self.rows + row + 1,
                self.split,
                contract.name,
                self.sentence(rule, broken)
            ),
        )
        .at(at)
        .hint(format!(
            "nothing was published; correct the source, or set `mode: warn` in `{}` to put such rows into a dead letter",
            contract.file
        ))
    }
}

fn has_nulls(nulls: &NullBuffer) -> bool {
    nulls.null_count() > 0
}

#[cfg(test)]
mod tests;
