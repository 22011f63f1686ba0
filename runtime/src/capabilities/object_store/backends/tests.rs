//! What every backend must do, on the file system and on SeaweedFS; then what only S3 can get wrong.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::buffer::Buffer;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::*;
use crate::capabilities::object_store::grant::Access;
use crate::job::{AwsSettings, Secrets};

/// The servers of the integration tests.
#[path = "../../../../../tests/support/aws.rs"]
mod servers;

fn repository() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn python_program() -> PathBuf {
    let given = std::env::var_os("DATIVO_TEST_PYTHON");
    given.map_or_else(
        || repository().join("target/test-venv/bin/python"),
        PathBuf::from,
    )
}

/// A place of its own at one backend: `in/` may be read, `out/` written and read.
struct Bench {
    aws: Arc<Aws>,
    grant: Arc<Grant>,
    root: String,
    owner: Owner,
    _folder: Option<tempfile::TempDir>,
}

impl Bench {
    fn new(root: String, folder: Option<tempfile::TempDir>) -> Self {
        let (settings, secrets) = settings();
        let rules = ["read", "write"].map(|access| format!("{access} {root}/out/**"));
        let rules: Vec<String> = rules.into_iter().collect();
        Self {
            aws: Aws::new(&settings, &secrets),
            grant: Arc::new(Grant::parse(&rules, std::path::Path::new("/")).unwrap()),
            root,
            owner: Owner {
                tenant: "acme".to_owned(),
                job: "orders".to_owned(),
                run: Uuid::now_v7().to_string(),
            },
            _folder: folder,
        }
    }

    fn place(&self, access: Access, name: &str) -> Place {
        let name = format!("{}/out/{name}", self.root);
        self.grant.object(access, &name).unwrap()
    }

    fn folder(&self, access: Access, name: &str) -> Place {
        let name = format!("{}/out/{name}", self.root);
        self.grant.folder(access, &name).unwrap()
    }

    async fn create(&self, name: &str) -> Upload {
        let place = self.place(Access::Write, name);
        Upload::create(&self.aws, place, self.owner.clone(), Attributes::default())
            .await
            .unwrap()
    }

    async fn stage(&self, name: &str, parts: &[(u32, Vec<u8>)]) -> Staged {
        let held = Arc::new(Mutex::new(Some(self.create(name).await)));
        for (number, bytes) in parts {
            let chunks = bytes.chunks(bytes.len() / 2 + 1);
            let chunks = chunks.map(|chunk| Buffer::from(chunk.to_vec())).collect();
            Upload::put(held.clone(), *number, chunks).await.unwrap();
        }
        let upload = held.lock().await.take().unwrap();
        upload.stage().await.unwrap()
    }

    async fn publish(&self, token: &str) -> Result<()> {
        self.each(Verb::Publish, token).await
    }

    async fn discard(&self, token: &str) -> Result<()> {
        self.each(Verb::Discard, token).await
    }

    async fn each(&self, verb: Verb, token: &str) -> Result<()> {
        each(verb, &self.aws, &self.grant, vec![token.to_owned()], || ()).await
    }

    async fn staged(&self) -> Vec<String> {
        let run = self.owner.run.clone();
        let folder = self.folder(Access::Write, "");
        list_staged(&self.aws, &self.grant, folder, run)
            .await
            .unwrap()
    }

    async fn names(&self, folder: &str) -> Vec<String> {
        let place = self.folder(Access::Read, folder);
        let found = list(&self.aws, &self.grant, place).await.unwrap();
        let start = format!("{}/out/", self.root);
        let below = |object: Object| object.url.strip_prefix(&start).unwrap().to_owned();
        found.into_iter().map(below).collect()
    }

    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.place(Access::Write, name);
        put_new(&self.aws, place, Buffer::from(bytes.to_vec())).await
    }

    async fn get(&self, name: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        get(&self.aws, self.place(Access::Read, name), offset, length).await
    }

    async fn drain(&self, name: &str, offset: u64, compression: &str) -> Result<Vec<u8>> {
        let (aws, place) = (self.aws.clone(), self.place(Access::Read, name));
        let compression = compression.to_owned();
        blocking(move || {
            let mut stream = ByteStream::open(&aws, &place, offset, &compression)?;
            let mut bytes = Vec::new();
            while let Some(block) = stream.next(100_000)? {
                bytes.extend(block);
            }
            Ok(bytes)
        })
        .await
    }
}

