//! How each column of a file is encoded, decided by the values that it begins with.
//!
//! A dictionary that will be given up costs work in every row group, and so does compressing what does not get smaller:
//! random numbers, hashes, compressed bytes. Knows Arrow columns and no file.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

/// Rows of the first batch that are looked at.
const SAMPLE_ROWS: usize = 4096;

/// A dictionary is given up at this size, in bytes: the default of the encoder.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Most columns that all have a dictionary: the encoder reserves some 70 KB for each before the first value.
const MAX_DICTIONARIES: usize = 1024;

/// Of a hundred bytes, how many must be left for compression to be worth its time to the writer and every reader.
const WORTH_PERCENT: usize = 95;

/// Of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub has_dictionary: bool,
    /// By Snappy, where that is what the file has.
    pub is_compressed: bool,
}

/// The choice for each column of a table that begins with `batch`.
pub fn choices(batch: &RecordBatch) -> Vec<Choice> {
    let is_wide = batch.num_columns() > MAX_DICTIONARIES;
    batch
        .columns()
        .iter()
        .map(|column| {
            let column = column.slice(0, column.len().min(SAMPLE_ROWS));
            let data = column.to_data();
            let Some(sample) = Sample::take(&column, &data) else {
                return Choice {
                    has_dictionary: !is_wide,
                    is_compressed: true,
                };
            };
            let has_dictionary = !is_wide && sample.dictionary_bytes() <= DICTIONARY_BYTES;
            Choice {
                has_dictionary,
                is_compressed: has_dictionary || sample.shrinks(),
            }
        })
        .collect()
}

/// The first values of a column that are there.
struct Sample<'a> {
    values: Vec<&'a [u8]>,
    /// The file has its length before each.
    has_lengths: bool,
}

impl<'a> Sample<'a> {
    /// None for columns whose values have no bytes of their own: nested ones, booleans, dictionaries.
    fn take(column: &'a ArrayRef, data: &'a arrow::array::ArrayData) -> Option<Self> {
        let present = (0..column.len()).filter(|row| column.is_valid(*row));
        let values: Vec<&[u8]> = match (column.data_type(), data.buffers()) {
            (DataType::Utf8, _) => {
                let column = column.as_string::<i32>();
                present.map(|row| column.value(row).as_bytes()).collect()
            }
            (DataType::Binary, _) => {
                let column = column.as_binary::<i32>();
                present.map(|row| column.value(row)).collect()
            }
            (kind, [buffer]) => {
                let (width, stored) = widths(kind)?;
                let start = data.offset() * width;
                let bytes = buffer.as_slice().get(start..)?;
                let value = |row: usize| bytes.get(row * width..row * width + stored);
                present.map(value).collect::<Option<_>>()?
            }
            _ => return None,
        };
        Some(Self {
            values,
            has_lengths: matches!(column.data_type(), DataType::Utf8 | DataType::Binary),
        })
    }

    /// An estimate of what all different values of the column take. Of `n` values drawn from `d`, about `n * n / 2d` are
    /// there already; so the fewer repeat, the more there are. A value that follows itself is one draw: sorted columns
    /// have as many values as others.
    fn dictionary_bytes(&self) -> usize {
        let mut values = self.values.clone();
        values.dedup();
        let drawn = values.len();
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        let repeated = drawn - values.into_iter().collect::<HashSet<_>>().len();
        drawn * bytes / (2 * repeated).max(1)
    }

    fn shrinks(&self) -> bool {
        let mut plain = Vec::new();
        for value in &self.values {
            if self.has_lengths {
                plain.extend((value.len() as u32).to_le_bytes());
            }
            plain.extend(*value);
        }
        match snap::raw::Encoder::new().compress_vec(&plain) {
            Ok(compressed) => compressed.len() * 100 <= plain.len() * WORTH_PERCENT,
            Err(_) => true,
        }
    }
}

/// Bytes of a value in Arrow, and how many of them Parquet stores.
fn widths(kind: &DataType) -> Option<(usize, usize)> {
    let width = match kind {
        DataType::Dictionary(..) => return None,
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok()?,
        kind => kind.primitive_width()?,
    };
    let stored = match kind {
        DataType::Decimal128(..=9, _) | DataType::Decimal256(..=9, _) => 4,
        DataType::Decimal128(..=18, _) | DataType::Decimal256(..=18, _) => 8,
        _ => width,
    };
    Some((width, stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn check(column: ArrayRef, has_dictionary: bool, is_compressed: bool) {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let expected = Choice {
            has_dictionary,
            is_compressed,
        };
        assert_eq!(
            choices(&batch),
            [expected],
            "{:?}",
            batch.column(0).data_type()
        );
    }

    /// Numbers without a pattern.
    fn noise() -> impl Iterator<Item = u64> {
        let next = |state: &u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        std::iter::successors(Some(1), next).map(|state| state ^ (state >> 29))
    }

    #[test]
    fn noise_is_neither_gathered_nor_compressed() {
        let numbers = || noise().take(5000);
        check(
            Arc::new(UInt64Array::from_iter_values(numbers())),
            false,
            false,
        );
        check(
            Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64))),
            false,
            false,
        );
        let decimals = numbers().map(|n| i128::from(n >> 5));
        let decimals = Decimal128Array::from_iter_values(decimals);
        check(
            Arc::new(decimals.with_precision_and_scale(18, 2).unwrap()),
            false,
            false,
        );
        let ids = numbers().map(|n| u128::from(n).pow(2).to_be_bytes());
        let ids = FixedSizeBinaryArray::try_from_iter(ids).unwrap();
        check(Arc::new(ids), false, false);
    }

    #[test]
    fn text_without_repeats_is_compressed_and_short_lists_of_values_are_gathered() {
        let lines = (0..5000)
            .map(|n| format!("user{n}@mail.example of a long line that is like the others"));
        check(Arc::new(StringArray::from_iter_values(lines)), false, true);
        let words = (0..5000).map(|n| ["new", "open", "shut"][n % 3]);
        check(Arc::new(StringArray::from_iter_values(words)), true, true);
        check(
            Arc::new(Int64Array::from_iter_values((0..5000).map(|n| n % 7))),
            true,
            true,
        );
        check(Arc::new(BooleanArray::from(vec![true; 5000])), true, true);
        check(
            Arc::new(Int64Array::from(vec![None::<i64>; 5000])),
            true,
            true,
        );
    }
}
