//! What holds for both formats: how a file is known, that no key and IV come twice, and what errors say.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::fuzz_tests::{
    SAMPLE, STRANGER, TWIN, check_any, check_edits, check_header, context, fresh, key, smallest,
};
use super::*;

#[test]
fn refuses_files_that_nobody_sealed() {
    for file in [
        &b""[..],
        b"short",
        b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\x00",
        b"id,name,amount\n1,a,2\n",
        b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0",
        // 6145 and 0 as the length of the wrapped key.
        b"0123456789ab\0\0\x18\x01and more",
        b"0123456789ab\0\0\0\0and more",
    ] {
        assert_eq!(Start::read(file), Err(SealError::NotSealed), "{file:?}");
        assert_eq!(v0::Head::parse(file), Err(SealError::NotSealed));
        assert_eq!(v1::Header::parse(file), Err(SealError::NotSealed));
    }
}

#[test]
fn knows_both_formats_by_their_first_bytes() {
    let start = |format, head_bytes| Ok(Start { format, head_bytes });
    let header = v1::Header::parse(&SAMPLE.v1).unwrap();
    let head = v0::Head::parse(&SAMPLE.v0).unwrap();
    assert_eq!(
        Start::read(&SAMPLE.v1[..START_BYTES]),
        start(Format::V1, header.head_bytes())
    );
    assert_eq!(
        Start::read(&SAMPLE.v0[..START_BYTES]),
        start(Format::V0, head.head_bytes())
    );
    assert_eq!(head.wrapped_key(), [1; 20]);
    // A v1 file that is cut within the lead is still known as one.
    assert_eq!(Start::read(&SAMPLE.v1[..10]), Err(SealError::Cut));
}

#[test]
fn no_head_is_longer_than_it_says() {
    let longest = Context::new([("a".to_owned(), "x".repeat(MAX_CONTEXT_BYTES - 6))]).unwrap();
    let fresh = || FreshKey::new(key(1), vec![1; MAX_WRAPPED_KEY_BYTES]).unwrap();
    let (_, header) = v1::Sealer::new(fresh(), &longest, smallest()).unwrap();
    assert_eq!(header.len(), MAX_HEAD_BYTES);
    assert_eq!(v1::Header::parse(&header).unwrap().context(), &longest);
    let sealer = v0::Sealer::new(fresh()).unwrap();
    let room = sealer.head_bytes();
    assert_eq!(sealer.finish().len(), room);
    assert!(room <= MAX_HEAD_BYTES);
}

#[test]
fn refuses_keys_of_another_size() {
    for bytes in [0, 16, 31, 33, 64] {
        let refused = DataKey::new(Zeroizing::new(vec![0; bytes])).unwrap_err();
        assert_eq!(refused, SealError::KeySize(bytes));
    }
    for bytes in [0, MAX_WRAPPED_KEY_BYTES + 1] {
        let refused = FreshKey::new(key(1), vec![0; bytes]).unwrap_err();
        assert_eq!(refused, SealError::WrappedKeySize(bytes));
    }
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?} {:?}", key(1), fresh(1)), "DataKey FreshKey");
}

/// For a type that is `Clone`, which of the two is meant is ambiguous, and the test does not compile.
trait IsNotClone<Which> {
    fn check() {}
}
impl<T> IsNotClone<()> for T {}
impl<T: Clone> IsNotClone<u8> for T {}

#[test]
fn nothing_that_seals_can_be_copied() {
    <DataKey as IsNotClone<_>>::check();
    <FreshKey as IsNotClone<_>>::check();
    <v0::Sealer as IsNotClone<_>>::check();
    <v1::Sealer as IsNotClone<_>>::check();
}

/// Gives 1, 2, 3 … and counts.
struct Counted {
    next: u8,
    draws: Vec<usize>,
}

impl Counted {
    fn new() -> Self {
        let draws = Vec::new();
        Self { next: 1, draws }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.draws.push(bytes.len());
        for byte in bytes {
            *byte = self.next;
            self.next += 1;
        }
        Ok(())
    }
}

