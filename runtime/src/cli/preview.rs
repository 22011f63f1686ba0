//! `preview`: the first rows of a source, as a table.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use serde_json::{Value, json};

use super::{Options, one};
use crate::component::Stop;
use crate::contract::mask_batch;
use crate::error::Error;
use crate::pipeline::{Checker, Ready};
use crate::report;

/// Reads up to `rows` rows, from the beginning and not from the last commit, and writes nothing.
pub async fn preview(path: &Path, rows: u32, options: &Options) -> super::Outcome {
    let ready = options.ready(path).await?;
    let batches = first_rows(&ready, rows).await.map_err(one)?;
    let table = pretty_format_batches(&batches).map_err(|error| {
        one(Error::internal("the rows cannot be shown as a table").caused_by(error))
    })?;
    if options.json {
        let columns: Vec<&String> = batches
            .iter()
            .take(1)
            .flat_map(|batch| batch.schema_ref().fields())
            .map(|f| f.name())
            .collect();
        report::json(&json!({ "columns": columns, "rows": cells(&batches).map_err(one)? }));
    } else {
        report::result(&table.to_string());
    }
    Ok(())
}

async fn first_rows(ready: &Ready, rows: u32) -> Result<Vec<RecordBatch>, Error> {
    let mut reader = ready
        .open_reader("none", "reader".to_owned(), None, Stop::never())
        .await?;
    let schema = reader.schema().await?;
    let mut checker = Checker::new(&schema, rows.max(1), &ready.reader.component.who());
    let mut left = rows as usize;
    let mut found = Vec::new();
    for split in reader.splits(1).await? {
        let batches = reader.read(&split).await?;
        while left > 0
            && let Some(batch) = reader.next(batches, checker.max_rows).await?
        {
            let batch = checker.check(batch)?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            found.push(masked(ready, batch)?);
        }
    }
    if found.is_empty() {
        found.push(masked(ready, RecordBatch::new_empty(schema))?);
    }
    Ok(found)
}

/// Rows as they are at the source, but for what nobody may see.
fn masked(ready: &Ready, batch: RecordBatch) -> Result<RecordBatch, Error> {
    let Some(contract) = &ready.contract else {
        return Ok(batch);
    };
    mask_batch(contract, &batch)
        .map_err(|error| Error::internal("rows could not be masked").caused_by(error))
}

/// Every cell as text, nulls as null.
fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<Value>>, Error> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let unshowable = |error| Error::internal("a value cannot be shown as text").caused_by(error);
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()
            .map_err(unshowable)?;
        for row in 0..batch.num_rows() {
            let cell = |(column, text): (&arrow::array::ArrayRef, &ArrayFormatter<'_>)| {
                if column.is_null(row) {
                    Value::Null
                } else {
                    Value::String(text.value(row).to_string())
                }
            };
            rows.push(batch.columns().iter().zip(&columns).map(cell).collect());
        }
    }
    Ok(rows)
}
