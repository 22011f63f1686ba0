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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, c)| (name, c, true)),
        )
        .unwrap()
    }

    fn numbered(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..rows as i64))
    }

    fn split(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<(String, RecordBatch)>> {
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        partition(batch, &columns)
    }

    #[track_caller]
    fn refuses(columns: &[&str], kind: Kind, reason: &str) {
        let sample = batch(vec![
            ("a", Arc::new(Int32Array::from(vec![1]))),
            ("float", Arc::new(Float64Array::from(vec![1.0]))),
            ("bytes", Arc::new(BinaryArray::from(vec![b"x".as_slice()]))),
            (
                "list",
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(
                    vec![Some(1)],
                )])),
            ),
        ]);
        let error = split(&sample, columns).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn refuses_columns_that_make_no_folder_names() {
        refuses(&["b"], Kind::JobInvalid, "`b` is not a column");
        refuses(&["a", "a"], Kind::JobInvalid, "named twice");
        refuses(&["float"], Kind::JobInvalid, "Float64");
        refuses(&["bytes"], Kind::JobInvalid, "Binary");
        refuses(&["list"], Kind::JobInvalid, "List");
        let twice = RecordBatch::try_new(
            Arc::new(Schema::new(vec![
                Field::new("a", DataType::Int64, false),
                Field::new("a", DataType::Int64, false),
            ])),
            vec![numbered(1), numbered(1)],
        );
        assert_eq!(
            split(&twice.unwrap(), &["a"]).unwrap_err().kind(),
            Kind::JobInvalid
        );
        let error = split(&batch(vec![("a", numbered(1))]), &["a"]).unwrap_err();
        assert!(
            error.to_string().contains("no data would be left"),
            "{error}"
        );
    }

    #[test]
    fn refuses_more_groups_than_a_writer_can_hold() {
        let most = batch(vec![
            ("k", numbered(MAX_PARTITIONS)),
            ("v", numbered(MAX_PARTITIONS)),
        ]);
        assert_eq!(split(&most, &["k"]).unwrap().len(), MAX_PARTITIONS);
        let more = batch(vec![
            ("k", numbered(MAX_PARTITIONS + 1)),
            ("v", numbered(MAX_PARTITIONS + 1)),
        ]);
        assert_eq!(
            split(&more, &["k"]).unwrap_err().kind(),
            Kind::LimitExceeded
        );
    }

    #[test]
    fn refuses_a_date_beyond_the_calendar() {
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        let error = split(&batch(vec![("k", dates), ("v", numbered(1))]), &["k"]).unwrap_err();
        assert_eq!(error.kind(), Kind::DataInvalid);
    }

    #[test]
    fn splits_rows_in_order_of_first_appearance_without_the_columns() {
        let city: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "b", "a", "b"]));
        let year: ArrayRef = Arc::new(Int32Array::from(vec![2024, 2024, 2024, 2023, 2024]));
        let sample = batch(vec![("city", city), ("n", numbered(5)), ("year", year)]);
        let split = split(&sample, &["year", "city"]).unwrap();
        let found: Vec<(&str, Vec<i64>)> = split
            .iter()
            .map(|(path, rows)| {
                assert_eq!(rows.num_columns(), 1);
                (
                    path.as_str(),
                    rows.column(0)
                        .as_primitive::<types::Int64Type>()
                        .values()
                        .to_vec(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("year=2024/city=b", vec![0, 2, 4]),
                ("year=2024/city=a", vec![1]),
                ("year=2023/city=a", vec![3]),
            ]
        );
    }

    #[test]
    fn a_batch_of_one_group_is_not_copied() {
        let values = numbered(1000);
        let sample = batch(vec![
            ("k", Arc::new(Int8Array::from(vec![7; 1000]))),
            ("v", values.clone()),
        ]);
        let split = split(&sample, &["k"]).unwrap();
        assert_eq!(split.len(), 1);
        assert!(split[0].1.column(0).to_data().ptr_eq(&values.to_data()));
        assert!(
            super::partition(&sample.slice(0, 0), &["k".to_owned()])
                .unwrap()
                .is_empty()
        );
    }

    #[track_caller]
    fn check(column: impl Array + 'static, expected: &[&str]) {
        let rows = column.len();
        let split = split(
            &batch(vec![("k", Arc::new(column)), ("v", numbered(rows))]),
            &["k"],
        )
        .unwrap();
        let paths: Vec<&str> = split
            .iter()
            .map(|(path, _)| path.strip_prefix("k=").unwrap())
            .collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn values_are_spelled_so_that_readers_find_them_again() {
        check(Int8Array::from(vec![Some(-1), None]), &["-1", NULL]);
        check(UInt64Array::from(vec![u64::MAX]), &["18446744073709551615"]);
        check(BooleanArray::from(vec![true, false]), &["true", "false"]);
        check(
            Date32Array::from(vec![19_723, -1]),
            &["2024-01-01", "1969-12-31"],
        );
        check(Date64Array::from(vec![1_704_067_200_000]), &["2024-01-01"]);
        check(
            TimestampMicrosecondArray::from(vec![1_704_067_200_000_000, 1_500_000]),
            &["2024-01-01%2000%3A00%3A00", "1970-01-01%2000%3A00%3A01.500"],
        );
        check(
            TimestampSecondArray::from(vec![0]).with_timezone("Europe/Berlin"),
            &["1970-01-01%2000%3A00%3A00Z"],
        );
        check(
            Decimal128Array::from(vec![-1250])
                .with_precision_and_scale(10, 2)
                .unwrap(),
            &["-12.50"],
        );
        check(
            StringArray::from(vec!["New York", "a/b=c%", "Zürich", "..", "a\nb"]),
            &["New%20York", "a%2Fb%3Dc%25", "Zürich", "..", "a%0Ab"],
        );
        check(
            vec!["x", "y", "x"]
                .into_iter()
                .collect::<DictionaryArray<Int32Type>>(),
            &["x", "y"],
        );
    }

    #[test]
    fn the_empty_string_and_null_share_a_folder_and_no_value_poses_as_null() {
        check(
            StringArray::from(vec![Some(""), None, Some("a"), Some(NULL)]),
            &[NULL, "a", "%5F_HIVE_DEFAULT_PARTITION__"],
        );
    }
}
