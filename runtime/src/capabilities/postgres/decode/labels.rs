//! Columns of enums: a number for each value, and the labels once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use super::bits::Validity;
use super::fixed::Fixed;
use super::wire::{Hint, Span, Step, fault};

/// Labels that may be added to a type while it is read.
const MAX_NEW_LABELS: usize = 65_536;

const SLOTS: usize = 64;

pub(super) struct Labels {
    keys: Fixed<i32>,
    labels: Vec<String>,
    numbers: HashMap<Box<[u8]>, i32>,
    /// Where the number of a label was last found, by [`slot`]: most values are found there, without a hash that
    /// nobody can make collide.
    recent: [i32; SLOTS],
    known: usize,
    /// Made from `labels`, for all batches until there is a new one.
    dictionary: Option<ArrayRef>,
}

impl Labels {
    pub fn new(labels: &[String]) -> Self {
        let numbered = labels.iter().zip(0..);
        Self {
            keys: Fixed::default(),
            numbers: numbered
                .map(|(label, number)| (label.as_bytes().into(), number))
                .collect(),
            labels: labels.to_vec(),
            recent: [0; SLOTS],
            known: labels.len(),
            dictionary: None,
        }
    }

    pub fn validity(&self) -> &Validity {
        self.keys.validity()
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes()
    }

    pub fn append(&mut self, input: &[u8], spans: &[Span]) -> Step {
        let Self {
            keys,
            labels,
            numbers,
            recent,
            known,
            dictionary,
        } = self;
        keys.append_each(spans, |span| {
            let value = span.of(input).unwrap_or_default();
            let recent = &mut recent[slot(value)];
            let label = labels.get(*recent as usize);
            if label.is_some_and(|label| label.as_bytes() == value) {
                return Ok(Some(*recent));
            }
            if let Some(number) = numbers.get(value) {
                *recent = *number;
                return Ok(Some(*number));
            }
            // Added to the type since the catalog was read.
            let Ok(label) = std::str::from_utf8(value) else {
                return fault(0, "a text that is not UTF-8", Hint::Bytes);
            };
            if labels.len() >= *known + MAX_NEW_LABELS {
                return fault(
                    0,
                    format!("an enum with more than {MAX_NEW_LABELS} new labels"),
                    Hint::AsText,
                );
            }
            *recent = labels.len() as i32;
            labels.push(label.to_owned());
            numbers.insert(value.into(), *recent);
            *dictionary = None;
            Ok(Some(*recent))
        })
    }

    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let keys = self.keys.finish::<Int32Type>(&DataType::Int32)?;
        let labels = &self.labels;
        let dictionary = self
            .dictionary
            .get_or_insert_with(|| Arc::new(StringArray::from_iter_values(labels)));
        let array =
            DictionaryArray::<Int32Type>::try_new(keys.to_data().into(), dictionary.clone())?;
        Ok(Arc::new(array))
    }
}

fn slot(label: &[u8]) -> usize {
    let ends = label.first().zip(label.last());
    let (first, last) = ends.map_or((0, 0), |(first, last)| {
        (usize::from(*first), usize::from(*last))
    });
    (label.len() + 7 * first + 31 * last) % SLOTS
}
