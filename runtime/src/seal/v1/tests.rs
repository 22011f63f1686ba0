//! Format v1: what it refuses and with which words, and that whatever is sealed comes back.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::super::MAX_WRAPPED_KEY_BYTES;
use super::super::fuzz_tests::{
    SAMPLE, SAMPLE_BYTES, STRANGER, TWIN, context, fresh, key, open_v1, open_v1_chunks, smallest,
};
use super::*;

/// A sealed chunk of the sample.
const CHUNK: usize = 4096 + TAG_BYTES;

fn head() -> usize {
    Header::parse(&SAMPLE.v1).unwrap().head_bytes()
}

/// Where the chunks of the sample stand.
fn places() -> Vec<std::ops::Range<usize>> {
    let end = SAMPLE.v1.len();
    (head()..end)
        .step_by(CHUNK)
        .map(|start| start..end.min(start + CHUNK))
        .collect()
}

/// What a stream makes of `file`, and how much of the plaintext it gave out.
fn stream(file: &[u8]) -> (Result<()>, usize) {
    let mut out = Vec::new();
    let opened = open_v1(file, usize::MAX, &mut out);
    assert!(
        SAMPLE.plaintext.starts_with(&out),
        "what came is not what was sealed"
    );
    let mut again = Vec::new();
    assert_eq!(open_v1(file, 777, &mut again), opened);
    assert_eq!(again, out);
    assert_eq!(open_v1_chunks(file).is_ok(), opened.is_ok());
    (opened, out.len())
}

fn check(file: &[u8], expected: SealError, released: usize) {
    assert_eq!(stream(file), (Err(expected), released));
}

/// `file` with the checksum of its header made right again.
fn with_checksum(mut file: Vec<u8>) -> Vec<u8> {
    let end = head();
    let checksum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file[..end - 32]);
    file[end - 32..end].copy_from_slice(checksum.as_ref());
    file
}

#[test]
fn refuses_every_byte_of_the_header_that_was_changed() {
    for at in 0..head() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut file = SAMPLE.v1.clone();
            file[at] ^= mask;
            let expected = match at {
                0..8 => SealError::NotSealed,
                8 => SealError::Version(1 ^ mask),
                _ => SealError::HeaderDamaged,
            };
            check(&file, expected, 0);
        }
    }
}

#[test]
fn refuses_a_header_that_was_changed_on_purpose() {
    let id = 12;
    let wrapped = 12 + 32 + 2;
    let context = wrapped + 20;
    let key_check = head() - 64;
    for (at, what) in [
        (9, "the chunk size"),
        (id, "the file id"),
        (wrapped, "the wrapped key"),
        (context + 8, "a value of the context"),
        (key_check, "the key check"),
        (key_check + 31, "the key check"),
    ] {
        let mut file = SAMPLE.v1.clone();
        file[at] ^= 1;
        let file = with_checksum(file);
        assert!(Header::parse(&file).is_ok(), "{what} is refused too early");
        check(&file, SealError::WrongKey, 0);
    }
}

/// What one who can make a checksum writes, where each field is out of its bounds.
#[test]
fn refuses_a_header_whose_fields_no_sealer_writes() {
    let parse = |power: u8, rest: &[&[u8]]| {
        let rest = rest.concat();
        let length = (12 + 32 + rest.len() + 64) as u16;
        let lead = [&MAGIC[..], &[1, power], &length.to_be_bytes(), &[7; 32]].concat();
        let file = [&lead[..], &rest, &[7; 32]].concat();
        let checksum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
        Header::parse(&[&file, checksum.as_ref()].concat()).map(|_| ())
    };
    let long = [7; MAX_WRAPPED_KEY_BYTES + 1];
    let one = &[b"\0\x01w", &b"\0"[..]][..];
    assert_eq!(parse(12, one), Ok(()));
    assert_eq!(parse(24, one), Ok(()));
    let damaged = Err(SealError::HeaderDamaged);
    for power in [0, 11, 25, 63, 64, 255] {
        assert_eq!(parse(power, one), damaged, "chunks of 2^{power}");
    }
    for (rest, what) in [
        (&[&b"\0\0\0\0"[..]][..], "no wrapped key"),
        (
            &[b"\x18\x01", &long, b"\0"],
            "a wrapped key that is too long",
        ),
        (&[b"\0\x05w\0"], "a wrapped key that is cut"),
        (&[b"\0\x01w"], "no context"),
        (&[b"\0\x01w\0\0"], "more than the context"),
        (&[b"\0\x01w\x01\0\0\0\0"], "a pair without a name"),
    ] {
        assert_eq!(parse(12, rest), damaged, "{what}");
    }
}

