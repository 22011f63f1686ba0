//! What a reader promised, held against every batch that it yields.
//!
//! Pure: a schema and batches in, an error out.

use arrow::datatypes::{Schema, SchemaRef};

use crate::data::Batch;
use crate::error::{Error, Kind, Result};

/// Holds every batch against what the reader promised.
pub struct Checker {
    declared: SchemaRef,
    pub max_rows: u32,
    pub who: String,
    batches: u64,
}

impl Checker {
    pub fn new(declared: &SchemaRef, max_rows: u32, who: &str) -> Self {
        Self {
            declared: declared.clone(),
            max_rows,
            who: who.to_owned(),
            batches: 0,
        }
    }

    /// The batch under the declared schema, or what differs.
    pub fn check(&mut self, batch: Batch) -> Result<Batch> {
        self.batches += 1;
        if batch.num_rows() > self.max_rows as usize {
            return Err(Error::new(
                Kind::DataInvalid,
                format!(
                    "batch {} of {} has {} rows, and at most {} were asked for",
                    self.batches,
                    self.who,
                    batch.num_rows(),
                    self.max_rows
                ),
            ));
        }
        if let Some(difference) = difference(&self.declared, &batch.schema()) {
            return Err(Error::new(Kind::ContractBroken, difference)
                .with("component", &self.who)
                .with("batch", self.batches)
                .hint("the reader must yield the schema that it declared; its author needs this message"));
        }
        Ok(batch)
    }
}

/// How `found` differs from `declared` in names, types or nullability; metadata may differ.
fn difference(declared: &Schema, found: &Schema) -> Option<String> {
    let (wanted, got) = (declared.fields().len(), found.fields().len());
    for (wanted, got) in declared.fields().iter().zip(found.fields()) {
        if wanted.name() != got.name() {
            return Some(format!(
                "column `{}` stands where `{}` was declared",
                got.name(),
                wanted.name()
            ));
        }
        if wanted.data_type() != got.data_type() {
            return Some(format!(
                "column `{}` changed from {} to {}",
                wanted.name(),
                wanted.data_type(),
                got.data_type()
            ));
        }
        if got.is_nullable() && !wanted.is_nullable() {
            return Some(format!("column `{}` became nullable", wanted.name()));
        }
    }
    (wanted != got).then(|| format!("a batch has {got} columns, and {wanted} were declared"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn names_how_a_schema_differs() {
        let schema = |fields: &[(&str, DataType, bool)]| {
            Schema::new(
                fields
                    .iter()
                    .map(|(name, kind, null)| Field::new(*name, kind.clone(), *null))
                    .collect::<Vec<_>>(),
            )
        };
        let declared = schema(&[("amount", DataType::Int64, false)]);
        let check = |found: &[(&str, DataType, bool)], expected: Option<&str>| {
            assert_eq!(difference(&declared, &schema(found)).as_deref(), expected);
        };
        check(
            &[("amount", DataType::Utf8, false)],
            Some("column `amount` changed from Int64 to Utf8"),
        );
        check(
            &[("sum", DataType::Int64, false)],
            Some("column `sum` stands where `amount` was declared"),
        );
        check(
            &[("amount", DataType::Int64, true)],
            Some("column `amount` became nullable"),
        );
        check(&[], Some("a batch has 0 columns, and 1 were declared"));
        check(&[("amount", DataType::Int64, false)], None);
    }
}
