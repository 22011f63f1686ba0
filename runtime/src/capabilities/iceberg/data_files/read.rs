//! Rows of a data file that is in the table, whoever wrote it, in the form that the table has now.
//!
//! Columns are found by their field ids, as the specification has it: <https://iceberg.apache.org/spec/#column-projection>. A file
//! whose columns cannot be told for sure is refused.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use iceberg::spec::{DataFile, DataFileFormat, PartitionSpec, Schema, Transform};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::iceberg::conform::Form;
use crate::capabilities::iceberg::warehouse::Warehouse;

const FIELD_ID: &str = "PARQUET:field_id";

/// The rows of one file, in its order.
pub struct Rows {
    path: String,
    stream: ParquetRecordBatchStream<Remote>,
    form: Form,
    /// Of the columns that are read.
    schema: Arc<Schema>,
}

impl Rows {
    /// Opens a file that was written under `spec`, for the columns of `schema`, with row groups of at most `memory_bytes`.
    pub async fn open(
        warehouse: &Warehouse,
        file: &DataFile,
        spec: &PartitionSpec,
        schema: &Arc<Schema>,
        memory_bytes: u64,
    ) -> Result<Self> {
        let path = file.file_path().to_owned();
        if file.file_format() != DataFileFormat::Parquet {
            return Err(refused(&path, "is no Parquet file"));
        }
        if file.key_metadata().is_some() {
            return Err(refused(&path, "is encrypted"));
        }
        let remote = Remote {
            warehouse: warehouse.clone(),
            url: path.clone(),
            bytes: file.file_size_in_bytes(),
        };
        // The types of the file alone count, and not what its writer had in memory.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_options(remote, options)
            .await
            .map_err(|error| unreadable(&path, &error))?;
        let found = ids(builder.schema().fields()).map_err(|what| refused(&path, &what))?;
        for field in spec.fields() {
            if field.transform == Transform::Identity && !found.contains(&Some(field.source_id)) {
                let what = format!("lacks the column of its partition `{}`", field.name);
                return Err(refused(&path, &what));
            }
        }
        let leaves = builder.parquet_schema().columns();
        if leaves
            .iter()
            .any(|leaf| leaf.physical_type() == PhysicalType::INT96)
        {
            return Err(refused(&path, "has timestamps of 96 bits"));
        }
        let wanted = schema.as_struct().fields().iter().map(|field| field.id);
        let wanted: HashSet<i32> = wanted.collect();
        let roots = found.iter().enumerate();
        let roots = roots.filter(|(_, id)| id.is_some_and(|id| wanted.contains(&id)));
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.map(|(at, _)| at));
        let largest = builder.metadata().row_groups().iter().map(|group| {
            let chunks = group.columns().iter().enumerate();
            let read = chunks.filter(|(at, _)| mask.leaf_included(*at));
            read.map(|(_, chunk)| chunk.compressed_size()).sum::<i64>()
        });
        let largest = u64::try_from(largest.max().unwrap_or(0)).unwrap_or(u64::MAX);
        if largest > memory_bytes {
            let message = format!(
                "`{path}` has a row group of {} MiB, and the instance has {} MiB for one",
                largest >> 20,
                memory_bytes >> 20
            );
            return Err(Failure::new(ErrorKind::LimitExceeded, message).hint(
                "raise `limits: { memory: … }`, or rewrite the table with smaller row groups",
            ));
        }
        builder = builder.with_projection(mask);
        Ok(Self {
            stream: builder.build().map_err(|error| unreadable(&path, &error))?,
            form: Form::new(schema)?,
            schema: schema.clone(),
            path,
        })
    }

    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.stream.next().await else {
            return Ok(None);
        };
        let batch = batch.map_err(|error| unreadable(&self.path, &error))?;
        let batch_schema = batch.schema();
        let columns = batch_schema.fields().iter().zip(batch.columns());
        let mut fields = Vec::new();
        let mut values = Vec::new();
        for (field, column) in columns {
            let named = named(field, column, &self.schema);
            let named =
                named.map_err(|error| refused(&self.path, &format!("cannot be read: {error}")))?;
            if let Some((field, column)) = named {
                fields.push(field);
                values.push(column);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::new(ArrowSchema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, values, &options)
            .map_err(|error| refused(&self.path, &format!("cannot be read: {error}")))?;
        self.form.batch(&batch).map(Some)
    }
}

