//! Keys of a key service and of a key file: new ones and those of a sealed file, against servers that nobody here wrote.

mod component;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use dativo_wasm::capabilities::aws::Aws;
use dativo_wasm::capabilities::failure::{ErrorKind, Failure};
use dativo_wasm::capabilities::kms::KeyService;
use dativo_wasm::job::{AwsSettings, Secrets};
use dativo_wasm::seal::{Context, FreshKey, v0, v1};

use crate::support::TestDir;
use crate::support::aws::{KEY_ID, SECRET, servers};

/// 32 bytes of 7.
pub const KEY_FILE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

pub fn settings(server: &str) -> AwsSettings {
    AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint_url_kms: Some(servers().endpoint(server)),
        access_key_id: Some(KEY_ID.to_owned()),
        secret_access_key: Some(SECRET.to_owned()),
        ..AwsSettings::default()
    }
}

pub fn service(settings: &AwsSettings) -> KeyService {
    KeyService::new(Aws::new(settings, &Secrets::default()))
}

/// A new master key: its id and its ARN.
pub fn new_key(server: &str) -> (String, String) {
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
        let (fresh, _) = keys.generate(&id, Some(&acme)).await.unwrap();
        let (header, _) = seal(fresh, &acme, b"");
        for other in [Some(context("evil")), None] {
            let wrapped = header.wrapped_key();
            let answer = keys.decrypt(wrapped, other.as_ref(), None).await;
            refused(answer, ErrorKind::Rejected, "was wrapped for someone else");
        }
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