#[test]
fn a_v0_file_has_an_iv_that_was_drawn_for_it_alone() {
    let mut counted = Counted::new();
    let mut draw = |bytes: &mut [u8]| counted.fill(bytes);
    let first = v0::Sealer::with(fresh(1), &mut draw).unwrap().finish();
    let second = v0::seal_in_place_with(fresh(1), &mut [], &mut draw).unwrap();
    assert_eq!(counted.draws, [12, 12]);
    let drawn: Vec<u8> = (1..=24).collect();
    assert_eq!([&first[..12], &second[..12]].concat(), drawn);
}

#[test]
fn a_v0_file_never_begins_like_a_v1_file() {
    let mut draws = [*b"\x89DATIVO\nabcd", *b"\x89DATIVO abcd"].into_iter();
    let mut draw = |bytes: &mut [u8]| {
        bytes.copy_from_slice(&draws.next().unwrap());
        Ok(())
    };
    let head = v0::Sealer::with(fresh(1), &mut draw).unwrap().finish();
    assert!(head.starts_with(b"\x89DATIVO abcd"));
}

#[test]
fn a_v1_file_has_an_id_that_was_drawn_for_it_alone() {
    let mut counted = Counted::new();
    let mut draw = |bytes: &mut [u8]| counted.fill(bytes);
    let mut headers = Vec::new();
    for _ in 0..2 {
        let seal = v1::Sealer::with(fresh(1), &context(), smallest(), &mut draw);
        headers.push(seal.unwrap().1);
    }
    assert_eq!(counted.draws, [32, 32]);
    let drawn: Vec<u8> = (1..=64).collect();
    assert_eq!([&headers[0][12..44], &headers[1][12..44]].concat(), drawn);
}

#[test]
fn a_generator_that_fails_lets_nothing_be_sealed() {
    let mut failing = |_: &mut [u8]| Err(SealError::Library);
    assert!(v0::Sealer::with(fresh(1), &mut failing).is_err());
    let mut data = *b"plain";
    assert!(v0::seal_in_place_with(fresh(1), &mut data, &mut failing).is_err());
    assert!(v1::Sealer::with(fresh(1), &context(), smallest(), &mut failing).is_err());
}

/// By construction each file draws its own (above), and each key is of one file. Here the worst is taken: all files have
/// the same key, and come from several threads. A generator that repeats, after a fork of its state or with too few
/// bits, would show.
#[test]
fn no_iv_comes_twice_in_a_million_files() {
    let files = 125_000;
    let seal = |_| {
        std::thread::spawn(move || {
            let mut drawn = Vec::with_capacity(2 * files);
            for _ in 0..files {
                let head = v0::Sealer::new(fresh(1)).unwrap().finish();
                drawn.push(head[..12].to_vec());
                let (_, header) = v1::Sealer::new(fresh(1), &context(), smallest()).unwrap();
                drawn.push(header[12..44].to_vec());
            }
            drawn
        })
    };
    let threads: Vec<_> = (0..4).map(seal).collect();
    let mut seen = HashSet::new();
    for drawn in threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
    {
        assert!(seen.insert(drawn), "an IV came twice");
    }
    assert_eq!(seen.len(), 1_000_000);
}

#[test]
fn every_error_is_one_line_and_says_what_to_do() {
    let other = |found: Option<&str>| SealError::OtherContext {
        key: "tenant".to_owned(),
        expected: "a\nb".to_owned(),
        found: found.map(str::to_owned),
    };
    let errors = [
        SealError::NotSealed,
        SealError::Version(2),
        SealError::HeaderDamaged,
        SealError::Cut,
        SealError::WrongKey,
        SealError::Unwrap,
        other(None),
        other(Some("c\nd")),
        SealError::Chunk(7),
        SealError::LastChunk(7),
        SealError::Tag,
        SealError::Changed,
        SealError::NoSuchChunk(7),
        SealError::KeySize(7),
        SealError::WrappedKeySize(7),
        SealError::ChunkSize(7),
        SealError::Context("has a name twice"),
        SealError::TooLong(7),
        SealError::Library,
    ];
    let mut texts = HashSet::new();
    for error in errors {
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        assert!(
            text.starts_with(|first: char| first.is_lowercase()),
            "{text}"
        );
        assert!(!error.hint().is_empty());
        assert!(texts.insert(text), "{error:?} has the text of another");
    }
}

