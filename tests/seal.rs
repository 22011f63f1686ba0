//! Sealed files are opened by others: by the steps of the first writers' script, and by an implementation that was written
//! from `docs/sealed-files.md`.

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
