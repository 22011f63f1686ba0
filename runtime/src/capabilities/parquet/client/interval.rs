//! Intervals in Parquet: a struct of their parts.
//!
//! Parquet's own INTERVAL has milliseconds, and Arrow's and PostgreSQL's have more: taking it would lose digits without
//! a word. So `interval month_day_nano` is stored as `struct<months: int32, days: int32, nanoseconds: int64>`, the
//! fields of Arrow's type, wherever it stands in a column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, StructArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalMonthDayNanoType, IntervalUnit, Schema, SchemaRef,
};

/// The schema as it is stored; the same one where it has no interval.
pub fn stored_schema(schema: &SchemaRef) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(stored_field).collect();
    if fields == *schema.fields() {
        return schema.clone();
    }
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The values of `array` as a column of type `stored`, which `stored_schema` gave.
pub fn stored_values(array: &ArrayRef, stored: &DataType) -> ArrayRef {
    if array.data_type() == stored {
        return array.clone();
    }
    match (array.data_type(), stored) {
        (DataType::Interval(_), DataType::Struct(fields)) => {
            let parts = array.as_primitive::<IntervalMonthDayNanoType>();
            let values = || parts.values().iter();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(values().map(|part| part.months).collect::<Int32Array>()),
                Arc::new(values().map(|part| part.days).collect::<Int32Array>()),
                Arc::new(
                    values()
                        .map(|part| part.nanoseconds)
                        .collect::<Int64Array>(),
                ),
            ];
            Arc::new(StructArray::new(
                fields.clone(),
                columns,
                array.nulls().cloned(),
            ))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = stored_values(list.values(), item.data_type());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::new(item.clone(), offsets, values, nulls))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns
                .map(|(column, field)| stored_values(column, field.data_type()))
                .collect();
            Arc::new(StructArray::new(
                fields.clone(),
                columns,
                array.nulls().cloned(),
            ))
        }
        _ => array.clone(),
    }
}

fn stored_field(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Struct(parts()),
        DataType::List(item) => DataType::List(stored_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect()),
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn parts() -> Fields {
    [
        ("months", DataType::Int32),
        ("days", DataType::Int32),
        ("nanoseconds", DataType::Int64),
    ]
    .into_iter()
    .map(|(name, kind)| Arc::new(Field::new(name, kind, false)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{IntervalMonthDayNanoArray, RecordBatch};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::IntervalMonthDayNano;

    #[test]
    fn an_interval_is_stored_by_its_parts_wherever_it_stands() {
        let intervals: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(IntervalMonthDayNano::new(14, -3, 1_000)),
            None,
        ]));
        let item = Arc::new(Field::new_list_field(intervals.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([2, 0]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, intervals.clone(), None));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("i", intervals), ("l", list), ("n", numbers)]);
        let batch = batch.unwrap();
        let schema = stored_schema(&batch.schema());
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| stored_values(column, field.data_type()));
        let stored = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();

        let parts = stored.column(0).as_struct();
        assert!(parts.is_null(1));
        let first =
            |column: usize| arrow::util::display::array_value_to_string(parts.column(column), 0);
        assert_eq!(first(0).unwrap(), "14");
        assert_eq!(first(1).unwrap(), "-3");
        assert_eq!(first(2).unwrap(), "1000");
        assert_eq!(
            stored.column(1).as_list::<i32>().values().data_type(),
            parts.data_type()
        );
        assert_eq!(stored.column(2), batch.column(2));
        assert!(Arc::ptr_eq(&stored_schema(&schema), &schema));
    }
}
