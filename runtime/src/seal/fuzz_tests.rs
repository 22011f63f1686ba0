//! What holds for whatever bytes come: nothing panics, no way of opening gives out a byte that was not sealed, and none
//! takes a file for whole that is not the one that was sealed.
//!
//! Used by the tests and, with the same names in scope, by the fuzz target.

use std::sync::LazyLock;

use zeroize::Zeroizing;

use super::{Context, DataKey, FreshKey, MAX_HEAD_BYTES, SealError, Start, v0, v1};

type Result<T> = std::result::Result<T, SealError>;

/// A file in both formats, and the ones that it is mixed with.
pub struct Sample {
    pub plaintext: Vec<u8>,
    pub v0: Vec<u8>,
    pub v1: Vec<u8>,
}

/// Three chunks and a bit, of the smallest size.
pub const SAMPLE_BYTES: usize = 3 * 4096 + 100;

pub static SAMPLE: LazyLock<Sample> = LazyLock::new(|| sample(1));
/// The same plaintext under the same key.
pub static TWIN: LazyLock<Sample> = LazyLock::new(|| sample(1));
/// The same plaintext under another key.
pub static STRANGER: LazyLock<Sample> = LazyLock::new(|| sample(2));

fn sample(key: u8) -> Sample {
    let plaintext: Vec<u8> = (0..SAMPLE_BYTES).map(|n| (n % 251) as u8).collect();
    let mut body = plaintext.clone();
    let mut v0 = v0::seal_in_place(fresh(key), &mut body).unwrap();
    v0.extend_from_slice(&body);
    let (mut sealer, mut v1) = v1::Sealer::new(fresh(key), &context(), smallest()).unwrap();
    sealer.update(&plaintext, &mut v1).unwrap();
    sealer.finish(&mut v1).unwrap();
    Sample { plaintext, v0, v1 }
}

pub fn key(byte: u8) -> DataKey {
    DataKey::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

pub fn fresh(byte: u8) -> FreshKey {
    FreshKey::new(key(byte), vec![byte; 20]).unwrap()
}

pub fn context() -> Context {
    Context::of_run("acme", "orders", "7f3a").unwrap()
}

pub fn smallest() -> v1::ChunkSize {
    v1::ChunkSize::new(4096).unwrap()
}

/// The first byte chooses what the rest is.
#[cfg(not(test))]
pub fn check(input: &[u8]) {
    let Some((what, rest)) = input.split_first() else {
        return;
    };
    match what % 4 {
        0 => check_any(rest),
        1 => check_header(rest),
        2 => check_edits(&SAMPLE.v0, &[&TWIN.v0, &STRANGER.v0], rest),
        _ => check_edits(&SAMPLE.v1, &[&TWIN.v1, &STRANGER.v1], rest),
    }
}

/// `file` is anything at all.
pub fn check_any(file: &[u8]) {
    let _ = Start::read(file).map(|start| assert!(start.head_bytes <= MAX_HEAD_BYTES));
    check_file(file);
}

/// `fields` stand in a header whose checksum is right, as one who wants to be read would write it.
pub fn check_header(fields: &[u8]) {
    let length = u16::try_from(12 + fields.len() + 32).unwrap_or(u16::MAX);
    let mut header = b"\x89DATIVO\n\x01\x0c".to_vec();
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(fields);
    let checksum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &header);
    header.extend_from_slice(checksum.as_ref());
    check_file(&header);
}

/// `file` after the edits that `input` describes, six bytes each, with parts of `others` put in.
pub fn check_edits(file: &[u8], others: &[&[u8]; 2], input: &[u8]) {
    let mut edited = file.to_vec();
    for edit in input.chunks_exact(6).take(8) {
        let at = |high, low| usize::from(u16::from_be_bytes([edit[high], edit[low]]));
        let from = at(1, 2) % (edited.len() + 1);
        let to = (from + at(3, 4)).min(edited.len());
        match edit[0] % 6 {
            0 if from < edited.len() => edited[from] ^= edit[5],
            0 => edited.push(edit[5]),
            1 => drop(edited.drain(from..to)),
            2 => edited.truncate(from),
            3 => {
                let part = edited[from..to].to_vec();
                edited.splice(to..to, part);
            }
            4 => edited[from..to].rotate_left(usize::from(edit[5]).min(to - from)),
            _ => {
                let other = others[usize::from(edit[5] % 2)];
                let end = to.min(other.len());
                let part = &other[from.min(end)..end];
                edited[from..from + part.len()].copy_from_slice(part);
            }
        }
        // Copies double, eight times at most.
        edited.truncate(file.len() * 4);
    }
    check_file(&edited);
}

