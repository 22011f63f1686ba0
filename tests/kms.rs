//! Keys of a key service: new ones and those of a file, against servers that nobody here wrote; and what a component
//! can have sealed with them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use dativo_wasm::capabilities::aws::Aws;
use dativo_wasm::capabilities::failure::{ErrorKind, Failure};
use dativo_wasm::capabilities::kms::KeyService;
use dativo_wasm::job::{AwsSettings, Secrets};
use dativo_wasm::seal::{Context, FreshKey, v0, v1};
use serde_json::{Value, json};

use crate::support::aws::{KEY_ID, SECRET, servers};
use crate::support::{TestDir, command, python, test_guests};

/// 32 bytes of 7.
const KEY_FILE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

fn settings(server: &str) -> AwsSettings {
    AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint_url_kms: Some(servers().endpoint(server)),
        access_key_id: Some(KEY_ID.to_owned()),
        secret_access_key: Some(SECRET.to_owned()),
        ..AwsSettings::default()
    }
}

fn service(settings: &AwsSettings) -> KeyService {
    KeyService::new(Aws::new(settings, &Secrets::default()))
}

/// A new master key: its id and its ARN.
fn new_key(server: &str) -> (String, String) {
    let script =
        "key = kms.create_key()['KeyMetadata']\nprint(json.dumps([key['KeyId'], key['Arn']]))";
    let printed = servers().python(server, script, &[]);
    serde_json::from_str(&printed).unwrap()
}

fn context(tenant: &str) -> Context {
    Context::of_run(tenant, "orders", "7f3a").unwrap()
}

fn refused<T>(answer: Result<T, Failure>, kind: ErrorKind, what: &str) -> Failure {
    let failure = answer
        .err()
        .unwrap_or_else(|| panic!("not refused: {what}"));
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.message.contains(what), "{failure} / {what}");
    assert!(failure.hint.is_some(), "{failure}");
    failure
}

/// Seals `plain` with `key`, and gives the header with the file.
fn seal(key: FreshKey, context: &Context, plain: &[u8]) -> (v1::Header, Vec<u8>) {
    let (mut sealer, mut file) = v1::Sealer::new(key, context, v1::ChunkSize::default()).unwrap();
    sealer.update(plain, &mut file).unwrap();
    sealer.finish(&mut file).unwrap();
    (v1::Header::parse(&file).unwrap(), file)
}

#[tokio::test]
async fn a_data_key_opens_with_the_context_that_it_was_made_for_and_no_other() {
    for server in ["moto", "ministack"] {
        let (id, arn) = new_key(server);
        let keys = service(&settings(server));
        let acme = context("acme");
        let (fresh, named) = keys.generate(&id, Some(&acme)).await.unwrap();
        assert_eq!(named, arn);
        let (header, file) = seal(fresh, &acme, b"plain");
        for key_id in [None, Some(&*id), Some(&*arn)] {
            let wrapped = header.wrapped_key();
            let key = keys.decrypt(wrapped, Some(&acme), key_id).await.unwrap();
            let mut stream = header.open(&key, &[]).unwrap().into_stream();
            let mut plain = Vec::new();
            stream
                .update(&file[header.head_bytes()..], &mut plain)
                .unwrap();
            stream.finish(&mut plain).unwrap();
            assert_eq!(plain, b"plain");
        }
        // Two files never share a key.
        let [(one, _), (other, _)] = [
            keys.generate(&arn, None).await.unwrap(),
            keys.generate(&arn, None).await.unwrap(),
        ];
        let [one, other] = [one, other].map(|key| v0::Sealer::new(key).unwrap().finish());
        let wrapped = |head: &[u8]| v0::Head::parse(head).unwrap().wrapped_key().to_vec();
        assert_ne!(wrapped(&one), wrapped(&other));
        keys.decrypt(&wrapped(&one), None, None).await.unwrap();
    }
    // ministack does not bind it.
    let (id, _) = new_key("moto");
    let keys = service(&settings("moto"));
    let (fresh, _) = keys.generate(&id, Some(&context("acme"))).await.unwrap();
    let (header, _) = seal(fresh, &context("acme"), b"");
    for other in [Some(context("evil")), None] {
        let answer = keys
            .decrypt(header.wrapped_key(), other.as_ref(), None)
            .await;
        refused(answer, ErrorKind::Rejected, "was wrapped for someone else");
    }
}

