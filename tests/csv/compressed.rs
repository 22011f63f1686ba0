//! Compressed files: several members, streams or frames in one, and files that are cut or damaged.

use std::io::Write;

use super::{check, reads, refuses};
use crate::support::{TestDir, files_below};

/// Two texts that are a table only together: the cut is inside a quoted field.
const PARTS: [&str; 2] = ["a,b\n1,x\n2,\"two\nli", "nes\"\n3,z\n"];
const ROWS: &str = "a:int64|b:string\n1|x\n2|two\\nlines\n3|z";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The same cases for each format: `tool` tests a file of the ending.
fn check_format(ending: &str, format: &str, tool: &str, compress: fn(&str) -> Vec<u8>) {
    let name = format!("f.csv.{ending}");
    let whole = compress(&PARTS.concat());
    let several = [compress(PARTS[0]), compress(""), compress(PARTS[1])].concat();
    let second_cut = [compress(PARTS[0]), whole[..whole.len() / 2].to_vec()].concat();
    let mut damaged = whole.clone();
    // In the checksum of the text, which ends the file of every format.
    let last = damaged.len() - if format == "gzip" { 8 } else { 2 };
    damaged[last] ^= 0x55;

    let cut = format!("`{name}` is cut: its {format} data ends too early");
    let hint = format!("check it with `{tool} {name}`");
    let mut cases = vec![
        reads(&whole, "", ROWS),
        reads(&several, "", ROWS),
        refuses(&second_cut, "", &cut, &hint),
    ];
    // From inside the header of the format to before its last byte.
    for length in [3, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
        cases.push(refuses(&whole[..length], "", &cut, &hint));
    }
    check(&name, &cases);

    // Another name says nothing, and the wrong name is noticed.
    let key = format!("compression: {format}");
    let found = format!("`f.csv` is {format} data, not text");
    check(
        "f.csv",
        &[
            reads(&several, &key, ROWS),
            refuses(&whole, "", &found, &format!("set `{key}`")),
        ],
    );
    damage(&name, &damaged, format, &hint);
}

/// What is damaged differs in words with the decoder, but never in what it leads to.
fn damage(name: &str, bytes: &[u8], format: &str, hint: &str) {
    let dir = TestDir::new();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    let output = super::run(&dir, "damaged", &format!("file_path: {name}"));
    let (message, found_hint) = super::error(&output).unwrap();
    let start = format!("`{name}` holds damaged {format} data (");
    assert!(message.starts_with(&start), "{message}");
    assert_eq!(found_hint, hint);
    assert_eq!(files_below(&dir.path().join("out")), Vec::<String>::new());
}

#[test]
fn gzip_members() {
    check_format("gz", "gzip", "gzip --test", gzip);
}

#[test]
fn bzip2_streams() {
    check_format("bz2", "bzip2", "bzip2 --test", bzip2);
}

#[test]
fn zstd_frames() {
    check_format("zst", "zstd", "zstd --test", zstd);
}

#[test]
fn text_behind_a_wrong_name_is_refused() {
    for (name, format) in [
        ("f.csv.gz", "gzip"),
        ("f.csv.bz2", "bzip2"),
        ("f.csv.zst", "zstd"),
    ] {
        let dir = TestDir::new();
        dir.write(name, "name,number\none,1\ntwo,2\n");
        let output = super::run(&dir, "text", &format!("file_path: {name}"));
        let (message, _) = super::error(&output).expect("text was decompressed");
        let start = format!("`{name}` holds damaged {format} data (");
        assert!(message.starts_with(&start), "{message}");
    }
}
