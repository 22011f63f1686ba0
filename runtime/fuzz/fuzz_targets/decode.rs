//! The decoder of Postgres rows, which knows no host, on what libFuzzer comes up with. What is checked is in
//! `fuzz_tests.rs` beside it; the rows that it begins with were recorded by `record.py`.

#![no_main]
// The capability itself, which uses the rest, is not here.
#![allow(dead_code, unused_imports)]

#[path = "../../src/capabilities/postgres/decode/mod.rs"]
mod decode;
#[path = "../../src/capabilities/postgres/decode/fuzz_tests.rs"]
mod fuzz_tests;

use decode::{Broken, Catalog, Column, Decoder, Decoding, Layout, Next};

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_tests::check(input));