/// Opens `file` in every way with the key of the sample: either it is one of the two files that were sealed with that key
/// and all of it comes out, or it does not open.
pub fn check_file(file: &[u8]) {
    // The tag of v0 does not cover the wrapped key: the key service notices.
    let is_v0 = |sealed: &[u8]| {
        let head_bytes = |file: &[u8]| v0::Head::parse(file).map(|head| head.head_bytes());
        let without_wrapped = |file: &[u8]| [&file[..16], &file[36..]].concat();
        head_bytes(file) == head_bytes(sealed) && without_wrapped(file) == without_wrapped(sealed)
    };
    let expected = is_v0(&SAMPLE.v0) || is_v0(&TWIN.v0);
    for opened in [
        open_v0_in_place(file),
        open_v0(file, 1000),
        open_v0(file, usize::MAX),
    ] {
        check_opened(&opened, expected);
    }
    let expected = file == SAMPLE.v1 || file == TWIN.v1;
    for pieces in [999, usize::MAX] {
        let mut out = Vec::new();
        let opened = open_v1(file, pieces, &mut out);
        assert!(
            SAMPLE.plaintext.starts_with(&out),
            "what came is not what was sealed"
        );
        check_opened(&opened.map(|()| out), expected);
    }
    check_opened(&open_v1_chunks(file), expected);
}

fn check_opened(opened: &Result<Vec<u8>>, expected: bool) {
    match opened {
        Ok(plaintext) => assert!(expected && *plaintext == SAMPLE.plaintext),
        Err(error) => assert!(!expected, "{error}"),
    }
}

pub fn open_v0_in_place(file: &[u8]) -> Result<Vec<u8>> {
    let head = v0::Head::parse(file)?;
    let mut data = file[head.head_bytes()..].to_vec();
    let opened = v0::open_in_place(&key(1), &head, &mut data);
    if opened.is_err() {
        assert!(
            data.iter().all(|byte| *byte == 0),
            "plaintext is left behind"
        );
    }
    opened.map(|()| data)
}

/// In two passes, by pieces of some bytes.
pub fn open_v0(file: &[u8], pieces: usize) -> Result<Vec<u8>> {
    let head = v0::Head::parse(file)?;
    let ciphertext = &file[head.head_bytes()..];
    let mut verifier = v0::Verifier::new(&key(1), &head)?;
    for piece in ciphertext.chunks(pieces) {
        verifier.update(piece)?;
    }
    let mut opener = verifier.finish()?;
    assert_eq!(opener.plaintext_bytes(), ciphertext.len() as u64);
    let mut out = Vec::new();
    for piece in ciphertext.chunks(pieces) {
        opener.update(piece, &mut out)?;
    }
    opener.finish(&mut out)?;
    Ok(out)
}

/// As a stream, by pieces of some bytes.
pub fn open_v1(file: &[u8], pieces: usize, out: &mut Vec<u8>) -> Result<()> {
    let header = v1::Header::parse(file)?;
    let opener = header.open(&key(1), &[("tenant", "acme")])?;
    let mut stream = opener.into_stream();
    for piece in file[header.head_bytes()..].chunks(pieces) {
        stream.update(piece, out)?;
    }
    stream.finish(out)
}

/// Chunk by chunk, the last one first. What opens is checked even where another chunk does not.
pub fn open_v1_chunks(file: &[u8]) -> Result<Vec<u8>> {
    let header = v1::Header::parse(file)?;
    let opener = header.open(&key(1), &[])?;
    let part = |place: std::ops::Range<u64>| &file[place.start as usize..place.end as usize];
    let bytes = file.len() as u64;
    let last = part(opener.last_chunk(bytes)?);
    let chunks = opener.into_chunks(bytes, last)?;
    let mut whole = vec![0; usize::try_from(chunks.plaintext_bytes()).unwrap()];
    let mut failure: Option<SealError> = None;
    for number in (0..=chunks.last()).rev() {
        let start = number as usize * header.chunk_size().bytes();
        let mut out = Vec::new();
        match chunks.open(number, part(chunks.place(number)?), &mut out) {
            Ok(()) => {
                assert!(
                    SAMPLE.plaintext[start..].starts_with(&out),
                    "not what was sealed"
                );
                whole[start..start + out.len()].copy_from_slice(&out);
            }
            Err(error) => {
                assert!(out.is_empty(), "plaintext came with an error");
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(whole), Err)
}
