//! What a component can have sealed, and under which keys.

use std::os::unix::fs::PermissionsExt;

use dativo_wasm::seal::v1;
use serde_json::{Value, json};

use super::{KEY_FILE, new_key};
use crate::support::aws::servers;
use crate::support::{TestDir, command, python, test_guests};

/// Has the guest seal `bytes` into the file `sealed`.
fn seal_by_guest(
    dir: &TestDir,
    key: &str,
    format: &str,
    bytes: usize,
    calls: &[&str],
    grants: &[&str],
    without: &[&str],
) -> (Value, String) {
    let config =
        json!({ "key": key, "format": format, "bytes": bytes, "output": "sealed", "calls": calls });
    let grants = match grants {
        [] => String::new(),
        grants => format!(", grants: {{ kms: {} }}", json!(grants)),
    };
    let job = format!(
        "tenant_id: acme\nname: orders\nsource: {{ reader: {{ type: custom, implementation: sealing, config: {config}{grants} }} }}\n\
         target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
    );
    dir.write("job.yaml", &job);
    let plugins = test_guests();
    let args = [
        "run",
        "job.yaml",
        "--json",
        "--plugins",
        plugins.to_str().unwrap(),
    ];
    let mut command = command(dir, &args);
    command.envs(servers().environment("moto"));
    for name in without {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    (report["error"].clone(), log)
}

const IN_ORDER: &[&str] = &["update", "finish", "head"];

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8).collect()
}

#[test]
fn the_first_writers_own_steps_open_a_v0_file_of_a_component() {
    let (id, arn) = new_key("moto");
    let grant = format!("generate {id}");
    for bytes in [0, 1, 2_000_003] {
        let dir = TestDir::new();
        let (error, _) = seal_by_guest(&dir, &id, "v0", bytes, IN_ORDER, &[&grant], &[]);
        assert_eq!(error["message"], format!("got: {arn}"), "{error}");
        // The steps of the seed's script.
        let script = "
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
data = open(sys.argv[1], 'rb').read()
iv = data[:12]
length = int.from_bytes(data[12:16], 'big')
wrapped = data[16:16 + length]
tag = data[16 + length:32 + length]
ciphertext = data[32 + length:]
key = kms.decrypt(CiphertextBlob=wrapped)['Plaintext']
decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag)).decryptor()
plain = decryptor.update(ciphertext) + decryptor.finalize()
open(sys.argv[2], 'wb').write(plain)
";
        let [sealed, plain] = ["sealed", "plain"].map(|name| dir.path().join(name));
        let arguments = [sealed.to_str().unwrap(), plain.to_str().unwrap()];
        servers().python("moto", script, &arguments);
        assert!(std::fs::read(plain).unwrap() == pattern(bytes), "{bytes}");
    }
}

#[test]
fn a_v1_file_of_a_component_is_bound_to_tenant_job_and_run() {
    let (id, arn) = new_key("moto");
    let dir = TestDir::new();
    let bytes = 3_000_000;
    let grant = format!("generate {arn}");
    let (error, log) = seal_by_guest(&dir, &arn, "v1", bytes, IN_ORDER, &[&grant], &[]);
    assert_eq!(error["message"], format!("got: {arn}"), "{error}");
    assert!(!log.contains("for development"), "{log}");
    let sealed = dir.path().join("sealed");
    let file = std::fs::read(&sealed).unwrap();
    let header = v1::Header::parse(&file).unwrap();
    let wrapped: String = header
        .wrapped_key()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let context: Value = header.context().pairs().collect();
    assert_eq!(
        (&context["tenant"], &context["job"]),
        (&json!("acme"), &json!("orders"))
    );
    assert_eq!(context["run"].as_str().unwrap().len(), 36);
    let script = "
key = kms.decrypt(CiphertextBlob=bytes.fromhex(sys.argv[1]), EncryptionContext=json.loads(sys.argv[2]), KeyId=sys.argv[3])
print(key['Plaintext'].hex())";
    let key = servers().python("moto", script, &[&wrapped, &context.to_string(), &id]);
    let opened = python("sealed.py", &["v1", &key, sealed.to_str().unwrap()]);
    assert_eq!(opened["bytes"], bytes);
    assert_eq!(opened["context"], context);
}

