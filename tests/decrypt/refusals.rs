//! What is not opened, each with its own message, and that nothing of it is left.

use dativo_wasm::seal::{v0, v1};

use super::{Bench, OTHER, OWN, plaintext};
use crate::kms::new_key;
use crate::support::aws::servers;

/// Refused with a message that holds `what`; the folder is as it was.
fn refused(bench: &Bench, file: &[u8], arguments: &[&str], what: &str) -> String {
    let output = bench.decrypt(file, arguments);
    assert!([1, 2].contains(&output.code), "{what}: {output:?}");
    let error = output.json()["errors"][0].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(what), "{error} / {what}");
    assert!(bench.is_clean(), "{what}: something is left");
    error["hint"].as_str().unwrap().to_owned()
}

fn flipped(file: &[u8], at: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at] ^= 0x10;
    file
}

/// Of three chunks and a bit.
const BYTES: usize = 3 * (1 << 20) + 100;
const CHUNK: usize = (1 << 20) + 16;

#[test]
fn a_v1_file_that_was_changed_says_where() {
    let bench = Bench::new("moto");
    let (id, _) = new_key("moto");
    for (key, arguments) in [(&*bench.own(), &["--key-file", OWN][..]), (&*id, &[])] {
        let file = bench.seal(key, "v1", &plaintext(BYTES));
        let head = v1::Header::parse(&file).unwrap().head_bytes();
        let check = |file: &[u8], what| refused(&bench, file, arguments, what);
        // Chunk size, file id, wrapped key, context, key check, checksum.
        for at in [9, 20, 60, head - 70, head - 40, head - 1] {
            check(
                &flipped(&file, at),
                "the header of the sealed file is damaged",
            );
        }
        check(&flipped(&file, 8), "version 17 of the sealed format");
        check(
            &flipped(&file, head),
            "chunk 0 of the sealed file is damaged",
        );
        check(
            &flipped(&file, head + CHUNK - 1),
            "chunk 0 of the sealed file is damaged",
        );
        check(
            &flipped(&file, head + 2 * CHUNK),
            "chunk 2 of the sealed file is damaged",
        );
        let last = "chunk 3, where the sealed file ends, is damaged, cut or followed by more";
        check(&flipped(&file, file.len() - 1), last);
        check(&flipped(&file, file.len() - 17), last);
        check(&file[..file.len() - 1], last);
        check(&[&file[..], b"more"].concat(), last);
        let cut = "the sealed file is cut: its end is missing";
        check(&file[..head + 3 * CHUNK], cut);
        check(&file[..head + CHUNK + 15], cut);
        check(&file[..head], cut);
        check(&file[..head - 1], cut);
        check(&file[..12], cut);
        // Chunks that are swapped.
        let (one, two) = (
            &file[head..head + CHUNK],
            &file[head + CHUNK..head + 2 * CHUNK],
        );
        let swapped = [&file[..head], two, one, &file[head + 2 * CHUNK..]].concat();
        check(&swapped, "chunk 0 of the sealed file is damaged");
    }
}

#[test]
fn a_v0_file_that_was_changed_gives_out_nothing() {
    let bench = Bench::new("moto");
    let (id, _) = new_key("moto");
    for (key, arguments) in [(&*bench.own(), &["--key-file", OWN][..]), (&*id, &[])] {
        let file = bench.seal(key, "v0", &plaintext(BYTES));
        let head = v0::Head::parse(&file).unwrap().head_bytes();
        let check = |file: &[u8], what| refused(&bench, file, arguments, what);
        let tag = "the tag of the sealed file does not match";
        // IV, tag, and the first, a middle and the last byte of the ciphertext.
        for at in [
            0,
            11,
            head - 16,
            head - 1,
            head,
            head + (1 << 20),
            file.len() - 1,
        ] {
            check(&flipped(&file, at), tag);
        }
        check(&file[..file.len() - 1], tag);
        check(&file[..head], tag);
        check(&[&file[..], b"more"].concat(), tag);
        // The wrapped key.
        check(
            &flipped(&file, head - 17),
            "does not unwrap the key of the file",
        );
        check(
            &file[..head - 1],
            "the sealed file is cut: its end is missing",
        );
        check(&flipped(&file, 12), "this is not a sealed file");
    }
}

#[test]
fn what_is_no_sealed_file_says_so() {
    let bench = Bench::new("moto");
    for file in [
        &b""[..],
        b"id,name,amount\n1,a,2\n",
        b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\x00",
    ] {
        refused(&bench, file, &[], "this is not a sealed file");
    }
}

#[test]
fn another_key_or_another_kind_of_key_has_its_own_message() {
    let bench = Bench::new("moto");
    let (id, _) = new_key("moto");
    let unknown = ["--key-id", "1234abcd-12ab-34cd-56ef-1234567890ab"];
    for format in ["v0", "v1"] {
        let local = bench.seal(&bench.own(), format, b"plain");
        let remote = bench.seal(&id, format, b"plain");
        let other = "does not unwrap the key of the file: it holds another key";
        refused(&bench, &local, &["--key-file", OTHER], other);
        let hint = refused(
            &bench,
            &local,
            &[],
            "with a key file and not by a key service",
        );
        assert!(hint.contains("key file"), "{hint}");
        refused(
            &bench,
            &remote,
            &["--key-file", OWN],
            "by a key service and not with a key file",
        );
        refused(
            &bench,
            &local,
            &["--key-file", "none.key"],
            "key file `none.key` does not exist",
        );
        refused(&bench, &remote, &unknown, "does not exist there");
        refused(
            &bench,
            &remote,
            &["--key-id", "a b"],
            "is neither an id, an ARN",
        );
    }
}

#[test]
fn a_key_that_is_disabled_or_about_to_be_deleted_has_its_own_message() {
    let bench = Bench::new("ministack");
    for (call, what, hint) in [
        (
            "kms.disable_key(KeyId=sys.argv[1])",
            "is disabled",
            "enable-key",
        ),
        (
            "kms.schedule_key_deletion(KeyId=sys.argv[1])",
            "is about to be deleted",
            "cancel-key-deletion",
        ),
    ] {
        let (id, _) = new_key("ministack");
        let files = ["v0", "v1"].map(|format| bench.seal(&id, format, b"plain"));
        servers().python("ministack", call, &[&id]);
        for file in files {
            let said = refused(&bench, &file, &[], what);
            assert!(said.contains(hint), "{said}");
        }
    }
}

#[test]
fn the_file_of_another_tenant_is_refused() {
    let bench = Bench::new("moto");
    let [v0, v1] = ["v0", "v1"].map(|format| bench.seal(&bench.own(), format, b"plain"));
    let arguments = ["--key-file", OWN, "--tenant", "evil"];
    refused(
        &bench,
        &v1,
        &arguments,
        "the file was sealed for tenant `acme`, not `evil`",
    );
    refused(&bench, &v0, &arguments, "does not say which tenant");
}

#[test]
fn nothing_is_overwritten() {
    let bench = Bench::new("moto");
    let file = bench.seal(&bench.own(), "v1", b"plain");
    std::fs::write(bench.path("plain"), "mine").unwrap();
    let output = bench.decrypt(&file, &["--key-file", OWN]);
    assert_eq!(output.code, 2, "{output:?}");
    let error = output.json()["errors"][0].clone();
    assert_eq!(
        error["message"],
        "`plain` exists, and nothing is overwritten"
    );
    assert_eq!(std::fs::read(bench.path("plain")).unwrap(), b"mine");
}
