//! `decrypt`: what was sealed comes back, and of what is damaged, cut, for someone else or under another key nothing does.

mod refusals;

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use dativo_wasm::seal::{Context, v0, v1};
use serde_json::json;

use crate::kms::{KEY_FILE, new_key, service, settings};
use crate::support::aws::servers;
use crate::support::{Output, TestDir, command, files_below};

/// The key file of every bench, and one with another key.
const OWN: &str = "own.key";
const OTHER: &str = "other.key";

/// A folder with key files, and what is to be sealed there.
struct Bench {
    dir: TestDir,
    server: &'static str,
}

impl Bench {
    fn new(server: &'static str) -> Self {
        let dir = TestDir::new();
        for (name, text) in [(OWN, KEY_FILE), (OTHER, &*"8".repeat(64))] {
            let path = dir.write(name, text);
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        Self { dir, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its own key file, as the host names it.
    fn own(&self) -> String {
        format!("file:{}", self.path(OWN).display())
    }

    /// Seals `plain` for tenant `acme` with a key of `key_id`.
    fn seal(&self, key_id: &str, format: &str, plain: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let keys = service(&settings(self.server));
        let context = Context::of_run("acme", "orders", "7f3a").unwrap();
        let bound = (format == "v1").then_some(&context);
        let (key, _) = runtime.block_on(keys.generate(key_id, bound)).unwrap();
        let mut file = Vec::new();
        if format == "v1" {
            let chunk_size = v1::ChunkSize::default();
            let (mut sealer, mut file) = v1::Sealer::new(key, &context, chunk_size).unwrap();
            sealer.update(plain, &mut file).unwrap();
            sealer.finish(&mut file).unwrap();
            return file;
        }
        let mut sealer = v0::Sealer::new(key).unwrap();
        sealer.update(plain, &mut file).unwrap();
        [sealer.finish(), file].concat()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let arguments = [&["decrypt", "sealed", "plain", "--json"], arguments].concat();
        let mut command = command(&self.dir, &arguments);
        command.envs(servers().environment(self.server));
        command
    }

    /// Has `file` opened.
    fn decrypt(&self, file: &[u8], arguments: &[&str]) -> Output {
        std::fs::write(self.path("sealed"), file).unwrap();
        Output::of(&mut self.command(arguments))
    }

    /// Nothing is there but what was there before.
    fn is_clean(&self) -> bool {
        files_below(self.dir.path()) == [OTHER, OWN, "sealed"]
    }
}

fn plaintext(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n * n) >> 3) as u8).collect()
}

#[test]
fn what_a_key_service_or_a_key_file_wrapped_comes_back() {
    for server in ["moto", "ministack"] {
        let (id, arn) = new_key(server);
        for format in ["v0", "v1"] {
            for (bytes, arguments) in [
                (0, &[][..]),
                (1, &["--key-id", &id]),
                (9_000_001, &["--key-id", &arn]),
            ] {
                comes_back(&Bench::new(server), &id, format, bytes, arguments);
            }
        }
    }
    for format in ["v0", "v1"] {
        // Whole chunks and whole blocks, and something between.
        for bytes in [0, 1 << 20, 4 << 20, 9_000_001] {
            let bench = Bench::new("moto");
            comes_back(&bench, &bench.own(), format, bytes, &["--key-file", OWN]);
        }
    }
}

fn comes_back(bench: &Bench, key: &str, format: &str, bytes: usize, arguments: &[&str]) {
    let plain = plaintext(bytes);
    let tenant = match format {
        "v1" => &["--tenant", "acme"][..],
        _ => &[],
    };
    let file = bench.seal(key, format, &plain);
    let output = bench.decrypt(&file, &[arguments, tenant].concat());
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    assert_eq!(report["bytes"], bytes, "{report}");
    assert_eq!(report["format"], format);
    let context = match format {
        "v1" => json!({ "job": "orders", "run": "7f3a", "tenant": "acme" }),
        _ => json!(null),
    };
    assert_eq!(report["context"], context);
    assert!(std::fs::read(bench.path("plain")).unwrap() == plain);
    let mode = std::fs::metadata(bench.path("plain"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(
        files_below(bench.dir.path()),
        [OTHER, OWN, "plain", "sealed"]
    );
}

#[test]
fn says_what_it_opened() {
    let bench = Bench::new("moto");
    for (format, said) in [
        (
            "v0",
            "plain: 5 bytes of sealed, a file of format v0, which does not say whom it was sealed for\n",
        ),
        (
            "v1",
            "plain: 5 bytes of sealed, a file of format v1, sealed for job `orders`, run `7f3a`, tenant `acme`\n",
        ),
    ] {
        std::fs::write(
            bench.path("sealed"),
            bench.seal(&bench.own(), format, b"plain"),
        )
        .unwrap();
        let arguments = ["decrypt", "sealed", "plain", "--key-file", OWN];
        let output = command(&bench.dir, &arguments).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        std::fs::remove_file(bench.path("plain")).unwrap();
    }
}

#[test]
fn memory_does_not_grow_with_the_file() {
    for format in ["v0", "v1"] {
        let bench = Bench::new("moto");
        let peak = |bytes| {
            let plain = vec![7; bytes];
            let file = bench.seal(&bench.own(), format, &plain);
            let output = bench.decrypt(&file, &["--key-file", OWN]);
            assert_eq!(output.code, 0, "{output:?}");
            assert!(std::fs::read(bench.path("plain")).unwrap() == plain);
            std::fs::remove_file(bench.path("plain")).unwrap();
            output.json()["peak_memory_bytes"].as_u64().unwrap()
        };
        let (small, large) = (peak(16 << 20), peak(192 << 20));
        assert!(large < small + (16 << 20), "{format}: {small}, {large}");
    }
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let bench = Bench::new("moto");
    let (id, _) = new_key("moto");
    let file = bench.seal(&id, "v1", b"plain");
    std::fs::write(bench.path("sealed"), file).unwrap();
    // A key service that takes the question and does not answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut command = bench.command(&[]);
    let child = command
        .env("AWS_ENDPOINT_URL_KMS", endpoint)
        .spawn()
        .unwrap();
    let (mut asked, _) = silent.accept().unwrap();
    assert!(asked.read(&mut [0; 64]).unwrap() > 0);
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(bench.is_clean());
}
