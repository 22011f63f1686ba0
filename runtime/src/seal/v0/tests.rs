//! Format v0: what it refuses, published values, and that its two ways of sealing and of opening agree.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::super::fuzz_tests::{SAMPLE, STRANGER, TWIN, fresh, key, open_v0, open_v0_in_place};
use super::super::tests::bytes;
use super::*;

/// Each way of opening says the same.
fn check(file: &[u8], expected: Result<&[u8]>) {
    for opened in [
        open_v0_in_place(file),
        open_v0(file, 777),
        open_v0(file, usize::MAX),
    ] {
        assert_eq!(opened.as_deref(), expected.as_ref().copied());
    }
}

#[test]
fn refuses_every_byte_of_the_head_that_was_changed() {
    let wrapped = START_BYTES..START_BYTES + 20;
    for at in 0..SAMPLE.v0.len() - SAMPLE.plaintext.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut file = SAMPLE.v0.clone();
            file[at] ^= mask;
            if wrapped.contains(&at) {
                // The tag does not cover it; the key service refuses it, or unwraps another key.
                let head = Head::parse(&file).unwrap();
                assert_ne!(head.wrapped_key(), [1; 20]);
                continue;
            }
            let expected = match (at, mask) {
                // 20 becomes 6144 and more, or less than the key has.
                (12 | 13, _) | (14, 0x80 | 0xff) => SealError::NotSealed,
                _ => SealError::Tag,
            };
            check(&file, Err(expected));
        }
    }
}

#[test]
fn refuses_a_thousand_flipped_bits() {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[6; 32]);
    let head = SAMPLE.v0.len() - SAMPLE.plaintext.len();
    for _ in 0..1000 {
        let bit = rng.random_range(head * 8..SAMPLE.v0.len() * 8);
        let mut file = SAMPLE.v0.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        check(&file, Err(SealError::Tag));
    }
}

#[test]
fn refuses_a_file_that_is_cut_or_goes_on() {
    let head = SAMPLE.v0.len() - SAMPLE.plaintext.len();
    for bytes in 0..head {
        let expected = match bytes < START_BYTES {
            true => SealError::NotSealed,
            false => SealError::Cut,
        };
        check(&SAMPLE.v0[..bytes], Err(expected));
    }
    let ciphertext = head..SAMPLE.v0.len();
    for bytes in ciphertext.clone().step_by(97).chain([ciphertext.end - 1]) {
        check(&SAMPLE.v0[..bytes], Err(SealError::Tag));
    }
    for more in [&[0][..], &[0; 16], &SAMPLE.v0] {
        check(&[&SAMPLE.v0, more].concat(), Err(SealError::Tag));
    }
}

#[test]
fn refuses_another_key_and_another_ciphertext() {
    check(&STRANGER.v0, Err(SealError::Tag));
    let head = SAMPLE.v0.len() - SAMPLE.plaintext.len();
    check(
        &[&SAMPLE.v0[..head], &TWIN.v0[head..]].concat(),
        Err(SealError::Tag),
    );
    check(
        &[&TWIN.v0[..head], &SAMPLE.v0[head..]].concat(),
        Err(SealError::Tag),
    );
}

/// A file of some MiB: its head and its ciphertext.
fn large(bytes: usize) -> (Head, Vec<u8>) {
    let mut data = vec![7; bytes];
    let head = seal_in_place(fresh(1), &mut data).unwrap();
    (Head::parse(&head).unwrap(), data)
}

#[test]
fn a_file_that_changes_between_the_passes_gives_out_nothing_of_what_changed() {
    const MIB: usize = 1 << 20;
    let (head, ciphertext) = large(3 * MIB);
    let second_pass = |ciphertext: &[u8], second: &[u8]| {
        let mut verifier = Verifier::new(&key(1), &head).unwrap();
        verifier.update(ciphertext).unwrap();
        let mut opener = verifier.finish().unwrap();
        let mut out = Vec::new();
        let opened = opener
            .update(second, &mut out)
            .and_then(|()| opener.finish(&mut out));
        assert!(
            out.iter().all(|byte| *byte == 7),
            "what came was not sealed"
        );
        (opened, out.len())
    };
    assert_eq!(second_pass(&ciphertext, &ciphertext), (Ok(()), 3 * MIB));
    let changed = Err(SealError::Changed);
    for (at, released) in [(0, 0), (MIB - 1, 0), (MIB, MIB), (3 * MIB - 1, 2 * MIB)] {
        let mut second = ciphertext.clone();
        second[at] ^= 1;
        assert_eq!(
            second_pass(&ciphertext, &second),
            (changed.clone(), released)
        );
    }
    let cut = second_pass(&ciphertext, &ciphertext[..3 * MIB - 1]);
    assert_eq!(cut, (changed.clone(), 2 * MIB));
    let shorter = second_pass(&ciphertext, &ciphertext[..2 * MIB]);
    assert_eq!(shorter, (changed.clone(), 2 * MIB));
    let longer = second_pass(&ciphertext, &[&ciphertext[..], &[0]].concat());
    assert_eq!(longer, (changed.clone(), 3 * MIB));
    let much_longer = [&ciphertext[..], &ciphertext[..2 * MIB]].concat();
    assert_eq!(second_pass(&ciphertext, &much_longer), (changed, 3 * MIB));
}