#[test]
fn a_component_seals_under_a_granted_key_only() {
    let dir = TestDir::new();
    let (id, arn) = new_key("moto");
    let grant = format!("generate {id}");
    for key in [&*arn, "alias/lake", "file:dev.key"] {
        let (error, _) = seal_by_guest(&dir, key, "v1", 1, IN_ORDER, &[&grant], &[]);
        assert_eq!(error["kind"], "denied", "{error}");
        let hint = format!("add `grants: {{ kms: [\"generate {key}\"] }}`");
        assert_eq!(error["hint"], hint, "{error}");
    }
    let (error, _) = seal_by_guest(&dir, &id, "v1", 1, IN_ORDER, &[], &[]);
    assert_eq!(error["kind"], "grant_missing", "{error}");
    let (error, _) = seal_by_guest(&dir, &id, "v1", 1, IN_ORDER, &["generate *"], &[]);
    assert_eq!(error["kind"], "job_invalid", "{error}");
    assert!(!dir.path().join("sealed").exists());
}

#[test]
fn calls_out_of_order_are_refused() {
    let dir = TestDir::new();
    let (id, _) = new_key("moto");
    let grant = format!("generate {id}");
    for (calls, what) in [
        (&["head"][..], "`head` of a sealer comes before `finish`"),
        (&["update", "head"], "comes before `finish`"),
        (
            &["finish", "update"],
            "`update` of a sealer comes after `finish`",
        ),
        (&["finish", "finish"], "comes after `finish`"),
        (&["finish", "head", "head"], "comes after `head`"),
        (&["finish", "head", "update"], "comes after `head`"),
    ] {
        for format in ["v0", "v1"] {
            let (error, _) = seal_by_guest(&dir, &id, format, 9, calls, &[&grant], &[]);
            assert_eq!(error["kind"], "rejected", "{error}");
            assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        }
    }
}

#[test]
fn one_blob_named_ten_thousand_times_ends_at_the_limit_of_memory() {
    let dir = TestDir::new();
    let (id, _) = new_key("moto");
    let grant = format!("generate {id}");
    let calls = &["flood"];
    let (error, _) = seal_by_guest(&dir, &id, "v1", 1 << 20, calls, &[&grant], &[]);
    assert_eq!(error["kind"], "limit_exceeded", "{error}");
}

#[test]
fn without_credentials_the_message_names_where_they_may_stand() {
    let dir = TestDir::new();
    let none = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let grants = &["generate alias/lake"];
    let (error, _) = seal_by_guest(&dir, "alias/lake", "v1", 1, IN_ORDER, grants, &none);
    assert_eq!(error["kind"], "job_invalid", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("there are no credentials for `alias/lake`"),
        "{error}"
    );
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("AWS_ACCESS_KEY_ID"),
        "{error}"
    );
}

#[test]
fn a_key_file_is_said_to_be_for_development_once() {
    let dir = TestDir::new();
    let path = dir.write("dev.key", KEY_FILE);
    let grants = &["generate file:dev.key"];
    let (error, _) = seal_by_guest(&dir, "file:dev.key", "v1", 9, IN_ORDER, grants, &[]);
    assert_eq!(error["hint"], "chmod 600 'dev.key'", "{error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let (error, log) = seal_by_guest(&dir, "file:dev.key", "v1", 9, IN_ORDER, grants, &[]);
    assert_eq!(error["message"], "got: file:dev.key", "{error}");
    assert_eq!(log.matches("which is for development").count(), 1, "{log}");
    let file = std::fs::read(dir.path().join("sealed")).unwrap();
    assert!(v1::Header::parse(&file).is_ok());
    // Neither the key nor its text is in what is said or written.
    assert!(!log.contains(KEY_FILE.trim()), "{log}");
}
