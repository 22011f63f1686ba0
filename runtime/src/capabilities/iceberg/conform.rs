//! Batches in the form of a table: its columns in its order, with its types and field ids.
//!
//! Pure. Columns are found by name. A value that does not fit is an error, never NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, FixedSizeListArray, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Date64Type, Field, Fields, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{PrimitiveType, Schema, Type};

use super::snapshot::broken;
use super::types::join;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::parquet::stored_values;

const MS_PER_DAY: i64 = 86_400_000;

const EXTENSION: &str = "ARROW:extension:name";

/// How batches of one schema become rows of a table.
pub struct Form {
    schema: SchemaRef,
}

impl Form {
    pub fn new(table: &Schema) -> Result<Self> {
        let arrow = schema_to_arrow_schema(table).map_err(broken)?;
        let fields = arrow.fields().iter().map(|field| named(field, table));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Fields>()));
        Ok(Self { schema })
    }

    /// That of the table, with the field ids that Parquet files keep.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let found = batch.column_by_name(field.name());
            columns.push(column(found, field, field.name(), rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| {
            Failure::new(
                ErrorKind::InvalidData,
                format!("a batch does not fit the table: {error}"),
            )
        })
    }
}

/// The field, with the extension that makes Parquet say UUID at every depth.
fn named(field: &Field, table: &Schema) -> Field {
    let id = field
        .metadata()
        .get("PARQUET:field_id")
        .and_then(|id| id.parse::<i32>().ok());
    let kind = id
        .and_then(|id| table.field_by_id(id))
        .map(|field| field.field_type.as_ref());
    let inside = |inner: &Fields| {
        inner
            .iter()
            .map(|field| named(field, table))
            .collect::<Fields>()
    };
    let data_type = match field.data_type() {
        DataType::Struct(inner) => DataType::Struct(inside(inner)),
        DataType::List(element) => DataType::List(Arc::new(named(element, table))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(named(entries, table)), *sorted),
        DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    if kind == Some(&Type::Primitive(PrimitiveType::Uuid)) {
        metadata.insert(EXTENSION.to_owned(), "arrow.uuid".to_owned());
    }
    Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata)
}

/// The values of a field; NULL where there are none.
fn column(found: Option<&ArrayRef>, field: &Field, path: &str, rows: usize) -> Result<ArrayRef> {
    let values = match found {
        Some(values) => convert(values, field.data_type(), path)?,
        None => new_null_array(field.data_type(), rows),
    };
    if !field.is_nullable() && values.null_count() > 0 {
        return Err(Failure::new(
            ErrorKind::InvalidData,
            format!("column `{path}` has a NULL, and the table takes none there"),
        )
        .hint("make the column optional in the table, or fill the value in at the source"));
    }
    Ok(values)
}

