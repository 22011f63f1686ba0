//! How fast a page of JSON becomes a batch: parsed and decoded with given columns, without HTTP and components.
//!
//! Usage: json_decode FILE POINTER COLUMNS SECONDS
//!   FILE     a body, such as a page of `bench/rest/pages.py`
//!   POINTER  where its records are: `/items`
//!   COLUMNS  as `wit/json.wit` writes them; `infer` infers them first

// The capability itself, which uses the rest, is not here.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

#[path = "../src/capabilities/json/decode/mod.rs"]
mod decode;

use decode::{Columns, Options, Tape};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, pointer, columns, seconds] = arguments.as_slice() else {
        println!("usage: json_decode FILE POINTER COLUMNS SECONDS");
        return;
    };
    let body = std::fs::read(file).unwrap();
    let time = Duration::from_secs_f64(seconds.parse().unwrap());
    let columns = match columns.as_str() {
        "infer" => {
            let tape = Tape::parse(&body, false, u64::MAX).unwrap();
            let document = tape.document();
            decode::infer(decode::array(document.root(), pointer).unwrap(), None).unwrap()
        }
        given => Columns::parse(given).unwrap(),
    };
    let (start, mut rounds, mut rows) = (Instant::now(), 0u64, 0u64);
    let mut parsing = Duration::ZERO;
    while start.elapsed() < time {
        let begin = Instant::now();
        let tape = Tape::parse(&body, false, u64::MAX).unwrap();
        parsing += begin.elapsed();
        let document = tape.document();
        let records = decode::array(document.root(), pointer).unwrap();
        let batch = decode::rows(records, &columns, &Options::default(), u64::MAX).unwrap();
        rows += batch.num_rows() as u64;
        rounds += 1;
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{:.0} MB/s, {:.0} rows/s, {:.0} % of it parsing",
        body.len() as f64 * rounds as f64 / 1e6 / took,
        rows as f64 / took,
        parsing.as_secs_f64() / took * 100.0
    );
}