#[tokio::test]
async fn each_state_of_a_key_has_its_own_message() {
    let keys = service(&settings("ministack"));
    for (call, kind, what, hint) in [
        (
            "kms.disable_key(KeyId=sys.argv[1])",
            ErrorKind::Rejected,
            "is disabled",
            "aws kms enable-key",
        ),
        (
            "kms.schedule_key_deletion(KeyId=sys.argv[1])",
            ErrorKind::Rejected,
            "is about to be deleted",
            "aws kms cancel-key-deletion",
        ),
    ] {
        let (id, _) = new_key("ministack");
        let (fresh, _) = keys.generate(&id, None).await.unwrap();
        let head = v0::Sealer::new(fresh).unwrap().finish();
        let head = v0::Head::parse(&head).unwrap();
        servers().python("ministack", call, &[&id]);
        let failure = refused(keys.generate(&id, None).await, kind, what);
        assert!(failure.message.contains(&id), "{failure}");
        assert!(failure.hint.unwrap().contains(hint));
        let answer = keys.decrypt(head.wrapped_key(), None, None).await;
        let failure = refused(answer, kind, what);
        assert!(failure.hint.unwrap().contains(hint));
    }
}

#[tokio::test]
async fn an_unknown_key_a_damaged_one_and_another_one_are_told_apart() {
    for server in ["moto", "ministack"] {
        let keys = service(&settings(server));
        for unknown in [
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/nowhere",
            "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            let answer = keys.generate(unknown, None).await;
            refused(answer, ErrorKind::NotFound, "does not exist there");
        }
    }
    let keys = service(&settings("moto"));
    let (id, _) = new_key("moto");
    let (fresh, _) = keys.generate(&id, None).await.unwrap();
    let head = v0::Sealer::new(fresh).unwrap().finish();
    let mut wrapped = v0::Head::parse(&head).unwrap().wrapped_key().to_vec();
    let last = wrapped.len() - 1;
    wrapped[last] ^= 1;
    let answer = keys.decrypt(&wrapped, None, None).await;
    refused(answer, ErrorKind::Rejected, "does not unwrap the key");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable() {
    let nowhere = AwsSettings {
        endpoint_url_kms: Some("http://127.0.0.1:9".to_owned()),
        ..settings("moto")
    };
    let answer = service(&nowhere).generate("alias/lake", None).await;
    refused(answer, ErrorKind::Unavailable, "cannot be reached");
}

/// A service that answers one request as it is told.
fn canned(status: &str, body: &str) -> AwsSettings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n\
         content-length: {}\r\nx-amzn-requestid: r-1\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 16 << 10];
        // One small request, whose body comes with its head or after it.
        while !String::from_utf8_lossy(&request).contains("AES_256\"") {
            let start = request.iter().position(|byte| *byte == 0).unwrap();
            if client.read(&mut request[start..]).unwrap() == 0 {
                return;
            }
        }
        client.write_all(answer.as_bytes()).unwrap();
    });
    AwsSettings {
        endpoint_url_kms: Some(endpoint),
        ..settings("moto")
    }
}