fn convert(values: &ArrayRef, wanted: &DataType, path: &str) -> Result<ArrayRef> {
    if values.data_type() == wanted {
        return Ok(values.clone());
    }
    let plain = |error: arrow::error::ArrowError| {
        Failure::new(
            ErrorKind::InvalidData,
            format!("column `{path}` does not fit the table: {error}"),
        )
        .hint("widen the column of the table, or leave such rows out")
    };
    match (values.data_type(), wanted) {
        (DataType::Dictionary(_, inner), _) => {
            convert(&cast(values, inner).map_err(plain)?, wanted, path)
        }
        (DataType::RunEndEncoded(_, inner), _) => convert(
            &cast(values, inner.data_type()).map_err(plain)?,
            wanted,
            path,
        ),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let structs = values.as_struct();
            let columns = fields.iter().map(|field| {
                let found = structs.column_by_name(field.name());
                let path = join(path, field.name());
                // What is NULL as a whole has no values inside that could be missing.
                let is_absent = |array: &ArrayRef| array.null_count() > structs.null_count();
                match (field.is_nullable(), found) {
                    (false, Some(found)) if !is_absent(found) => {
                        convert(found, field.data_type(), &path)
                    }
                    _ => column(found, field, &path, structs.len()),
                }
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let made = StructArray::try_new_with_length(
                fields.clone(),
                columns,
                structs.nulls().cloned(),
                structs.len(),
            );
            Ok(Arc::new(made.map_err(plain)?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let lists = values.as_list::<i32>();
            let inner = convert(lists.values(), element.data_type(), &join(path, "element"))?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Ok(Arc::new(
                ListArray::try_new(element.clone(), offsets, inner, nulls).map_err(plain)?,
            ))
        }
        (DataType::FixedSizeList(element, _), DataType::List(_)) => {
            let lists: &FixedSizeListArray = values.as_fixed_size_list();
            let list = DataType::List(element.clone());
            convert(&cast(lists, &list).map_err(plain)?, wanted, path)
        }
        (
            DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element),
            DataType::List(_),
        ) => {
            let list = DataType::List(element.clone());
            convert(&cast(values, &list).map_err(plain)?, wanted, path)
        }
        (DataType::Map(..), DataType::Map(entries, _)) => {
            let maps = values.as_map();
            let DataType::Struct(pair) = entries.data_type() else {
                return Err(Failure::new(ErrorKind::Internal, "a map without entries"));
            };
            let [key, value] = pair.as_ref() else {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    "a map without keys and values",
                ));
            };
            let columns = vec![
                convert(maps.keys(), key.data_type(), &join(path, "key"))?,
                convert(maps.values(), value.data_type(), &join(path, "value"))?,
            ];
            let inner = StructArray::try_new(pair.clone(), columns, None).map_err(plain)?;
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            let made = MapArray::try_new(entries.clone(), offsets, inner, nulls, false);
            Ok(Arc::new(made.map_err(plain)?))
        }
        (DataType::Interval(_), DataType::Struct(_)) => {
            let parts = [
                Field::new("months", DataType::Int32, false),
                Field::new("days", DataType::Int32, false),
                Field::new("nanoseconds", DataType::Int64, false),
            ];
            // By name, in case that somebody else made the struct.
            let stored = stored_values(values, &DataType::Struct(parts.to_vec().into()));
            convert(&stored, wanted, path)
        }
        (DataType::Date64, DataType::Date32) => {
            // Arrow's own cast drops a time of day, and what is out of range.
            let days: Result<Date32Array, _> =
                values.as_primitive::<Date64Type>().try_unary(|ms| {
                    let days = i32::try_from(ms.div_euclid(MS_PER_DAY)).ok();
                    days.filter(|_| ms.rem_euclid(MS_PER_DAY) == 0)
                        .ok_or_else(|| ArrowError::CastError(format!("{ms} ms are no date")))
                });
            Ok(Arc::new(days.map_err(plain)?))
        }
        _ => {
            let options = CastOptions {
                safe: false,
                format_options: FormatOptions::default(),
            };
            cast_with_options(values, wanted, &options).map_err(plain)
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::*;
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Int32Type;
    use iceberg::spec::NestedField;

    use super::super::types::table_schema;
    use super::*;

    fn form(fields: Vec<NestedField>) -> Form {
        let fields = fields.into_iter().map(Into::into);
        Form::new(&Schema::builder().with_fields(fields).build().unwrap()).unwrap()
    }

    fn primitive(id: i32, name: &str, kind: PrimitiveType) -> NestedField {
        NestedField::optional(id, name, Type::Primitive(kind))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_that_names_its_column() {
        let form = form(vec![
            primitive(1, "n", PrimitiveType::Int),
            NestedField::required(2, "s", Type::Primitive(PrimitiveType::String)),
        ]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let failure = form
            .batch(&batch(vec![("n", wide), ("s", text)]))
            .unwrap_err();
        assert!(failure.message.contains("`n`"), "{failure}");
        let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let failure = form.batch(&batch(vec![("n", number)])).unwrap_err();
        assert!(failure.message.contains("`s` has a NULL"), "{failure}");
    }

    #[test]
    fn columns_are_found_by_name_and_absent_ones_are_null() {
        let form = form(vec![
            primitive(1, "a", PrimitiveType::Long),
            primitive(2, "b", PrimitiveType::String),
            primitive(3, "c", PrimitiveType::Uuid),
        ]);
        let dictionary: DictionaryArray<Int32Type> = ["x", "y"].into_iter().collect();
        let found = form
            .batch(&batch(vec![
                ("b", Arc::new(dictionary)),
                ("a", Arc::new(Int16Array::from(vec![1, 2]))),
            ]))
            .unwrap();
        assert_eq!(
            found.column(0).as_ref(),
            &Int64Array::from(vec![1, 2]) as &dyn Array
        );
        assert_eq!(
            found.column(1).as_ref(),
            &StringArray::from(vec!["x", "y"]) as &dyn Array
        );
        assert_eq!(found.column(2).null_count(), 2);
        assert_eq!(found.schema().field(2).metadata()[EXTENSION], "arrow.uuid");
    }

    #[test]
    fn what_is_nested_gets_names_and_ids_at_every_depth() {
        let point = StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef,
        )]);
        let item = Arc::new(Field::new("item", point.data_type().clone(), true));
        let list = ListArray::new(
            item,
            OffsetBuffer::new(vec![0, 1, 3, 3].into()),
            Arc::new(point),
            None,
        );
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(7);
        map.append(true).unwrap();
        map.append(false).unwrap();
        map.append(false).unwrap();
        let batch = batch(vec![("l", Arc::new(list)), ("m", Arc::new(map.finish()))]);
        let form = Form::new(&table_schema(&batch.schema()).unwrap()).unwrap();
        let found = form.batch(&batch).unwrap();
        let DataType::List(element) = found.schema().field(0).data_type().clone() else {
            panic!("no list")
        };
        assert_eq!(element.name(), "element");
        assert!(element.metadata().contains_key("PARQUET:field_id"));
        assert_eq!(found.column(1).null_count(), 2);
    }
}