/// The ids of fields; each must have one, at every depth.
fn ids(fields: &Fields) -> Result<Vec<Option<i32>>, String> {
    let each = fields.iter().map(|field| {
        let inside = match field.data_type() {
            DataType::Struct(fields) => Some(fields),
            DataType::List(element) => {
                return ids(&vec![element.clone()].into()).map(|_| id(field));
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) => Some(pair),
                _ => None,
            },
            _ => None,
        };
        if let Some(inside) = inside {
            ids(inside)?;
        }
        match id(field) {
            Some(id) => Ok(Some(id)),
            None => Err(format!("has no field id for `{}`", field.name())),
        }
    });
    each.collect()
}

fn id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// A column under the names that the table has now for the ids in it; none where the table has it no more.
fn named(
    field: &FieldRef,
    values: &ArrayRef,
    table: &Schema,
) -> Result<Option<(FieldRef, ArrayRef)>, arrow::error::ArrowError> {
    let Some(known) = id(field).and_then(|id| table.field_by_id(id)) else {
        return Ok(None);
    };
    let renamed = inside(field, values, table)?;
    let field = Field::new(&known.name, renamed.data_type().clone(), true);
    Ok(Some((Arc::new(field), renamed)))
}

/// The values with what is inside of them renamed.
fn inside(
    field: &FieldRef,
    values: &ArrayRef,
    table: &Schema,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    match field.data_type() {
        DataType::Struct(fields) => {
            let structs = values.as_struct();
            let mut named_fields = Vec::new();
            let mut columns = Vec::new();
            for (field, column) in fields.iter().zip(structs.columns()) {
                if let Some((field, column)) = named(field, column, table)? {
                    named_fields.push(field);
                    columns.push(column);
                }
            }
            let nulls = structs.nulls().cloned();
            let made = StructArray::try_new_with_length(
                named_fields.into(),
                columns,
                nulls,
                structs.len(),
            )?;
            Ok(Arc::new(made))
        }
        DataType::List(element) => {
            let lists = values.as_list::<i32>();
            let inner = inside(element, lists.values(), table)?;
            let element = Field::new(element.name(), inner.data_type().clone(), true);
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            let made = ListArray::try_new(Arc::new(element), offsets, inner, nulls)?;
            Ok(Arc::new(made))
        }
        DataType::Map(entries, is_sorted) => {
            let maps = values.as_map();
            let DataType::Struct(pair) = entries.data_type() else {
                return Ok(values.clone());
            };
            let mut fields = Vec::new();
            let mut columns = Vec::new();
            for ((field, column), name) in pair
                .iter()
                .zip(maps.entries().columns())
                .zip(["key", "value"])
            {
                let inner = inside(field, column, table)?;
                let field = Field::new(name, inner.data_type().clone(), field.is_nullable());
                fields.push(Arc::new(field));
                columns.push(inner);
            }
            let pair = StructArray::try_new(fields.into(), columns, None)?;
            let entries = Field::new(entries.name(), pair.data_type().clone(), false);
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            let made = MapArray::try_new(Arc::new(entries), offsets, pair, nulls, *is_sorted)?;
            Ok(Arc::new(made))
        }
        _ => Ok(values.clone()),
    }
}

/// A file that is read piece by piece.
struct Remote {
    warehouse: Warehouse,
    url: String,
    bytes: u64,
}

impl AsyncFileReader for Remote {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        Box::pin(async move {
            let length = range.end - range.start;
            let read = self.warehouse.read_range(&self.url, range.start, length);
            let bytes = read
                .await
                .map_err(|failure| ParquetError::External(failure.into()))?;
            match bytes.len() as u64 == length {
                true => Ok(bytes),
                false => Err(ParquetError::EOF(format!(
                    "it ends before byte {}",
                    range.end
                ))),
            }
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new();
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        })
    }
}

fn refused(path: &str, what: &str) -> Failure {
    Failure::new(ErrorKind::Rejected, format!("the data file `{path}` {what}"))
        .hint("rewrite the data files of the table (Spark: `rewrite_data_files`), or write with `mode: append`")
}

fn unreadable(path: &str, error: &ParquetError) -> Failure {
    if let ParquetError::External(inner) = error
        && let Some(failure) = inner.downcast_ref::<Failure>()
    {
        return failure.clone();
    }
    Failure::new(
        ErrorKind::Rejected,
        format!("the data file `{path}` cannot be read: {error}"),
    )
    .hint("restore the file, or take it out of the table with another engine")
}
