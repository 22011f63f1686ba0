//! The decoder of JSON, which knows no host, on what libFuzzer comes up with. What is checked is in `fuzz_tests.rs` beside it.

#![no_main]
// The capability itself, which uses the rest, is not here.
#![allow(dead_code, unused_imports)]

#[path = "../../src/capabilities/json/decode/mod.rs"]
mod decode;
#[path = "../../src/capabilities/json/decode/fuzz_tests.rs"]
mod fuzz_tests;

use decode::{
    Columns, Options, Refusal, RefusalKind, Tape, Value, array, digest, greatest, infer, rows, values,
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_tests::check(input));