/// GHASH pads with zeros, so a zero more or less within a block is told by the length alone.
#[test]
fn a_second_pass_of_another_length_is_refused_even_where_the_hash_is_the_same() {
    let (head, ciphertext) = (0..)
        .map(|_| large(20))
        .find(|(_, ciphertext)| ciphertext[19] == 0)
        .unwrap();
    let longer = [&ciphertext[..], &[0]].concat();
    for second in [&ciphertext[..19], &longer] {
        let mut verifier = Verifier::new(&key(1), &head).unwrap();
        verifier.update(&ciphertext).unwrap();
        let mut opener = verifier.finish().unwrap();
        let mut out = Vec::new();
        opener.update(second, &mut out).unwrap();
        assert_eq!(opener.finish(&mut out), Err(SealError::Changed));
        assert!(out.is_empty());
    }
}

#[test]
fn refuses_more_plaintext_than_one_message_holds() {
    let limit = SealError::TooLong(MAX_PLAINTEXT_BYTES);
    let mut sealer = Sealer::new(fresh(1)).unwrap();
    sealer.authenticator.pretend(MAX_PLAINTEXT_BYTES - 16);
    let mut out = Vec::new();
    assert_eq!(sealer.update(&[0; 17], &mut out), Err(limit.clone()));
    assert_eq!(sealer.update(&[0; 16], &mut out), Ok(()));
    assert_eq!(sealer.update(&[0], &mut out), Err(limit.clone()));
    assert_eq!(out.len(), 16);
    let head = Head::parse(&SAMPLE.v0).unwrap();
    let mut verifier = Verifier::new(&key(1), &head).unwrap();
    verifier.authenticator.pretend(MAX_PLAINTEXT_BYTES);
    assert_eq!(verifier.update(&[0]), Err(limit));
    let largest_of_gcm = (1_u64 << 36) - 32;
    assert!(largest_of_gcm - MAX_PLAINTEXT_BYTES > 1_000_000);
}

/// The values of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, for AES-256 with an IV of 96
/// bits and no associated data: test cases 13 to 15.
#[test]
fn gives_the_published_values_of_gcm() {
    let zeros = "00".repeat(32);
    let feff = "feffe9928665731c6d6a8f9467308308".repeat(2);
    let long = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                  8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    for [key, iv, plaintext, ciphertext, tag] in [
        [
            &zeros,
            &zeros[..24],
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
        [
            &zeros,
            &zeros[..24],
            &zeros[..32],
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [
            &feff,
            "cafebabefacedbaddecaf888",
            long,
            sealed,
            "b094dac5d93471bdec1a502270e3cc6c",
        ],
    ] {
        let plaintext = bytes(plaintext);
        let expected = [
            &bytes(iv),
            &b"\0\0\0\x01w"[..],
            &bytes(tag),
            &bytes(ciphertext),
        ]
        .concat();
        let key = || {
            let key = DataKey::new(Zeroizing::new(bytes(key))).unwrap();
            FreshKey::new(key, b"w".to_vec()).unwrap()
        };
        let mut draw = |drawn: &mut [u8]| {
            drawn.copy_from_slice(&bytes(iv));
            Ok(())
        };
        let mut sealer = Sealer::with(key(), &mut draw).unwrap();
        let mut ciphertext = Vec::new();
        for byte in &plaintext {
            sealer.update(&[*byte], &mut ciphertext).unwrap();
        }
        assert_eq!([sealer.finish(), ciphertext].concat(), expected);
        let mut data = plaintext.clone();
        let head = seal_in_place_with(key(), &mut data, &mut draw).unwrap();
        assert_eq!([head, data].concat(), expected);
    }
}

/// Seals `plaintext` by pieces, and in one go, with the same IV: the same file.
fn check_round_trip(plaintext: &[u8], pieces: &[usize]) {
    let mut draw = |drawn: &mut [u8]| {
        drawn.fill(9);
        Ok(())
    };
    let mut sealer = Sealer::with(fresh(1), &mut draw).unwrap();
    let mut ciphertext = Vec::new();
    let mut rest = plaintext;
    for size in pieces.iter().cycle() {
        let (piece, end) = rest.split_at(rest.len().min(*size));
        sealer.update(piece, &mut ciphertext).unwrap();
        rest = end;
        if rest.is_empty() {
            break;
        }
    }
    let file = [sealer.finish(), ciphertext].concat();
    let mut data = plaintext.to_vec();
    let head = seal_in_place_with(fresh(1), &mut data, &mut draw).unwrap();
    assert!(
        [head, data].concat() == file,
        "the two ways of sealing differ"
    );
    for size in pieces {
        assert!(open_v0(&file, (*size).max(1)).unwrap() == plaintext);
    }
    assert!(open_v0_in_place(&file).unwrap() == plaintext);
}

#[test]
fn files_of_awkward_sizes_come_back() {
    const MIB: usize = 1 << 20;
    for bytes in [
        0,
        1,
        15,
        16,
        17,
        16383,
        16384,
        16385,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB + 5,
    ] {
        check_round_trip(&vec![3; bytes], &[MIB + 7, 16385]);
    }
}

proptest! {
    #[test]
    fn what_is_sealed_comes_back_whatever_the_pieces(
        plaintext in prop::collection::vec(any::<u8>(), 0..40_000),
        pieces in prop::collection::vec(1_usize..20_000, 1..6),
    ) {
        check_round_trip(&plaintext, &pieces);
    }
}
