//! The keys that a run has seen, within a stated memory: no key itself is kept, only 112 bits of a hash, and who
//! brought it.
//!
//! The hash is keyed anew for each run, so that nobody can choose two keys that are taken for one; by
//! chance that happens once in some 10^19 runs of ten million keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Parts of the table, each with its own lock, so that splits do not wait for each other.
const SHARDS: usize = 64;

/// Memory that one key is counted with: a slot of 16 bytes, and one free slot for every four that are taken.
const BYTES_PER_KEY: u64 = 20;

const SLOT_BYTES: u64 = 16;

/// Slots that a part begins with.
const FIRST_SLOTS: usize = 64;

/// Least memory for keys, in bytes: below it, the parts fill up unevenly.
pub const MIN_MEMORY_BYTES: u64 = 1 << 20;

/// Bits of a slot, the lowest, that say who brought its key. The others are of the hash.
const BRINGER_BITS: u32 = 16;

const HASH: u128 = u128::MAX << BRINGER_BITS;

/// Bits of a [`Bringer`] that number its attempt; the rest numbers the split, and a job has at most 1024 of them.
const ATTEMPT_BITS: u32 = 2;

/// Attempts at one split that are told from each other.
pub const MAX_ATTEMPTS: u32 = 1 << ATTEMPT_BITS;

/// One attempt at one split. Where a split is read again, its keys come again and are not there twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bringer(u16);

impl Bringer {
    pub fn new(split: u32, attempt: u32) -> Self {
        Self(((split << ATTEMPT_BITS) | (attempt % MAX_ATTEMPTS)) as u16)
    }

    fn of(slot: u128) -> Self {
        Self(slot as u16)
    }

    /// Whether both are attempts at one split, and not the same.
    fn repeats(self, other: Self) -> bool {
        self != other && self.0 >> ATTEMPT_BITS == other.0 >> ATTEMPT_BITS
    }
}

/// Whether a key was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    First,
    Again,
    /// There is no room for another key.
    Full,
}

/// All keys of a run, shared by its splits.
pub struct KeySet {
    hashers: [RandomState; 2],
    shards: Vec<Mutex<Shard>>,
    /// Held while a part grows: then its old slots are there too, and only one part at a time does so.
    growing: Mutex<()>,
    keys: AtomicU64,
    max_keys: u64,
    max_slots: usize,
}

impl KeySet {
    /// A set that takes at most `memory` bytes.
    pub fn new(memory: u64) -> Self {
        // One part more than there are, for the one that grows.
        let max_slots = memory / (SHARDS as u64 + 1) / SLOT_BYTES;
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            growing: Mutex::new(()),
            keys: AtomicU64::new(0),
            max_keys: keys_that_fit(memory),
            max_slots: usize::try_from(max_slots).unwrap_or(usize::MAX),
        }
    }

    pub fn max_keys(&self) -> u64 {
        self.max_keys
    }

    pub fn insert(&self, key: &[u8], by: Bringer) -> Seen {
        let half = |hasher: &RandomState| u128::from(hasher.hash_one(key));
        let hash = (half(&self.hashers[0]) << 64 | half(&self.hashers[1])) & HASH;
        // Zero marks a free slot.
        let slot = hash.max(1 << BRINGER_BITS) | u128::from(by.0);
        let shard = self.shards.get((slot >> 64) as usize % SHARDS);
        let Some(shard) = shard else {
            return Seen::Full;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = shard.taken(slot) {
            if !by.repeats(Bringer::of(*taken)) {
                return Seen::Again;
            }
            *taken = slot;
            return Seen::First;
        }
        if self.keys.load(Relaxed) >= self.max_keys {
            return Seen::Full;
        }
        if shard.is_crowded() {
            let _one_at_a_time = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
            if !shard.grow(self.max_slots) {
                return Seen::Full;
            }
        }
        shard.put(slot);
        self.keys.fetch_add(1, Relaxed);
        Seen::First
    }
}

/// How many keys fit into `memory` bytes.
pub fn keys_that_fit(memory: u64) -> u64 {
    memory / BYTES_PER_KEY
}

/// Slots by hash, looked through one after the other from where a hash belongs.
#[derive(Default)]
struct Shard {
    slots: Vec<u128>,
    taken: usize,
}