fn settings() -> (AwsSettings, Secrets) {
    let settings = AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint_url_s3: Some(servers::servers().endpoint("seaweedfs")),
        access_key_id: Some(servers::KEY_ID.to_owned()),
        secret_access_key: Some(servers::SECRET.to_owned()),
        ..AwsSettings::default()
    };
    (settings, Secrets::default())
}

fn s3() -> Bench {
    Bench::new(format!("s3://data/{}", Uuid::now_v7()), None)
}

fn local() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let root: PathBuf = folder.path().canonicalize().unwrap();
    Bench::new(root.display().to_string(), Some(folder))
}

fn both() -> [Bench; 2] {
    [local(), s3()]
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

#[track_caller]
fn fails<T>(outcome: Result<T>, kind: ErrorKind, reason: &str) {
    match outcome {
        Ok(_) => panic!("should fail with `{reason}`"),
        Err(failure) => {
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(failure.message.contains(reason), "{failure}");
        }
    }
}

/// The bytes of a part, each number's its own.
fn part(number: u32, length: usize) -> (u32, Vec<u8>) {
    let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(number) as u8;
    (number, (0..length).map(byte).collect())
}

const MIB: usize = 1 << 20;

#[test]
fn an_object_is_there_once_it_is_published_and_not_before() {
    run(async {
        for bench in both() {
            let parts = [part(3, 100), part(1, 5 * MIB), part(2, 5 * MIB + 1)];
            let staged = bench.stage("y=1/a%2Fb ä+c.parquet", &parts).await;
            assert_eq!(staged.bytes, 10 * MIB as u64 + 101);
            assert!(bench.names("").await.is_empty());
            fails(
                bench.get("y=1/a%2Fb ä+c.parquet", 0, 1).await,
                ErrorKind::NotFound,
                "does not exist",
            );
            assert_eq!(bench.staged().await.len(), 1);

            bench.publish(&staged.token).await.unwrap();
            assert_eq!(bench.names("").await, ["y=1/a%2Fb ä+c.parquet"]);
            assert_eq!(bench.names("y=1/").await, ["y=1/a%2Fb ä+c.parquet"]);
            assert!(bench.staged().await.is_empty());
            let mut whole = parts[1].1.clone();
            whole.extend(&parts[2].1);
            whole.extend(&parts[0].1);
            let read = bench.drain("y=1/a%2Fb ä+c.parquet", 0, "none").await;
            assert!(read.unwrap() == whole);
            use sha2::Digest as _;
            assert_eq!(staged.sha256, hex(&sha2::Sha256::digest(&whole)));

            // Again, and by another process: nothing changes. A discard comes too late.
            bench.publish(&staged.token).await.unwrap();
            bench.discard(&staged.token).await.unwrap();
            bench.publish(&staged.token).await.unwrap();
            assert_eq!(bench.names("").await, ["y=1/a%2Fb ä+c.parquet"]);
        }
    });
}

#[test]
fn what_is_discarded_is_gone() {
    run(async {
        for bench in both() {
            let staged = bench.stage("a", &[part(1, 10)]).await;
            bench.discard(&staged.token).await.unwrap();
            bench.discard(&staged.token).await.unwrap();
            fails(
                bench.publish(&staged.token).await,
                ErrorKind::NotFound,
                "discarded",
            );
            assert!(bench.staged().await.is_empty());
            assert!(bench.names("").await.is_empty());
        }
    });
}

#[test]
fn what_a_run_left_is_found_and_discarded() {
    run(async {
        for bench in both() {
            let staged = bench.stage("a", &[part(1, 10)]).await;
            let begun = bench.create("y=1/b").await;
            let tokens = bench.staged().await;
            assert_eq!(tokens.len(), 2);
            // As a killed process leaves it.
            std::mem::forget(begun);
            fails(
                bench.publish(&tokens[1]).await,
                ErrorKind::Rejected,
                "never ended",
            );
            for token in &tokens {
                bench.discard(token).await.unwrap();
            }
            assert!(bench.staged().await.is_empty());
            fails(
                bench.publish(&staged.token).await,
                ErrorKind::NotFound,
                "discarded",
            );
        }
    });
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    run(async {
        for bench in both() {
            bench.put_new("a", b"first").await.unwrap();
            fails(
                bench.put_new("a", b"other").await,
                ErrorKind::Rejected,
                "exists already",
            );
            let staged = bench.stage("a", &[part(1, 10)]).await;
            fails(
                bench.publish(&staged.token).await,
                ErrorKind::Rejected,
                "exists already",
            );
            assert_eq!(bench.get("a", 0, 100).await.unwrap(), b"first");
            bench.discard(&staged.token).await.unwrap();
        }
    });
}

#[test]
fn of_many_that_create_an_object_one_wins() {
    run(async {
        for bench in both() {
            let mut tries = tokio::task::JoinSet::new();
            for n in 0..8u8 {
                let (aws, place) = (bench.aws.clone(), bench.place(Access::Write, "one"));
                tries.spawn(async move { put_new(&aws, place, Buffer::from(vec![n])).await });
            }
            let outcomes = tries.join_all().await;
            assert_eq!(outcomes.iter().filter(|done| done.is_ok()).count(), 1);
        }
    });
}

#[test]
fn parts_are_refused_that_cannot_make_one_object() {
    run(async {
        for bench in both() {
            let place = || bench.place(Access::Write, "a");
            let upload = bench.create("a").await;
            let held = Arc::new(Mutex::new(Some(upload)));
            let put = |number| Upload::put(held.clone(), number, vec![Buffer::from(vec![1])]);
            fails(put(0).await, ErrorKind::LimitExceeded, "1 to 10000");
            fails(put(10_001).await, ErrorKind::LimitExceeded, "1 to 10000");
            put(1).await.unwrap();
            fails(put(1).await, ErrorKind::Rejected, "twice");
            put(3).await.unwrap();
            fails(put(3).await, ErrorKind::Rejected, "twice");
            let upload = held.lock().await.take().unwrap();
            fails(
                upload.stage().await,
                ErrorKind::Rejected,
                "part 2 is missing",
            );
            fails(put(2).await, ErrorKind::Rejected, "staged already");
            let other = Owner {
                run: "../x".to_owned(),
                ..bench.owner.clone()
            };
            let upload = Upload::create(&bench.aws, place(), other, Attributes::default());
            fails(upload.await, ErrorKind::Rejected, "run id");
        }
    });
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    run(async {
        for bench in both() {
            drop(bench.create("a").await);
            for _ in 0..100 {
                if bench.staged().await.is_empty() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            assert!(bench.staged().await.is_empty());
        }
    });
}

#[test]
fn an_object_without_bytes_is_one_too() {
    run(async {
        for bench in both() {
            let staged = bench.stage("empty", &[]).await;
            bench.publish(&staged.token).await.unwrap();
            bench.put_new("new", b"").await.unwrap();
            for name in ["empty", "new"] {
                assert_eq!(bench.get(name, 0, 9).await.unwrap(), b"");
                assert_eq!(bench.get(name, 3, 9).await.unwrap(), b"");
                assert_eq!(bench.drain(name, 0, "none").await.unwrap(), b"");
                fails(
                    bench.drain(name, 0, "gzip").await,
                    ErrorKind::InvalidData,
                    "is cut",
                );
            }
        }
    });
}

#[test]
fn ranges_end_where_the_object_does() {
    run(async {
        for bench in both() {
            bench.put_new("a", b"0123456789").await.unwrap();
            for (offset, length, expected) in [
                (0, 0, &b""[..]),
                (0, 4, b"0123"),
                (4, 100, b"456789"),
                (9, 1, b"9"),
                (10, 1, b""),
                (1 << 40, 5, b""),
            ] {
                assert_eq!(bench.get("a", offset, length).await.unwrap(), expected);
            }
            assert_eq!(bench.drain("a", 7, "none").await.unwrap(), b"789");
            assert_eq!(bench.drain("a", 10, "none").await.unwrap(), b"");
            assert_eq!(bench.drain("a", 99, "none").await.unwrap(), b"");
            fails(
                bench.get("a", 0, MAX_GET_BYTES + 1).await,
                ErrorKind::LimitExceeded,
                "limit",
            );
            fails(
                bench.get("b", 0, 0).await,
                ErrorKind::NotFound,
                "does not exist",
            );
            let head = head(&bench.aws, bench.place(Access::Read, "a"))
                .await
                .unwrap();
            assert_eq!(head.size_bytes, 10);
            assert!(head.modified_ms > 1_700_000_000_000);
        }
    });
}

#[test]
fn compressed_objects_come_decoded_and_cut_ones_do_not() {
    run(async {
        use std::io::Write as _;
        let text: Vec<u8> = part(0, 300_000).1;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        for bench in both() {
            bench.put_new("a.gz", &gzip).await.unwrap();
            bench.put_new("a.zst", &zstd).await.unwrap();
            bench
                .put_new("cut.gz", &gzip[..gzip.len() - 9])
                .await
                .unwrap();
            assert!(bench.drain("a.gz", 0, "auto").await.unwrap() == text);
            assert!(bench.drain("a.zst", 0, "auto").await.unwrap() == text);
            assert!(bench.drain("a.gz", 0, "none").await.unwrap() == gzip);
            fails(
                bench.drain("cut.gz", 0, "auto").await,
                ErrorKind::InvalidData,
                "is cut",
            );
        }
    });
}

#[test]
fn a_listing_has_pages_and_an_order() {
    run(async {
        for bench in both() {
            let mut puts = tokio::task::JoinSet::new();
            for n in 0..1_100 {
                let place = bench.place(Access::Write, &format!("many/{:02}/{n:05}", n % 7));
                let aws = bench.aws.clone();
                puts.spawn(async move { put_new(&aws, place, Buffer::from(vec![1])).await });
            }
            puts.join_all()
                .await
                .into_iter()
                .for_each(|put| put.unwrap());
            let names = bench.names("many/").await;
            assert_eq!(names.len(), 1_100);
            assert!(names.is_sorted());
            assert!(bench.names("man/").await.is_empty());
        }
    });
}

#[test]
fn metadata_and_encryption_at_rest_are_with_the_object() {
    run(async {
        let bench = s3();
        let attributes = Attributes {
            metadata: vec![("row-count".to_owned(), "17".to_owned())],
            encrypted_at_rest: true,
        };
        let place = bench.place(Access::Write, "a");
        let upload = Upload::create(&bench.aws, place, bench.owner.clone(), attributes);
        let held = Arc::new(Mutex::new(Some(upload.await.unwrap())));
        Upload::put(held.clone(), 1, vec![Buffer::from(vec![1])])
            .await
            .unwrap();
        let upload = held.lock().await.take().unwrap();
        let token = upload.stage().await.unwrap().token;
        bench.publish(&token).await.unwrap();
        let key = bench.place(Access::Read, "a").bucket_and_key().1;
        let script = "h = s3.head_object(Bucket='data', Key=sys.argv[1])\n\
                      print(h['Metadata']['row-count'], h['ServerSideEncryption'])";
        assert_eq!(
            servers::servers().python("moto", script, &[&key]),
            "17 AES256"
        );
        for (name, value) in [
            ("Row", "1"),
            ("", "1"),
            ("a", "ä"),
            ("a", "1\n"),
            ("dativo-upload", "1"),
        ] {
            let attributes = Attributes {
                metadata: vec![(name.to_owned(), value.to_owned())],
                ..Attributes::default()
            };
            let place = bench.place(Access::Write, "b");
            let upload = Upload::create(&bench.aws, place, bench.owner.clone(), attributes);
            fails(upload.await, ErrorKind::Rejected, "metadata");
        }
    });
}

#[test]
fn what_keys_cannot_say_here_is_not_passed_over() {
    run(async {
        let bench = s3();
        let root = bench.root.strip_prefix("s3://data/").unwrap();
        let script = "for k in sys.argv[1:]: s3.put_object(Bucket='data', Key=k, Body=b'x' if not k.endswith('/') else b'')";
        servers::servers().python(
            "moto",
            script,
            &[&format!("{root}/out/a"), &format!("{root}/out/b\tc")],
        );
        let place = bench.folder(Access::Read, "");
        fails(
            list(&bench.aws, &bench.grant, place).await,
            ErrorKind::Rejected,
            "cannot be a name",
        );
    });
}

#[test]
fn errors_say_what_to_do() {
    run(async {
        let bench = s3();
        let name = "s3://no-such-bucket-here/a";
        let grant = Grant::parse(
            &["read s3://no-such-bucket-here/**".to_owned()],
            std::path::Path::new("/"),
        );
        let place = grant.unwrap().object(Access::Read, name).unwrap();
        fails(
            get(&bench.aws, place.clone(), 0, 1).await,
            ErrorKind::NotFound,
            name,
        );
        let (settings, secrets) = settings();
        let wrong = AwsSettings {
            secret_access_key: Some("wrong".to_owned()),
            ..settings.clone()
        };
        let aws = Aws::new(&wrong, &secrets);
        let failure = get(&aws, bench.place(Access::Read, "a"), 0, 1)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Rejected, "{failure}");
        assert!(
            failure.message.contains("credentials are not valid"),
            "{failure}"
        );
        let nowhere = AwsSettings {
            endpoint_url_s3: Some("http://127.0.0.1:1".to_owned()),
            ..settings
        };
        let aws = Aws::new(&nowhere, &secrets);
        fails(
            get(&aws, bench.place(Access::Read, "a"), 0, 1).await,
            ErrorKind::Unavailable,
            "cannot be reached",
        );
    });
}
