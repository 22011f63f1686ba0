//! The keys of a run's rows, and which row of each is the newest.
//!
//! Pure. A key is told by 128 bits of the SHA-256 of its values: shorter than most keys, and nobody finds two that meet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};

use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// What the table of keys takes for each of its slots: a hash, a place, and a byte of the map itself.
const SLOT_BYTES: u64 = 16 + 8 + 1;

type Hash = [u64; 2];

pub struct Keys {
    converter: RowConverter,
    newest: HashMap<Hash, Place>,
}

/// A row of a file of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: u32,
    pub row: u32,
}

impl Keys {
    /// Room for the keys of `rows` rows with columns of `types`, where that takes no more than `memory_bytes`.
    pub fn new(types: &[DataType], rows: u64, memory_bytes: u64) -> Result<Self> {
        // As a hash map has it: a power of two, one slot in eight free.
        let slots = (rows.max(1) * 8 / 7 + 1).next_power_of_two();
        let needed = slots.saturating_mul(SLOT_BYTES);
        if needed > memory_bytes {
            let message = format!(
                "an upsert of {rows} rows takes {} MiB for their keys, and the instance has {} MiB left",
                (needed >> 20) + 1,
                memory_bytes >> 20
            );
            return Err(Failure::new(ErrorKind::LimitExceeded, message)
                .hint("raise `limits: { memory: … }`, or write fewer rows with one run"));
        }
        let fields = types.iter().cloned().map(SortField::new).collect();
        Ok(Self {
            converter: RowConverter::new(fields).map_err(unfit)?,
            newest: HashMap::with_capacity(usize::try_from(rows).unwrap_or(usize::MAX)),
        })
    }

    /// Takes rows in, of which `first` is the place of the first. Gives, for each key that was there already, where its row was.
    pub fn insert(&mut self, columns: &[ArrayRef], first: Place) -> Result<Vec<(Place, Place)>> {
        let mut replaced = Vec::new();
        let mut place = first;
        for hash in hashes(&self.converter, columns)? {
            match self.newest.entry(hash) {
                Entry::Vacant(entry) => {
                    entry.insert(place);
                }
                Entry::Occupied(mut entry) => {
                    replaced.push((*entry.get(), place));
                    entry.insert(place);
                }
            }
            place.row += 1;
        }
        Ok(replaced)
    }

    /// For each row whether a row of the run has its key. A NULL is no key.
    pub fn holds(&self, columns: &[ArrayRef]) -> Result<BooleanArray> {
        let hashes = hashes(&self.converter, columns)?;
        Ok(hashes
            .map(|hash| Some(self.newest.contains_key(&hash)))
            .collect())
    }
}

fn hashes(converter: &RowConverter, columns: &[ArrayRef]) -> Result<impl Iterator<Item = Hash>> {
    let rows = converter.convert_columns(columns).map_err(unfit)?;
    let hash = move |at: usize| {
        let digest = Sha256::digest(rows.row(at).data());
        let half = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[from..from + 8]);
            u64::from_le_bytes(bytes)
        };
        [half(0), half(8)]
    };
    let count = columns.first().map_or(0, |column| column.len());
    Ok((0..count).map(hash))
}

fn unfit(error: arrow::error::ArrowError) -> Failure {
    Failure::new(
        ErrorKind::Internal,
        format!("the key cannot be compared: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn columns(ids: &[i64], names: &[Option<&str>]) -> Vec<ArrayRef> {
        vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(StringArray::from(names.to_vec())),
        ]
    }

    fn keys() -> Keys {
        Keys::new(&[DataType::Int64, DataType::Utf8], 8, 1 << 20).unwrap()
    }

    #[test]
    fn a_key_is_all_of_its_columns() {
        let mut keys = keys();
        let first = Place { file: 0, row: 0 };
        let rows = columns(&[1, 1, 2], &[Some("a"), Some("b"), Some("a")]);
        assert_eq!(keys.insert(&rows, first).unwrap(), []);
        let asked = columns(
            &[1, 2, 2, 1, 12],
            &[Some("b"), Some("b"), Some("a"), None, Some("")],
        );
        let held = keys.holds(&asked).unwrap();
        let held: Vec<_> = held.iter().flatten().collect();
        assert_eq!(held, [true, false, true, false, false]);
    }

    #[test]
    fn a_later_row_takes_the_place_of_an_earlier_one() {
        let mut keys = keys();
        let rows = columns(&[1, 2, 1], &[Some("a"), Some("a"), Some("a")]);
        let place = |file, row| Place { file, row };
        let replaced = keys.insert(&rows, place(3, 10)).unwrap();
        assert_eq!(replaced, [(place(3, 10), place(3, 12))]);
        let replaced = keys.insert(&columns(&[1], &[Some("a")]), place(4, 0));
        assert_eq!(replaced.unwrap(), [(place(3, 12), place(4, 0))]);
    }

    #[test]
    fn more_keys_than_the_memory_holds_are_refused() {
        let Err(failure) = Keys::new(&[DataType::Int64], 10_000_000, 256 << 20) else {
            panic!("taken");
        };
        assert_eq!(failure.kind, ErrorKind::LimitExceeded);
        assert!(failure.message.contains("401 MiB"), "{failure}");
        assert!(Keys::new(&[DataType::Int64], 7_000_000, 256 << 20).is_ok());
    }
}
