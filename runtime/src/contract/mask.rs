//! Masks on whole columns: what a writer, a dead letter and a preview get in place of the values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, StringBuilder, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sha2::{Digest, Sha256};

use super::{Contract, Mask, Type};

/// What stands in text columns that are redacted.
const REDACTED: &str = "[redacted]";
/// The same as a JSON document.
const REDACTED_JSON: &str = "\"[redacted]\"";

impl Mask {
    /// A column after the mask.
    pub fn field(&self, field: &FieldRef) -> FieldRef {
        match self {
            Mask::Hash(_) => Field::new(field.name(), DataType::Utf8, field.is_nullable()).into(),
            Mask::Null => nullable(field),
            Mask::Redact if field.data_type() == &DataType::Utf8 => field.clone(),
            Mask::Redact if is_text(field.data_type()) => {
                Field::new(field.name(), DataType::Utf8, field.is_nullable()).into()
            }
            Mask::Redact => nullable(field),
        }
    }

    /// `values` of the column `field`, masked. Null stays null.
    pub fn apply(&self, field: &Field, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Mask::Hash(key) => {
                let hash = |text: &[u8]| match key {
                    Some(key) => key.hash(text),
                    None => Sha256::digest(text).into(),
                };
                hashed(field, values, hash)
            }
            Mask::Redact if is_text(field.data_type()) => {
                let text = match Type::Json.names(field) {
                    true => REDACTED_JSON,
                    false => REDACTED,
                };
                let nulls = values.logical_nulls();
                let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                let redacted = (0..values.len()).map(|row| (!is_null(row)).then_some(text));
                Ok(Arc::new(StringArray::from_iter(redacted)))
            }
            Mask::Null | Mask::Redact => Ok(new_null_array(field.data_type(), values.len())),
        }
    }
}

/// The columns of `batch` that the contract masks, masked; by their names.
pub fn mask_batch(contract: &Contract, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, values) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let column = contract
            .columns
            .iter()
            .find(|column| &column.name == field.name());
        match column.and_then(|column| column.mask.as_ref()) {
            Some(mask) => {
                fields.push(mask.field(field));
                columns.push(mask.apply(field, values)?);
            }
            None => {
                fields.push(field.clone());
                columns.push(values.clone());
            }
        }
    }
    RecordBatch::try_new(Schema::new(fields).into(), columns)
}

fn nullable(field: &FieldRef) -> FieldRef {
    field.as_ref().clone().with_nullable(true).into()
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The hash of each value: of the bytes of text and binary, and of the text form of everything else.
fn hashed(
    field: &Field,
    values: &ArrayRef,
    hash: impl Fn(&[u8]) -> [u8; 32],
) -> Result<ArrayRef, ArrowError> {
    let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 64);
    let mut append = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => builder.append_value(crate::component::hex(&hash(bytes))),
        None => builder.append_null(),
    };
    if Type::Uuid.names(field) {
        for value in values.as_fixed_size_binary() {
            let uuid = value.and_then(|value| uuid::Uuid::from_slice(value).ok());
            append(
                uuid.map(|uuid| uuid.to_string())
                    .as_deref()
                    .map(str::as_bytes),
            );
        }
        return Ok(Arc::new(builder.finish()));
    }
    if let Some(bytes) = bytes(values)? {
        bytes.iter().for_each(append);
        return Ok(Arc::new(builder.finish()));
    }
    let (options, nulls) = (FormatOptions::default(), values.logical_nulls());
    let formatter = ArrayFormatter::try_new(values.as_ref(), &options)?;
    for row in 0..values.len() {
        match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            true => append(None),
            false => append(Some(formatter.value(row).try_to_string()?.as_bytes())),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The bytes of a column that is bytes, in whatever form.
fn bytes(values: &ArrayRef) -> Result<Option<BinaryArray>, ArrowError> {
    let kind = match values.data_type() {
        DataType::Dictionary(_, kind) => kind.as_ref(),
        kind => kind,
    };
    let is_bytes = is_text(kind)
        || matches!(
            kind,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        );
    if !is_bytes {
        return Ok(None);
    }
    let plain = cast(values, kind)?;
    Ok(Some(cast(&plain, &DataType::Binary)?.as_binary().clone()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, FixedSizeBinaryArray, Int64Array};
    use arrow::datatypes::Int32Type;
    use arrow::util::display::array_value_to_string;

    use super::super::MaskKey;
    use super::*;

    fn check(mask: &Mask, kind: &str, values: ArrayRef, expected: &[&str]) {
        let field = Arc::new(Type::parse(kind).unwrap().field("c", true));
        let masked = mask.apply(&field, &values).unwrap();
        assert_eq!(masked.data_type(), mask.field(&field).data_type(), "{kind}");
        assert!(mask.field(&field).is_nullable());
        let shown: Vec<String> = (0..masked.len())
            .map(|row| array_value_to_string(&masked, row).unwrap())
            .collect();
        assert_eq!(shown, expected, "{kind}");
    }

    #[test]
    fn nothing_of_a_value_is_left_and_null_stays_null() {
        let texts = || Arc::new(StringArray::from(vec![Some("abc"), None]));
        let numbers = || Arc::new(Int64Array::from(vec![Some(42), None]));
        check(&Mask::Null, "string", texts(), &["", ""]);
        check(&Mask::Null, "int64", numbers(), &["", ""]);
        check(&Mask::Redact, "string", texts(), &["[redacted]", ""]);
        check(&Mask::Redact, "json", texts(), &["\"[redacted]\"", ""]);
        check(&Mask::Redact, "int64", numbers(), &["", ""]);
    }

    #[test]
    fn a_hash_is_over_the_text_form() {
        let of = |text: &str| crate::component::hex(&Sha256::digest(text));
        let mask = Mask::Hash(None);
        check(
            &mask,
            "string",
            Arc::new(StringArray::from(vec![Some("abc"), None])),
            &[&of("abc"), ""],
        );
        check(
            &mask,
            "int64",
            Arc::new(Int64Array::from(vec![42])),
            &[&of("42")],
        );
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let bytes = uuid::Uuid::try_parse(uuid).unwrap().into_bytes();
        let bytes = FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).unwrap();
        check(&mask, "uuid", Arc::new(bytes), &[&of(uuid)]);
        let keyed = Mask::Hash(Some(MaskKey::new(b"Jefe")));
        check(
            &keyed,
            "string",
            Arc::new(StringArray::from(vec!["what do ya want for nothing?"])),
            &["5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
        );
    }

    #[test]
    fn a_dictionary_of_texts_is_masked_like_texts() {
        let values: DictionaryArray<Int32Type> = vec![Some("abc"), None].into_iter().collect();
        let values: ArrayRef = Arc::new(values);
        let field = Field::new("c", values.data_type().clone(), true);
        let redacted = Mask::Redact.apply(&field, &values).unwrap();
        assert_eq!(redacted.as_string::<i32>().value(0), "[redacted]");
        assert_eq!(redacted.null_count(), 1);
        let hashed = Mask::Hash(None).apply(&field, &values).unwrap();
        assert_eq!(
            hashed.as_string::<i32>().value(0),
            crate::component::hex(&Sha256::digest("abc"))
        );
    }
}
