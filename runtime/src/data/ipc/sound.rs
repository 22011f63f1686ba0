//! What arrow does not check: the size of a schema, types that cost more than their bytes, decimals, dictionaries.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array,
    types::ArrowDictionaryKeyType,
};
use arrow::array::{DictionaryArray, downcast_dictionary_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc;

use super::{Unsound, unsound};

/// Columns and the fields inside them. Wide tables have some thousands; dictionaries are looked up by a walk over all.
const MAX_FIELDS: usize = 16_384;

/// Levels of lists, structs and maps inside one column. Parquet and JSON documents of real tables stay below ten.
const MAX_DEPTH: usize = 32;

/// Bytes that the strings of a dictionary column take when they are written out, as files and partitions need them:
/// four batches of the largest size. One long string with a million keys would be any size otherwise.
const MAX_WRITTEN_OUT_BYTES: u64 = 256 << 20;

/// Refuses a schema that says more than its bytes do: the tables of a flatbuffer may be shared, so that a small
/// message describes millions of fields.
pub fn check_size(schema: ipc::Schema<'_>, bytes: usize) -> Result<(), Unsound> {
    let mut budget = Budget {
        fields: MAX_FIELDS,
        bytes,
    };
    for field in schema.fields().into_iter().flatten() {
        budget.spend_field(field, 0)?;
    }
    budget.spend_metadata(schema.custom_metadata().into_iter().flatten())
}

struct Budget {
    fields: usize,
    bytes: usize,
}

impl Budget {
    fn spend_field(&mut self, field: ipc::Field<'_>, depth: usize) -> Result<(), Unsound> {
        if depth == MAX_DEPTH {
            return unsound(format!(
                "a column is nested more than {MAX_DEPTH} levels deep"
            ));
        }
        match self.fields.checked_sub(1) {
            Some(left) => self.fields = left,
            None => return unsound(format!("it has more than {MAX_FIELDS} fields")),
        }
        self.spend(field.name().map_or(0, str::len))?;
        if let Some(timestamp) = field.type_as_timestamp() {
            self.spend(timestamp.timezone().map_or(0, str::len))?;
        }
        self.spend_metadata(field.custom_metadata().into_iter().flatten())?;
        for child in field.children().into_iter().flatten() {
            self.spend_field(child, depth + 1)?;
        }
        Ok(())
    }

    fn spend_metadata<'a>(
        &mut self,
        pairs: impl Iterator<Item = ipc::KeyValue<'a>>,
    ) -> Result<(), Unsound> {
        for pair in pairs {
            // Each pair costs a reference of 4 bytes at least.
            self.spend(4 + pair.key().map_or(0, str::len) + pair.value().map_or(0, str::len))?;
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unsound> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => return unsound("its names and metadata are larger than its bytes"),
        }
        Ok(())
    }
}

pub fn check_types(schema: &Schema) -> Result<(), Unsound> {
    schema
        .fields()
        .iter()
        .try_for_each(|field| check_field(field))
}

fn check_field(field: &Field) -> Result<(), Unsound> {
    let refuse = |what: &str, remedy: &str| {
        unsound(format!("column `{}` is {what}; {remedy}", field.name()))
    };
    match field.data_type() {
        DataType::Union(..) => refuse("a union", "use a struct with a field for each case"),
        DataType::RunEndEncoded(..) => {
            refuse("run-end encoded", "use its plain type or a dictionary")
        }
        DataType::Utf8View
        | DataType::BinaryView
        | DataType::ListView(_)
        | DataType::LargeListView(_) => refuse(
            "of a view type",
            "use the type of the same name without view",
        ),
        DataType::FixedSizeBinary(width) if *width < 0 => {
            refuse("of a negative width", "give its bytes")
        }
        DataType::FixedSizeList(_, size) if *size < 0 => {
            refuse("of a negative size", "give its length")
        }
        DataType::Decimal32(precision, scale) => check_decimal(field, *precision, *scale, 9),
        DataType::Decimal64(precision, scale) => check_decimal(field, *precision, *scale, 18),
        DataType::Decimal128(precision, scale) => check_decimal(field, *precision, *scale, 38),
        DataType::Decimal256(precision, scale) => check_decimal(field, *precision, *scale, 76),
        DataType::Dictionary(_, values) => {
            let flat = !values.is_nested() && !matches!(**values, DataType::Dictionary(..));
            if !flat {
                return refuse("a dictionary of a nested type", "use its plain type");
            }
            check_field(&Field::new(field.name(), (**values).clone(), true))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => check_field(entries),
            _ => refuse(
                "a map without keys and values",
                "give it a struct of two fields",
            ),
        },
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_field(item)
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_field(field)),
        _ => Ok(()),
    }
}