impl Shard {
    /// The place that has the key of `slot`, or the free one where it belongs.
    fn find(&self, slot: u128) -> Option<usize> {
        let count = self.slots.len();
        let start = (slot >> BRINGER_BITS) as usize % count.max(1);
        let places = (start..count).chain(0..start);
        places.into_iter().find(|place| {
            let found = self.slots.get(*place);
            found.is_some_and(|found| *found == 0 || *found & HASH == slot & HASH)
        })
    }

    /// What is there of the key of `slot`.
    fn taken(&mut self, slot: u128) -> Option<&mut u128> {
        let place = self.find(slot)?;
        self.slots.get_mut(place).filter(|found| **found != 0)
    }

    fn put(&mut self, slot: u128) {
        if let Some(place) = self.find(slot)
            && let Some(free) = self.slots.get_mut(place)
        {
            *free = slot;
            self.taken += 1;
        }
    }

    /// More than seven of eight slots are taken: looking through them gets slow.
    fn is_crowded(&self) -> bool {
        self.taken * 8 >= self.slots.len() * 7
    }

    /// Makes room, to at most `max` slots. At that size, only the last slot stays free.
    fn grow(&mut self, max: usize) -> bool {
        if self.slots.len() >= max {
            return self.taken + 1 < self.slots.len();
        }
        let count = (self.slots.len() * 2).clamp(FIRST_SLOTS.min(max), max);
        let old = std::mem::replace(&mut self.slots, vec![0; count]);
        self.taken = 0;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.put(slot);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Bringer = Bringer(0);

    #[test]
    fn a_split_that_is_read_again_brings_its_keys_again_and_no_other_does() {
        let set = KeySet::new(MIN_MEMORY_BYTES);
        let check = |key: &[u8], (split, attempt), expected| {
            let seen = set.insert(key, Bringer::new(split, attempt));
            assert_eq!(seen, expected, "split {split}, attempt {attempt}");
        };
        let last = (1023, MAX_ATTEMPTS - 1);
        for (by, expected) in [
            ((0, 0), Seen::First),
            ((0, 0), Seen::Again),
            ((1, 1), Seen::Again),
            ((0, 1), Seen::First),
            ((0, 1), Seen::Again),
            ((1, 2), Seen::Again),
            ((0, 3), Seen::First),
            (last, Seen::Again),
        ] {
            check(b"key", by, expected);
        }
        check(b"other", last, Seen::First);
        check(b"other", (0, 0), Seen::Again);
        check(b"other", last, Seen::Again);
    }

    #[test]
    fn stops_at_the_number_of_keys_that_fit() {
        let memory = MIN_MEMORY_BYTES;
        let set = KeySet::new(memory);
        let fit = keys_that_fit(memory);
        for key in 0..fit {
            assert_eq!(
                set.insert(&key.to_le_bytes(), ANY),
                Seen::First,
                "{key} of {fit}"
            );
        }
        assert_eq!(set.insert(b"one more", ANY), Seen::Full);
        // What is there is still found.
        assert_eq!(set.insert(&0_u64.to_le_bytes(), ANY), Seen::Again);
    }

    #[test]
    fn takes_no_more_memory_than_it_was_given() {
        for memory in [MIN_MEMORY_BYTES, 3 << 20] {
            let set = KeySet::new(memory);
            for key in 0..keys_that_fit(memory) {
                set.insert(&key.to_le_bytes(), ANY);
            }
            let slots = |shard: &Mutex<Shard>| shard.lock().unwrap().slots.len() as u64;
            let largest = set.shards.iter().map(slots).max().unwrap();
            let all: u64 = set.shards.iter().map(slots).sum();
            assert!((all + largest) * SLOT_BYTES <= memory);
        }
    }

    #[test]
    fn finds_every_key_again_after_growing() {
        let set = KeySet::new(MIN_MEMORY_BYTES);
        for key in 0_u32..20_000 {
            assert_eq!(set.insert(&key.to_le_bytes(), ANY), Seen::First);
        }
        for key in 0_u32..20_000 {
            assert_eq!(set.insert(&key.to_le_bytes(), ANY), Seen::Again);
        }
    }

    /// The number that the documents state.
    #[test]
    fn thirteen_million_keys_fit_into_the_default() {
        assert_eq!(keys_that_fit(256 << 20), 13_421_772);
    }
}
