//! Rows that wait to be sorted: a file holds them in order, so they are gathered first.
//!
//! Pure.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, filter_record_batch, lexsort_to_indices,
    take_record_batch,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use iceberg::spec::{NullOrder, Schema, SortDirection, SortOrder, Transform};

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::iceberg::upsert::key_columns;

/// Rows that are handed to the encoder at a time.
const ROWS_PER_BATCH: usize = 65_536;

#[derive(Default)]
pub struct Buffer {
    batches: Vec<RecordBatch>,
    bytes: u64,
}

/// Rows can be sorted by values of columns alone.
pub fn check(order: &SortOrder) -> Result<()> {
    match order
        .fields
        .iter()
        .find(|field| field.transform != Transform::Identity)
    {
        None => Ok(()),
        Some(field) => Err(Failure::new(
            ErrorKind::Rejected,
            format!("the table is sorted by `{field}`, and this program sorts by columns alone"),
        )
        .hint("give the table a sort order of columns")),
    }
}

impl Buffer {
    pub fn push(&mut self, rows: RecordBatch) {
        self.bytes += rows.get_array_memory_size() as u64;
        self.batches.push(rows);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All rows, in order; of rows with the same `key`, the last that came.
    pub fn sorted(
        self,
        order: &SortOrder,
        table: &Schema,
        schema: &SchemaRef,
        key: Option<&Schema>,
    ) -> Result<Vec<RecordBatch>> {
        let failed = |error: arrow::error::ArrowError| {
            Failure::new(
                ErrorKind::InvalidData,
                format!("the rows cannot be sorted: {error}"),
            )
        };
        let mut rows = concat_batches(schema, &self.batches).map_err(failed)?;
        drop(self.batches);
        if let Some(key) = key {
            rows =
                filter_record_batch(&rows, &newest(&rows, key).map_err(failed)?).map_err(failed)?;
        }
        let mut columns = Vec::new();
        for field in &order.fields {
            let name = table.name_by_field_id(field.source_id).unwrap_or_default();
            let values = values(&rows, name).ok_or_else(|| {
                let message = format!("the table is sorted by `{name}`, which is no column of it");
                Failure::new(ErrorKind::Rejected, message)
                    .hint("correct the sort order of the table")
            })?;
            columns.push(SortColumn {
                values,
                options: Some(SortOptions {
                    descending: field.direction == SortDirection::Descending,
                    nulls_first: field.null_order == NullOrder::First,
                }),
            });
        }
        let indices = lexsort_to_indices(&columns, None).map_err(failed)?;
        let mut sorted = Vec::new();
        let mut start = 0;
        while start < indices.len() {
            let length = ROWS_PER_BATCH.min(indices.len() - start);
            sorted.push(take_record_batch(&rows, &indices.slice(start, length)).map_err(failed)?);
            start += length;
        }
        Ok(sorted)
    }
}

/// Which rows are the last with their key.
fn newest(rows: &RecordBatch, key: &Schema) -> Result<BooleanArray, ArrowError> {
    let columns = key_columns(key, rows);
    let types = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let keys = RowConverter::new(types.collect())?.convert_columns(&columns)?;
    let mut seen = HashSet::with_capacity(rows.num_rows());
    let mut newest: Vec<bool> = (0..rows.num_rows())
        .rev()
        .map(|at| seen.insert(keys.row(at)))
        .collect();
    newest.reverse();
    Ok(newest.into())
}

/// A column, or a field inside of structs: `address.city`.
fn values(rows: &RecordBatch, name: &str) -> Option<ArrayRef> {
    if let Some(column) = rows.column_by_name(name) {
        return Some(column.clone());
    }
    let (first, rest) = name.split_once('.')?;
    let mut column = rows.column_by_name(first)?.clone();
    for part in rest.split('.') {
        let inner = column.as_struct_opt()?.column_by_name(part)?.clone();
        // What is NULL as a whole sorts with what is NULL inside.
        column = match column.nulls() {
            Some(nulls) => {
                let mask = arrow::compute::not(&arrow::array::BooleanArray::new(
                    nulls.inner().clone(),
                    None,
                ))
                .ok()?;
                arrow::compute::nullif(&inner, &mask).ok()?
            }
            None => inner,
        };
    }
    Some(column)
}
