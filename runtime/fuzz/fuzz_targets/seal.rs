//! The openers of sealed files, which know no host, on what libFuzzer comes up with. What is checked is in `fuzz_tests.rs`
//! beside them.

#![no_main]
// Whoever seals and opens files is not here.
#![allow(dead_code, unused_imports)]

#[path = "../../src/seal/fuzz_tests.rs"]
mod fuzz_tests;
#[path = "../../src/seal/mod.rs"]
mod seal;

use seal::{Context, DataKey, FreshKey, MAX_HEAD_BYTES, SealError, Start, v0, v1};

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_tests::check(input));