#[test]
fn refuses_every_byte_of_a_tag_that_was_changed() {
    let places = places();
    for (number, place) in places.iter().enumerate() {
        for at in place.end - TAG_BYTES..place.end {
            let mut file = SAMPLE.v1.clone();
            file[at] ^= 0x40;
            let expected = match number + 1 == places.len() {
                true => SealError::LastChunk(number as u32),
                false => SealError::Chunk(number as u32),
            };
            check(&file, expected, number * 4096);
        }
    }
}

#[test]
fn refuses_a_thousand_flipped_bits() {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[6; 32]);
    for _ in 0..1000 {
        let bit = rng.random_range(head() * 8..SAMPLE.v1.len() * 8);
        let mut file = SAMPLE.v1.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let number = (bit / 8 - head()) / CHUNK;
        let expected = match number {
            3 => SealError::LastChunk(3),
            _ => SealError::Chunk(number as u32),
        };
        check(&file, expected, number * 4096);
    }
}

#[test]
fn refuses_another_key_and_the_files_of_others() {
    check(&STRANGER.v1, SealError::WrongKey, 0);
    let header = Header::parse(&SAMPLE.v1).unwrap();
    let refused = |expected| header.open(&key(1), expected).err();
    assert_eq!(refused(&[]), None);
    assert_eq!(refused(&[("tenant", "acme"), ("job", "orders")]), None);
    let other = SealError::OtherContext {
        key: "tenant".to_owned(),
        expected: "evil".to_owned(),
        found: Some("acme".to_owned()),
    };
    assert_eq!(
        refused(&[("job", "orders"), ("tenant", "evil")]),
        Some(other)
    );
    // A wrong key is told first: nothing is true before it.
    assert_eq!(
        header.open(&key(2), &[("tenant", "evil")]).err(),
        Some(SealError::WrongKey)
    );
}

/// The header of the sample, then parts of files.
fn assemble(parts: &[&[u8]]) -> Vec<u8> {
    let mut file = SAMPLE.v1[..head()].to_vec();
    for part in parts {
        file.extend_from_slice(part);
    }
    file
}

#[test]
fn refuses_chunks_that_are_swapped_repeated_or_left_out() {
    let places = places();
    let [a, b, c, end] = [0, 1, 2, 3].map(|number| &SAMPLE.v1[places[number].clone()]);
    assert_eq!(stream(&assemble(&[a, b, c, end])), (Ok(()), SAMPLE_BYTES));
    for (parts, expected, released) in [
        (&[b, a, c, end][..], SealError::Chunk(0), 0),
        (&[a, c, b, end], SealError::Chunk(1), 4096),
        (&[a, a, b, c, end], SealError::Chunk(1), 4096),
        (&[a, a, c, end], SealError::Chunk(1), 4096),
        (&[a, c, end], SealError::Chunk(1), 4096),
        (&[b, c, end], SealError::Chunk(0), 0),
        (&[a, b, end], SealError::LastChunk(2), 8192),
        (&[end], SealError::LastChunk(0), 0),
        // The end in the middle: its length moves what follows.
        (&[a, end, b, c], SealError::Chunk(1), 4096),
        (&[a, b, c, end, end], SealError::LastChunk(3), 3 * 4096),
        (&[a, b, c, end, a], SealError::Chunk(3), 3 * 4096),
    ] {
        check(&assemble(parts), expected, released);
    }
}

