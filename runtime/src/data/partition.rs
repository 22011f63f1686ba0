//! Splits a batch by the values of some columns, into folders in the layout that Hive began.
//!
//! Knows no wasm. A folder's name holds every value as text that pyarrow and duckdb read back: integers in decimal,
//! `true` and `false`, dates as `2024-01-31`, timestamps as `2024-01-31 12:00:00` (with `Z`, in UTC, where the column
//! has a zone). As in Hive, null and the empty string are both `__HIVE_DEFAULT_PARTITION__`, which readers
//! take for null: a folder name cannot tell them apart. Floats have no exact text, nested and binary columns none.

use std::collections::HashMap;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, make_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Kind, Result};

/// Folders that one batch may be split into. A writer keeps a file open for each.
pub const MAX_PARTITIONS: usize = 1024;

const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// `(path, rows)` in order of first appearance; the rows are without `columns`.
pub fn partition(batch: &RecordBatch, columns: &[String]) -> Result<Vec<(String, RecordBatch)>> {
    if columns.is_empty() {
        return Ok(vec![(String::new(), batch.clone())]);
    }
    let keys = find(&batch.schema(), columns)?;
    let rest: Vec<usize> = (0..batch.num_columns())
        .filter(|i| !keys.contains(i))
        .collect();
    if rest.is_empty() {
        return Err(Error::new(
            Kind::JobInvalid,
            "every column is a partition column, so no data would be left",
        )
        .hint("leave at least one column out of `partition_by`"));
    }
    let rest = batch.project(&rest).map_err(unexpected)?;
    let groups = group(batch, &keys, columns)?;
    if let [(path, _)] = groups.as_slice() {
        return Ok(vec![(path.clone(), rest)]);
    }
    groups
        .into_iter()
        .map(|(path, rows)| {
            let rows = take_record_batch(&rest, &UInt32Array::from(rows)).map_err(unexpected)?;
            Ok((path, rows))
        })
        .collect()
}

/// Positions of `columns`, in their order.
fn find(schema: &Schema, columns: &[String]) -> Result<Vec<usize>> {
    let mut found = Vec::with_capacity(columns.len());
    for name in columns {
        let refuse = |what: String| Error::new(Kind::JobInvalid, what);
        let mut named = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| field.name() == name);
        let (index, field) = match (named.next(), named.next()) {
            (Some(only), None) => only,
            (None, _) => {
                return Err(refuse(format!(
                    "partition column `{name}` is not a column of the data"
                ))
                .hint(format!("the columns are {}", names(schema))));
            }
            (Some(_), Some(_)) => return Err(refuse(format!("the data has two columns `{name}`"))),
        };
        if found.contains(&index) {
            return Err(refuse(format!("partition column `{name}` is named twice")));
        }
        if !has_text(field.data_type()) {
            return Err(refuse(format!(
                "partition column `{name}` is of type {}, which has no exact text for a folder name",
                field.data_type()
            ))
            .hint("partition by integers, booleans, dates, timestamps, decimals or text"));
        }
        found.push(index);
    }
    Ok(found)
}

fn names(schema: &Schema) -> String {
    let quoted: Vec<String> = schema
        .fields()
        .iter()
        .take(20)
        .map(|f| format!("`{}`", f.name()))
        .collect();
    quoted.join(", ")
}

fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => has_text(values),
        DataType::Boolean
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => true,
        other => other.is_integer() || other.is_decimal(),
    }
}

/// Row numbers by folder, both in order of first appearance.
fn group(batch: &RecordBatch, keys: &[usize], names: &[String]) -> Result<Vec<(String, Vec<u32>)>> {
    let columns: Vec<ArrayRef> = keys.iter().map(|&i| batch.column(i).clone()).collect();
    let fields = columns
        .iter()
        .map(|c| SortField::new(c.data_type().clone()))
        .collect();
    let rows = RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(&columns))
        .map_err(unexpected)?;
    let texts: Vec<Text> = columns
        .iter()
        .zip(names)
        .map(|(c, name)| Text::new(c, name))
        .collect::<Result<_>>()?;

    let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
    let mut by_path: HashMap<String, usize> = HashMap::new();
    let mut by_row = HashMap::new();
    let mut last = None;
    for number in 0..batch.num_rows() {
        let row = rows.row(number);
        let group = match last {
            Some((before, group)) if before == row => group,
            _ => match by_row.get(&row) {
                Some(&group) => group,
                None => {
                    let path = path(&texts, number)?;
                    let group = *by_path.entry(path.clone()).or_insert(groups.len());
                    if group == groups.len() {
                        if group == MAX_PARTITIONS {
                            return Err(too_many(names));
                        }
                        groups.push((path, Vec::new()));
                    }
                    by_row.insert(row, group);
                    group
                }
            },
        };
        last = Some((row, group));
        let number = u32::try_from(number).map_err(unexpected)?;
        if let Some((_, rows)) = groups.get_mut(group) {
            rows.push(number);
        }
    }
    Ok(groups)
}

fn too_many(names: &[String]) -> Error {
    Error::new(
        Kind::LimitExceeded,
        format!(
            "one batch has more than {MAX_PARTITIONS} different values of `{}`",
            names.join("`, `")
        ),
    )
    .hint("partition by a column with fewer values, such as the day of a timestamp")
}

/// A column and how its values are spelled.
struct Text {
    name: String,
    values: ArrayRef,
    /// Behind each value: the zone of timestamps that have one.
    suffix: &'static str,
}

impl Text {
    fn new(column: &ArrayRef, name: &str) -> Result<Self> {
        let mut escaped = String::new();
        escape(name, &mut escaped);
        let (values, suffix) = match column.data_type() {
            // Names of zones need a zone database to print; the value itself is UTC.
            DataType::Timestamp(unit, Some(_)) => {
                let plain = column
                    .to_data()
                    .into_builder()
                    .data_type(DataType::Timestamp(*unit, None));
                (make_array(plain.build().map_err(unexpected)?), "Z")
            }
            _ => (column.clone(), ""),
        };
        Ok(Self {
            name: escaped,
            values,
            suffix,
        })
    }

    fn at(&self, row: usize) -> Result<String> {
        let options = FormatOptions::new()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_datetime_format(Some("%Y-%m-%d"));
        let value = ArrayFormatter::try_new(self.values.as_ref(), &options)
            .and_then(|formatter| formatter.value(row).try_to_string())
            .map_err(|error| {
                Error::new(
                    Kind::DataInvalid,
                    format!("row {row} of `{}` has no text form", self.name),
                )
                .caused_by(error)
            })?;
        Ok(value)
    }
}

fn path(texts: &[Text], row: usize) -> Result<String> {
    let mut path = String::new();
    for text in texts {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&text.name);
        path.push('=');
        let value = if text.values.is_null(row) {
            String::new()
        } else {
            text.at(row)?
        };
        match value.as_str() {
            "" => path.push_str(NULL),
            // A value that is spelled like null must not be read back as null.
            NULL => {
                path.push_str("%5F");
                path.push_str(&NULL[1..]);
            }
            value => {
                escape(value, &mut path);
                path.push_str(text.suffix);
            }
        }
    }
    Ok(path)
}

/// Percent-encodes what file systems, URLs, globs or Hive treat apart. Other characters stay readable.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if c.is_control() || " \"#%&'*+/:;<=>?@[\\]^`{|}~$,".contains(c) {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(into, "%{byte:02X}");
            }
        } else {
            into.push(c);
        }
    }
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::internal("a batch could not be split").caused_by(error)
}