#[tokio::test]
async fn answers_that_no_test_server_gives_have_their_messages_too() {
    let error = |code: &str| format!("{{\"__type\": \"{code}\", \"message\": \"said so\"}}");
    for (status, body, kind, what) in [
        (
            "400 Bad Request",
            error("AccessDeniedException"),
            ErrorKind::Rejected,
            "may not be used with these credentials (AccessDeniedException: said so (request r-1))",
        ),
        (
            "400 Bad Request",
            error("InvalidKeyUsageException"),
            ErrorKind::InvalidConfig,
            "makes no data keys",
        ),
        (
            "400 Bad Request",
            error("ExpiredTokenException"),
            ErrorKind::Rejected,
            "the credentials have expired",
        ),
        // Of another size than AES-256 takes.
        (
            "200 OK",
            r#"{"KeyId": "k", "CiphertextBlob": "d3JhcHBlZA==", "Plaintext": "AAAAAAAAAAAAAAAAAAAAAA=="}"#.to_owned(),
            ErrorKind::Rejected,
            "the data key has 16 bytes; AES-256 takes 32",
        ),
        (
            "200 OK",
            r#"{"KeyId": "k", "CiphertextBlob": "d3JhcHBlZA=="}"#.to_owned(),
            ErrorKind::Rejected,
            "was answered without a data key",
        ),
        (
            "200 OK",
            format!(r#"{{"KeyId": "k", "Plaintext": "{}"}}"#, KEY_FILE.trim()),
            ErrorKind::Rejected,
            "the wrapped key has 0 bytes",
        ),
    ] {
        let keys = service(&canned(status, &body));
        refused(keys.generate("alias/lake", None).await, kind, what);
    }
}

#[tokio::test]
async fn a_key_file_opens_what_it_sealed_and_nothing_else() {
    let dir = TestDir::new();
    let key_file = |name: &str, text: &str| {
        let path = dir.write(name, text);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        format!("file:{}", path.display())
    };
    let own = key_file("own.key", KEY_FILE);
    let other = key_file("other.key", &"8".repeat(64));
    let keys = service(&settings("moto"));
    let acme = context("acme");
    let (fresh, named) = keys.generate(&own, Some(&acme)).await.unwrap();
    assert_eq!(named, own);
    let (header, _) = seal(fresh, &acme, b"plain");
    let wrapped = header.wrapped_key();
    let key = keys
        .decrypt(wrapped, Some(&acme), Some(&own))
        .await
        .unwrap();
    header.open(&key, &[]).unwrap();

    for (key, context, what) in [
        (Some(&*other), &acme, "does not unwrap"),
        (Some(&*own), &context("evil"), "does not unwrap"),
        (None, &acme, "not by a key service"),
        (Some("alias/lake"), &acme, "not by a key service"),
    ] {
        let answer = keys.decrypt(wrapped, Some(context), key).await;
        refused(answer, ErrorKind::Rejected, what);
    }
    let answer = keys.decrypt(b"of a service", None, Some(&own)).await;
    refused(answer, ErrorKind::Rejected, "not with a key file");
}

/// Has the guest seal `bytes` into the file `sealed`.
fn seal_by_guest(
    dir: &TestDir,
    server: &str,
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
    command.envs(servers().environment(server));
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
        let (error, _) = seal_by_guest(&dir, "moto", &id, "v0", bytes, IN_ORDER, &[&grant], &[]);
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
    let (error, log) = seal_by_guest(&dir, "moto", &arn, "v1", bytes, IN_ORDER, &[&grant], &[]);
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
        let (error, _) = seal_by_guest(&dir, "moto", key, "v1", 1, IN_ORDER, &[&grant], &[]);
        assert_eq!(error["kind"], "denied", "{error}");
        let hint = format!("add `grants: {{ kms: [\"generate {key}\"] }}`");
        assert_eq!(error["hint"], hint, "{error}");
    }
    let (error, _) = seal_by_guest(&dir, "moto", &id, "v1", 1, IN_ORDER, &[], &[]);
    assert_eq!(error["kind"], "grant_missing", "{error}");
    let (error, _) = seal_by_guest(&dir, "moto", &id, "v1", 1, IN_ORDER, &["generate *"], &[]);
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
            let (error, _) = seal_by_guest(&dir, "moto", &id, format, 9, calls, &[&grant], &[]);
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
    let (error, _) = seal_by_guest(&dir, "moto", &id, "v1", 1 << 20, calls, &[&grant], &[]);
    assert_eq!(error["kind"], "limit_exceeded", "{error}");
}

#[test]
fn without_credentials_the_message_names_where_they_may_stand() {
    let dir = TestDir::new();
    let none = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let grants = &["generate alias/lake"];
    let (error, _) = seal_by_guest(&dir, "moto", "alias/lake", "v1", 1, IN_ORDER, grants, &none);
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
    let (error, _) = seal_by_guest(&dir, "moto", "file:dev.key", "v1", 9, IN_ORDER, grants, &[]);
    assert_eq!(error["hint"], "chmod 600 'dev.key'", "{error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let (error, log) = seal_by_guest(&dir, "moto", "file:dev.key", "v1", 9, IN_ORDER, grants, &[]);
    assert_eq!(error["message"], "got: file:dev.key", "{error}");
    assert_eq!(log.matches("which is for development").count(), 1, "{log}");
    let file = std::fs::read(dir.path().join("sealed")).unwrap();
    assert!(v1::Header::parse(&file).is_ok());
    // Neither the key nor its text is in what is said or written.
    assert!(!log.contains(KEY_FILE.trim()), "{log}");
}