#[test]
fn refuses_chunks_of_another_file() {
    let places = places();
    for (other, what) in [(&TWIN, "the same key"), (&STRANGER, "another key")] {
        for (number, place) in places.iter().enumerate() {
            let mut file = SAMPLE.v1.clone();
            file[place.clone()].copy_from_slice(&other.v1[place.clone()]);
            let expected = match number {
                3 => SealError::LastChunk(3),
                _ => SealError::Chunk(number as u32),
            };
            assert_eq!(stream(&file), (Err(expected), number * 4096), "{what}");
        }
    }
    // All chunks of the other file behind this header, and the other way round.
    let body = assemble(&[&TWIN.v1[head()..]]);
    check(&body, SealError::Chunk(0), 0);
}

#[test]
fn a_file_that_is_cut_says_so() {
    for bytes in [8, 9, 11, 12, 100, head() - 1] {
        check(&SAMPLE.v1[..bytes], SealError::Cut, 0);
    }
    for (number, place) in places().iter().enumerate() {
        let whole = number * 4096;
        // At the boundary before it, and so that only a part of a tag is left.
        for bytes in [0, 1, TAG_BYTES - 1] {
            check(&SAMPLE.v1[..place.start + bytes], SealError::Cut, whole);
        }
        // Within it: it cannot be told from damage.
        let within = SealError::LastChunk(number as u32);
        for end in [
            place.start + TAG_BYTES,
            place.start + TAG_BYTES + 1,
            place.end - 1,
        ] {
            check(&SAMPLE.v1[..end], within.clone(), whole);
        }
    }
}

#[test]
fn a_file_that_goes_on_says_so() {
    // The last chunk takes what follows for its own.
    let last = places()[3].len();
    for more in [1, 16, CHUNK - last - 1] {
        let file = assemble(&[&SAMPLE.v1[head()..], &vec![0; more]]);
        check(&file, SealError::LastChunk(3), 3 * 4096);
    }
    for more in [CHUNK - last, CHUNK] {
        let file = assemble(&[&SAMPLE.v1[head()..], &vec![0; more]]);
        check(&file, SealError::Chunk(3), 3 * 4096);
    }
}

#[test]
fn the_last_chunk_is_shorter_than_the_others_even_where_nothing_is_left() {
    for chunks in [0, 1, 2] {
        let (mut sealer, mut file) = Sealer::new(fresh(1), &context(), smallest()).unwrap();
        let header = file.len();
        let plaintext = &SAMPLE.plaintext[..chunks * 4096];
        sealer.update(plaintext, &mut file).unwrap();
        sealer.finish(&mut file).unwrap();
        assert_eq!(file.len(), header + chunks * CHUNK + TAG_BYTES);
        assert_eq!(stream(&file), (Ok(()), plaintext.len()));
        let cut = &file[..header + chunks * CHUNK];
        check(cut, SealError::Cut, plaintext.len());
    }

    // What no sealer makes: a whole chunk with the mark of the last.
    let id = [1; 32];
    let made = Header::create(&key(1), &[1; 20], &context(), smallest(), id);
    let (mut file, key) = made.unwrap();
    let (number, is_last) = (0, true);
    let chunk = &SAMPLE.plaintext[..4096];
    key.seal(Place { number, is_last }, chunk, &mut file)
        .unwrap();
    check(&file, SealError::Chunk(0), 0);
}

