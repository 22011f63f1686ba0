//! How fast files are sealed and opened, beside the library that does the work: one line a way, on one core.
//!
//! `seal_speed [MIB]` takes files of so many MiB (8 unless told) and prints the best of some runs in GB/s, with the share of
//! what aws-lc-rs alone makes of messages of 1 MiB in the same run. With 8 MiB all of it stays in the CPU's caches, so that
//! what is measured is the work; with 1024 the memory is measured too. Run it on one core: `taskset -c 1 seal_speed`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dativo_wasm::report;
use dativo_wasm::seal::{Context, DataKey, FreshKey, v0, v1};
use zeroize::Zeroizing;

/// What comes at a time, in bytes: not the size of a chunk, as a rule.
const PIECE: usize = 2 << 20;
const MIB: usize = 1 << 20;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mib = std::env::args().nth(1).map_or(Ok(8), |mib| mib.parse())?;
    let pieces = usize::max(mib * MIB / PIECE, 1);
    let base = aws_lc(pieces * PIECE)?;
    chunked(pieces, 64 << 10, base)?;
    chunked(pieces, MIB, base)?;
    single(pieces, base)
}

/// Prints the best run; `share_of` is what others are compared with.
fn line(
    what: &str,
    bytes: usize,
    share_of: Option<f64>,
    mut run: impl FnMut() -> Outcome,
) -> Outcome<f64> {
    let mut best = Duration::MAX;
    let begun = Instant::now();
    let mut runs = 0;
    while runs < 5 || begun.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
        runs += 1;
    }
    let speed = bytes as f64 / best.as_secs_f64() / 1e9;
    let share = share_of.map_or(String::new(), |base| format!("{:5.2} x", speed / base));
    report::result(&format!("{what:44} {speed:6.2} GB/s {share}"));
    Ok(speed)
}

/// The library alone: messages of 1 MiB, sealed where they are and opened into another buffer.
fn aws_lc(bytes: usize) -> Outcome<(f64, f64)> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(failed)?);
    let nonce = || Nonce::assume_unique_for_key([7; 12]);
    let mut message = vec![7; MIB];
    let mut seal = || key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut message);
    let sealing = line("aws-lc-rs alone, 1 MiB: seal", bytes, None, || {
        for _ in 0..bytes / MIB {
            let _ = black_box(seal().map_err(failed)?);
        }
        Ok(())
    })?;
    let tag = seal().map_err(failed)?;
    let mut out = vec![0; MIB];
    let opening = line("aws-lc-rs alone, 1 MiB: open", bytes, None, || {
        for _ in 0..bytes / MIB {
            key.open_separate_gather(nonce(), Aad::empty(), &message, tag.as_ref(), &mut out)
                .map_err(failed)?;
        }
        Ok(())
    })?;
    Ok((sealing, opening))
}

fn failed(_: aws_lc_rs::error::Unspecified) -> &'static str {
    "aws-lc-rs failed"
}

fn data_key() -> Outcome<DataKey> {
    Ok(DataKey::new(Zeroizing::new(vec![7; 32]))?)
}

fn fresh_key() -> Outcome<FreshKey> {
    Ok(FreshKey::new(data_key()?, vec![7; 184])?)
}

/// Format v1 with chunks of some bytes.
fn chunked(pieces: usize, chunk_bytes: usize, base: (f64, f64)) -> Outcome {
    let context = Context::of_run("acme", "orders", "7f3a")?;
    let chunk_size = v1::ChunkSize::new(chunk_bytes)?;
    let what = |does| format!("v1, chunks of {} KiB: {does}", chunk_bytes >> 10);
    let plaintext = vec![7; PIECE];
    let bytes = pieces * PIECE;
    let mut out = Vec::new();
    line(&what("seal"), bytes, Some(base.0), || {
        let (mut sealer, _) = v1::Sealer::new(fresh_key()?, &context, chunk_size)?;
        for _ in 0..pieces {
            out.clear();
            sealer.update(&plaintext, &mut out)?;
        }
        Ok(sealer.finish(&mut out)?)
    })?;

    let (mut sealer, mut file) = v1::Sealer::new(fresh_key()?, &context, chunk_size)?;
    for _ in 0..pieces {
        sealer.update(&plaintext, &mut file)?;
    }
    sealer.finish(&mut file)?;
    let header = v1::Header::parse(&file)?;
    line(&what("open as a stream"), bytes, Some(base.1), || {
        let mut stream = header.open(&data_key()?, &[])?.into_stream();
        for piece in file[header.head_bytes()..].chunks(PIECE) {
            out.clear();
            stream.update(piece, &mut out)?;
        }
        Ok(stream.finish(&mut out)?)
    })?;
    let part = |place: std::ops::Range<u64>| &file[place.start as usize..place.end as usize];
    line(&what("open by chunks"), bytes, Some(base.1), || {
        let opener = header.open(&data_key()?, &[])?;
        let last = part(opener.last_chunk(file.len() as u64)?);
        let chunks = opener.into_chunks(file.len() as u64, last)?;
        for number in 0..=chunks.last() {
            out.clear();
            chunks.open(number, part(chunks.place(number)?), &mut out)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Format v0, as a stream and in memory.
fn single(pieces: usize, base: (f64, f64)) -> Outcome {
    let plaintext = vec![7; PIECE];
    let bytes = pieces * PIECE;
    let mut out = Vec::new();
    line("v0: seal as a stream", bytes, Some(base.0), || {
        let mut sealer = v0::Sealer::new(fresh_key()?)?;
        for _ in 0..pieces {
            out.clear();
            sealer.update(&plaintext, &mut out)?;
        }
        black_box(sealer.finish());
        Ok(())
    })?;
    let mut data = vec![7; bytes];
    line("v0: seal in memory", bytes, Some(base.0), || {
        black_box(v0::seal_in_place(fresh_key()?, &mut data)?);
        Ok(())
    })?;

    let head = v0::Head::parse(&v0::seal_in_place(fresh_key()?, &mut data)?)?;
    let verify = || {
        let mut verifier = v0::Verifier::new(&data_key()?, &head)?;
        for piece in data.chunks(PIECE) {
            verifier.update(piece)?;
        }
        Ok(verifier.finish()?)
    };
    line("v0: open, first pass of two", bytes, Some(base.1), || {
        verify().map(|_| ())
    })?;
    line("v0: open, both passes", bytes, Some(base.1), || {
        let mut opener = verify()?;
        for piece in data.chunks(PIECE) {
            out.clear();
            opener.update(piece, &mut out)?;
        }
        Ok(opener.finish(&mut out)?)
    })?;
    line(
        "v0: open in memory, with a copy",
        bytes,
        Some(base.1),
        || {
            let mut copy = data.clone();
            Ok(v0::open_in_place(&data_key()?, &head, &mut copy)?)
        },
    )?;
    Ok(())
}
