//! Sealed files are opened by others: by the steps of the first writers' script, and by an implementation that was written
//! from `docs/sealed-files.md`. And their keys leave no trace.

use std::io::{Read as _, Seek as _, SeekFrom};

use dativo_wasm::seal::{Context, DataKey, FreshKey, v0, v1};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::support::{python, repository};

const KEY: [u8; 32] = *b"the key of the test, of 32 bytes";
const WRAPPED: &[u8] = b"wrapped";

fn fresh_key() -> FreshKey {
    let key = DataKey::new(Zeroizing::new(KEY.to_vec())).unwrap();
    FreshKey::new(key, WRAPPED.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plaintext(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n * n) >> 3) as u8).collect()
}

/// What the script says about `file`.
fn open(format: &str, file: &[u8], chunk: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    std::fs::write(&path, file).unwrap();
    let key = hex(&KEY);
    let arguments = [&[format, &key, path.to_str().unwrap()], chunk].concat();
    python("sealed.py", &arguments)
}

fn is_of(opened: &Value, plaintext: &[u8]) {
    assert_eq!(opened["wrapped"], hex(WRAPPED));
    assert_eq!(opened["bytes"], plaintext.len());
    assert_eq!(opened["sha256"], hex(&Sha256::digest(plaintext)));
}

/// In a process of its own, where no other test has memory.
#[test]
fn no_data_key_is_left_in_memory() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["seal::look_for_keys", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("test result: ok. 1 passed"), "{text}");
}

#[test]
#[ignore = "`no_data_key_is_left_in_memory` runs it"]
fn look_for_keys() {
    let context = Context::of_run("acme", "orders", "7f3a").unwrap();
    let chunk_size = v1::ChunkSize::default();
    type Use<'a> = &'a dyn Fn(FreshKey, DataKey);
    let uses: [Use; 4] = [
        &|_, _| (),
        &|fresh, key| {
            let mut data = vec![7; 100_000];
            let head = v0::seal_in_place(fresh, &mut data).unwrap();
            let head = v0::Head::parse(&head).unwrap();
            v0::open_in_place(&key, &head, &mut data).unwrap();
        },
        &|fresh, key| {
            let mut body = Vec::new();
            let mut sealer = v0::Sealer::new(fresh).unwrap();
            sealer.update(&[7; 100_000], &mut body).unwrap();
            let head = v0::Head::parse(&sealer.finish()).unwrap();
            let mut verifier = v0::Verifier::new(&key, &head).unwrap();
            verifier.update(&body).unwrap();
            let mut opener = verifier.finish().unwrap();
            opener.update(&body, &mut Vec::new()).unwrap();
        },
        &|fresh, key| {
            let (mut sealer, mut file) = v1::Sealer::new(fresh, &context, chunk_size).unwrap();
            sealer.update(&[7; 100_000], &mut file).unwrap();
            sealer.finish(&mut file).unwrap();
            let header = v1::Header::parse(&file).unwrap();
            let mut stream = header.open(&key, &[]).unwrap().into_stream();
            stream
                .update(&file[header.head_bytes()..], &mut Vec::new())
                .unwrap();
        },
    ];
    for used in uses {
        // The key stands here as its complement, or it would find itself.
        let mut complement = [0; 32];
        let mut random = std::fs::File::open("/dev/urandom").unwrap();
        random.read_exact(&mut complement).unwrap();
        let key = || {
            let bytes = complement.iter().map(|byte| !byte).collect();
            DataKey::new(Zeroizing::new(bytes)).unwrap()
        };
        // Many, since what was given back is soon written over here and there.
        let pair = |_| (FreshKey::new(key(), WRAPPED.to_vec()).unwrap(), key());
        let pairs: Vec<_> = (0..64).map(pair).collect();
        assert!(is_in_memory(&complement), "the search finds nothing");
        for (fresh, key) in pairs {
            used(fresh, key);
        }
        assert!(!is_in_memory(&complement), "a key is left in memory");
    }
}

/// Whether what `complement` is the complement of stands in memory that this process can write, or a half of it: an
/// allocator writes over the begin of what it gets back.
fn is_in_memory(complement: &[u8; 32]) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut found = false;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = Zeroizing::new(vec![0; (end - start) as usize]);
        memory.seek(SeekFrom::Start(start)).unwrap();
        if memory.read_exact(&mut bytes).is_ok() {
            for half in complement.chunks(16) {
                let is_half = |window: &[u8]| window.iter().zip(half).all(|(a, b)| *a == !*b);
                found |= bytes.windows(16).any(is_half);
            }
        }
    }
    found
}

#[test]
fn the_first_writers_own_steps_open_a_v0_file() {
    for bytes in [0, 1, 1_000_003] {
        let plaintext = plaintext(bytes);
        let mut sealer = v0::Sealer::new(fresh_key()).unwrap();
        let mut body = Vec::new();
        for piece in plaintext.chunks(70_001) {
            sealer.update(piece, &mut body).unwrap();
        }
        is_of(
            &open("v0", &[sealer.finish(), body].concat(), &[]),
            &plaintext,
        );

        let mut body = plaintext.clone();
        let head = v0::seal_in_place(fresh_key(), &mut body).unwrap();
        is_of(&open("v0", &[head, body].concat(), &[]), &plaintext);
    }
}

#[test]
fn another_implementation_opens_a_v1_file() {
    let context = Context::of_run("acme", "täglich", "7f3a").unwrap();
    for (bytes, chunk_bytes) in [
        (0, 4096),
        (8192, 4096),
        (1_000_003, 65536),
        (1_000_003, 1 << 20),
    ] {
        let plaintext = plaintext(bytes);
        let chunk_size = v1::ChunkSize::new(chunk_bytes).unwrap();
        let (mut sealer, mut file) = v1::Sealer::new(fresh_key(), &context, chunk_size).unwrap();
        for piece in plaintext.chunks(70_001) {
            sealer.update(piece, &mut file).unwrap();
        }
        sealer.finish(&mut file).unwrap();
        let opened = open("v1", &file, &[]);
        is_of(&opened, &plaintext);
        let expected = json!({ "tenant": "acme", "job": "täglich", "run": "7f3a" });
        assert_eq!(opened["context"], expected);
        let last = bytes / chunk_bytes;
        assert_eq!(opened["last"], last);
        let chunk = open("v1", &file, &[&last.to_string()]);
        is_of(&chunk, &plaintext[last * chunk_bytes..]);
    }
}

#[test]
fn another_implementation_opens_the_files_of_the_documentation() {
    let page = repository().join("docs/sealed-files.md");
    let opened = python("sealed.py", &["vectors", page.to_str().unwrap()]);
    assert_eq!(opened, json!({ "opened": 2 }));
}