#[test]
fn chunks_are_read_in_any_order() {
    let header = Header::parse(&SAMPLE.v1).unwrap();
    let bytes = SAMPLE.v1.len() as u64;
    let part = |place: std::ops::Range<u64>| &SAMPLE.v1[place.start as usize..place.end as usize];
    let open = || header.open(&key(1), &[]).unwrap();
    let opener = open();
    let last = opener.last_chunk(bytes).unwrap();
    let chunks = opener.into_chunks(bytes, part(last.clone())).unwrap();
    assert_eq!(
        (chunks.last(), chunks.plaintext_bytes()),
        (3, SAMPLE_BYTES as u64)
    );
    assert_eq!(chunks.place(3), Ok(last.clone()));
    let mut out = Vec::new();
    let (one, two) = (
        part(chunks.place(1).unwrap()),
        part(chunks.place(2).unwrap()),
    );
    chunks.open(2, two, &mut out).unwrap();
    chunks.open(1, one, &mut out).unwrap();
    assert_eq!(
        out,
        [
            &SAMPLE.plaintext[8192..12288],
            &SAMPLE.plaintext[4096..8192]
        ]
        .concat()
    );
    // Not what stands there.
    assert_eq!(chunks.open(1, two, &mut out), Err(SealError::Chunk(1)));
    assert_eq!(
        chunks.open(1, &one[1..], &mut out),
        Err(SealError::NoSuchChunk(1))
    );
    assert_eq!(
        chunks.open(4, one, &mut out),
        Err(SealError::NoSuchChunk(4))
    );
    assert_eq!(chunks.place(4), Err(SealError::NoSuchChunk(4)));
    assert_eq!(out.len(), 8192);

    // A length that is not the file's: nothing opens at all.
    let cut = |file_bytes: u64| {
        let place = open().last_chunk(file_bytes)?;
        open().into_chunks(file_bytes, part(place)).map(|_| ())
    };
    assert_eq!(cut(last.start), Err(SealError::Cut));
    assert_eq!(cut(last.start + 3), Err(SealError::Cut));
    assert_eq!(cut(last.end - 1), Err(SealError::LastChunk(3)));
    assert_eq!(cut(0), Err(SealError::Cut));
    assert_eq!(
        open().last_chunk(u64::MAX),
        Err(SealError::LastChunk(u32::MAX))
    );
}

#[test]
fn chunks_have_a_size_that_a_reader_can_hold() {
    for bytes in [0, 1, 2048, 4095, 4097, 5000, 3 << 20, 32 << 20, usize::MAX] {
        assert_eq!(ChunkSize::new(bytes), Err(SealError::ChunkSize(bytes)));
    }
    for bytes in [4096, 64 << 10, 1 << 20, 16 << 20] {
        assert_eq!(ChunkSize::new(bytes).map(ChunkSize::bytes), Ok(bytes));
    }
    assert_eq!(ChunkSize::default().bytes(), 1 << 20);
}

#[test]
fn a_key_that_sealed_two_files_still_has_two_keys_for_chunks() {
    let create = |id| {
        Header::create(&key(1), &[1], &context(), smallest(), [id; 32])
            .unwrap()
            .1
    };
    let seal = |key: &ChunkKey| {
        let mut out = Vec::new();
        let (number, is_last) = (0, true);
        key.seal(Place { number, is_last }, &[0; 64], &mut out)
            .unwrap();
        out
    };
    assert_ne!(seal(&create(1)), seal(&create(2)));
    assert_eq!(seal(&create(1)), seal(&create(1)));
}

proptest! {
    #[test]
    fn what_is_sealed_comes_back_whatever_the_pieces(
        bytes in prop_oneof![0_usize..20_000, (0_usize..5).prop_map(|chunks| chunks * 4096)],
        pieces in prop::collection::vec(1_usize..9000, 1..6),
        open_pieces in 1_usize..9000,
    ) {
        let plaintext: Vec<u8> = (0..bytes).map(|n| ((n * n) >> 4) as u8).collect();
        let (mut sealer, mut file) = Sealer::new(fresh(1), &context(), smallest()).unwrap();
        let mut rest = plaintext.as_slice();
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, end) = rest.split_at(rest.len().min(*size));
            sealer.update(piece, &mut file).unwrap();
            rest = end;
        }
        sealer.finish(&mut file).unwrap();
        let header = Header::parse(&file).unwrap();
        let chunks = bytes / 4096 + 1;
        prop_assert_eq!(file.len(), header.head_bytes() + bytes + chunks * TAG_BYTES);
        let mut out = Vec::new();
        open_v1(&file, open_pieces, &mut out).unwrap();
        prop_assert!(out == plaintext);

        let opener = header.open(&key(1), &[]).unwrap();
        let part = |place: std::ops::Range<u64>| &file[place.start as usize..place.end as usize];
        let last = part(opener.last_chunk(file.len() as u64).unwrap());
        let chunks = opener.into_chunks(file.len() as u64, last).unwrap();
        prop_assert_eq!(chunks.plaintext_bytes(), bytes as u64);
        let mut out = Vec::new();
        for number in 0..=chunks.last() {
            chunks.open(number, part(chunks.place(number).unwrap()), &mut out).unwrap();
        }
        prop_assert!(out == plaintext);
    }
}
