//! The modules of the reader that know no host, on what libFuzzer comes up with. What is checked is in
//! `src/fuzz_tests.rs`.

#![no_main]
// The component itself, which uses the rest, is not here.
#![allow(dead_code)]

#[path = "../../src/boundary.rs"]
mod boundary;
#[path = "../../src/columns.rs"]
mod columns;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/fast.rs"]
mod fast;
#[path = "../../src/fuzz_tests.rs"]
mod fuzz_tests;
#[path = "../../src/head.rs"]
mod head;
#[path = "../../src/infer.rs"]
mod infer;
#[path = "../../src/parse.rs"]
mod parse;
#[path = "../../src/rows.rs"]
mod rows;
#[path = "../../src/scan.rs"]
mod scan;
#[path = "../../src/simd.rs"]
mod simd;
#[path = "../../src/split.rs"]
mod split;
#[path = "../../src/types.rs"]
mod types;
#[path = "../../src/window.rs"]
mod window;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_tests::check(input));