fn check_decimal(field: &Field, precision: u8, scale: i8, most: u8) -> Result<(), Unsound> {
    let name = field.name();
    if !(1..=most).contains(&precision) || scale.unsigned_abs() > precision {
        return unsound(format!(
            "column `{name}` is a decimal({precision}, {scale}), which cannot be"
        ));
    }
    Ok(())
}

/// Decimals that fit their precision (Parquet would cut them), dictionaries that stay small when written out.
pub fn check_values(column: &ArrayRef) -> Result<(), Unsound> {
    match column.data_type() {
        DataType::Decimal32(p, _) => {
            let values: &Decimal32Array = column.as_primitive();
            Ok(values.validate_decimal_precision(*p)?)
        }
        DataType::Decimal64(p, _) => {
            let values: &Decimal64Array = column.as_primitive();
            Ok(values.validate_decimal_precision(*p)?)
        }
        DataType::Decimal128(p, _) => {
            let values: &Decimal128Array = column.as_primitive();
            Ok(values.validate_decimal_precision(*p)?)
        }
        DataType::Decimal256(p, _) => {
            let values: &Decimal256Array = column.as_primitive();
            Ok(values.validate_decimal_precision(*p)?)
        }
        DataType::Dictionary(..) => {
            let column: &dyn Array = column;
            downcast_dictionary_array!(
                column => check_dictionary(column),
                _ => unsound("a dictionary without integer keys")
            )
        }
        DataType::List(_) => check_values(column.as_list::<i32>().values()),
        DataType::LargeList(_) => check_values(column.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => check_values(column.as_fixed_size_list().values()),
        DataType::Map(..) => column
            .as_map()
            .entries()
            .columns()
            .iter()
            .try_for_each(check_values),
        DataType::Struct(_) => column
            .as_struct()
            .columns()
            .iter()
            .try_for_each(check_values),
        _ => Ok(()),
    }
}

fn check_dictionary<K: ArrowDictionaryKeyType>(column: &DictionaryArray<K>) -> Result<(), Unsound> {
    check_values(column.values())?;
    let values = column.values();
    let length = |key: usize| -> usize {
        match values.data_type() {
            DataType::Utf8 => values.as_string::<i32>().value_length(key) as usize,
            DataType::LargeUtf8 => values.as_string::<i64>().value_length(key) as usize,
            DataType::Binary => values.as_binary::<i32>().value_length(key) as usize,
            DataType::LargeBinary => values.as_binary::<i64>().value_length(key) as usize,
            DataType::FixedSizeBinary(width) => *width as usize,
            _ => 0,
        }
    };
    let lengths: Vec<u64> = (0..values.len()).map(|key| length(key) as u64).collect();
    let mut total = 0u64;
    for key in column.keys_iter().flatten() {
        total = total.saturating_add(lengths.get(key).copied().unwrap_or(0));
    }
    if total > MAX_WRITTEN_OUT_BYTES {
        return unsound(format!(
            "a dictionary column stands for {total} bytes; the limit is {MAX_WRITTEN_OUT_BYTES}"
        ));
    }
    Ok(())
}