/// The values of `docs/sealed-files.md` by their names.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/sealed-files.md");
    let (_, vectors) = page.split_once("## Test vectors").unwrap();
    let mut values = BTreeMap::new();
    let mut last = String::new();
    for line in vectors.lines() {
        if let Some((name, value)) = line.split_once(" =") {
            last = name.to_owned();
            values.insert(last.clone(), value.trim().to_owned());
        } else if line.starts_with("  ") {
            values.get_mut(&last).unwrap().push_str(line.trim());
        }
    }
    values
}

#[test]
fn makes_the_files_of_the_documentation() {
    let values = documented();
    let value = |name: &str| bytes(&values[name]);
    let fresh = || {
        let key = DataKey::new(Zeroizing::new(value("key"))).unwrap();
        FreshKey::new(key, value("wrapped key")).unwrap()
    };
    let mut plaintext = value("plaintext");

    let mut draw_iv = fixed(value("v0 iv"));
    let mut sealer = v0::Sealer::with(fresh(), &mut draw_iv).unwrap();
    let mut ciphertext = Vec::new();
    sealer.update(&plaintext, &mut ciphertext).unwrap();
    let head = sealer.finish();
    assert!(head.ends_with(&value("v0 tag")));
    assert_eq!([head, ciphertext].concat(), value("v0 file"));

    let mut draw_id = fixed(value("v1 id"));
    let mut seal = |plaintext: &[u8]| {
        let (mut sealer, mut file) =
            v1::Sealer::with(fresh(), &context(), smallest(), &mut draw_id).unwrap();
        sealer.update(plaintext, &mut file).unwrap();
        sealer.finish(&mut file).unwrap();
        file
    };
    let file = seal(&plaintext);
    let head = v1::Header::parse(&file).unwrap().head_bytes();
    assert_eq!(file[head - 64..head - 32], value("v1 key check"));
    assert_eq!(file, value("v1 file"));

    plaintext = (0..9192).map(|n| (n % 251) as u8).collect();
    let file = seal(&plaintext);
    for (number, end) in [(0, head + 4112), (1, head + 2 * 4112), (2, file.len())] {
        assert_eq!(
            file[end - TAG_BYTES..end],
            value(&format!("v1 long tag {number}"))
        );
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    assert_eq!(hash.as_ref(), value("v1 long sha256"));

    let mut draws = [value("local data key"), value("local nonce")].into_iter();
    let mut draw = |bytes: &mut [u8]| {
        bytes.copy_from_slice(&draws.next().unwrap());
        Ok(())
    };
    let local = LocalKey::new(Zeroizing::new(value("key"))).unwrap();
    let fresh = local.generate_with(Some(&context()), &mut draw).unwrap();
    assert_eq!(fresh.wrapped, value("local wrapped key"));
}

/// A generator that gives `bytes` each time.
fn fixed(bytes: Vec<u8>) -> impl FnMut(&mut [u8]) -> Result<()> {
    move |drawn| {
        drawn.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Bytes from hexadecimal digits.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let text = digits.map(|pair| std::str::from_utf8(pair).unwrap());
    text.map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_refused(file in prop::collection::vec(any::<u8>(), 0..300)) {
        check_any(&file);
        check_any(&[b"\x89DATIVO\n\x01", &file[..]].concat());
        check_header(&file);
    }

    #[test]
    fn no_edit_of_a_file_opens(edits in prop::collection::vec(any::<u8>(), 6..48)) {
        check_edits(&SAMPLE.v0, &[&TWIN.v0, &STRANGER.v0], &edits);
        check_edits(&SAMPLE.v1, &[&TWIN.v1, &STRANGER.v1], &edits);
    }
}
