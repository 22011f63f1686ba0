//! The writer `encrypted-s3`: its files open with the tools of others and with nothing else, once and whole.

mod modular;
mod traces;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::aws::servers;
use crate::support::{
    Output, TestDir, command, points_passed, python_program, read_csv, read_parquet, repository,
    soak,
};

const SIGKILL: i32 = 9;
const MARKER: &str = "plaintext-that-nobody-may-see";

/// A folder with a CSV and a job, a prefix of the bucket `data`, and a master key in moto.
pub struct Bench {
    pub dir: TestDir,
    pub prefix: String,
    pub key: String,
}

impl Bench {
    pub fn new(format: &str, rows: u64) -> Self {
        let key = servers().python("moto", "print(kms.create_key()['KeyMetadata']['Arn'])", &[]);
        let bench = Self {
            dir: TestDir::new(),
            prefix: Uuid::now_v7().to_string(),
            key,
        };
        let mut text = String::from("id,name,amount\n");
        for id in 0..rows {
            text.push_str(&format!("{id},\"{MARKER}, {}\",{}.5\n", id % 97, id % 1000));
        }
        bench.dir.write("data.csv", &text);
        bench.job(format, &bench.key);
        bench
    }

    fn job(&self, format: &str, key: &str) {
        self.job_with(format, key, &json!({}));
    }

    fn job_with(&self, format: &str, key: &str, more: &Value) {
        let mut config = json!({
            "s3_bucket": "data", "s3_prefix": self.prefix, "kms_key_id": key, "format": format,
            "target_file_size": "64KiB", "row_group_rows": 2000,
        });
        let more = more.as_object().unwrap();
        config.as_object_mut().unwrap().extend(more.clone());
        let grants = match config["column_keys"][0]["kms_key_id"].as_str() {
            Some(key) => json!({ "kms": [format!("generate {key}")] }),
            None => json!({}),
        };
        self.dir.write(
            "job.yaml",
            &format!(
                "tenant_id: t\nparallelism: 2\nlimits: {{ batch_rows: 4000 }}\n\
                 source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: data.csv, split_bytes: 400000 }} }} }}\n\
                 target: {{ writer: {{ type: custom, implementation: encrypted-s3, grants: {grants}, config: {config} }} }}\n"
            ),
        );
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.dir, args);
        command.envs(servers().environment("moto"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args))
    }

    /// The objects, opened with what nobody here wrote: their facts, and a folder of Parquet files.
    fn open(&self, how: &str) -> (Value, PathBuf) {
        let folder = self.dir.path().join("opened");
        let _ = std::fs::remove_dir_all(&folder);
        let output = Command::new(python_program())
            .arg(repository().join("tests/support/encrypted.py"))
            .args([how, "data", &self.prefix])
            .arg(&folder)
            .envs(servers().environment("moto"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        (serde_json::from_slice(&output.stdout).unwrap(), folder)
    }

    /// Opened, the rows are those of the CSV.
    fn check(&self, how: &str, when: &str) -> Value {
        let (objects, folder) = self.open(how);
        let read = read_parquet("duckdb", &folder);
        let source = read_csv(&self.dir.path().join("data.csv"));
        assert_eq!(
            (&read["rows"], &read["checksum"]),
            (&source["rows"], &source["checksum"]),
            "{when}"
        );
        objects
    }

    fn uploads(&self) -> usize {
        let script = "print(len(s3.list_multipart_uploads(Bucket='data', Prefix=sys.argv[1]).get('Uploads', [])))";
        let found = servers().python("moto", script, &[&self.prefix]);
        found.parse().unwrap()
    }

    fn object(&self, key: &str) -> Vec<u8> {
        let file = self.dir.path().join("object");
        let script = "s3.download_file('data', sys.argv[1], sys.argv[2])";
        servers().python("moto", script, &[key, file.to_str().unwrap()]);
        std::fs::read(file).unwrap()
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn the_first_writers_own_steps_open_what_is_written_now() {
    let bench = Bench::new("v0", 30_000);
    let output = bench.run(&["run", "job.yaml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    let objects = bench.check("seed", "v0");
    let files = report["details"]["files"].as_array().unwrap();
    assert!(files.len() > 2, "{report}");
    assert_eq!(objects.as_object().unwrap().len(), files.len());
    for file in files {
        let key = file["s3_key"].as_str().unwrap();
        let object = &objects[key];
        assert_eq!(object["sse"], "AES256", "{object}");
        let metadata = &object["metadata"];
        assert_eq!(metadata["client-encrypted"], "true");
        assert_eq!(metadata["encryption-algorithm"], "AES-256-GCM");
        assert_eq!(metadata["kms-key-id"], bench.key);
        assert_eq!(metadata["row-count"], file["row_count"].to_string());
        assert_eq!(
            metadata["plaintext-size"],
            file["plaintext_size_bytes"].to_string()
        );
        assert_eq!(metadata["dativo-version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(file["s3_uri"], format!("s3://data/{key}"));
        assert_eq!(file["s3_bucket"], "data");
        assert_eq!(
            (&file["encrypted"], &file["encryption_algorithm"]),
            (&json!(true), &json!("AES-256-GCM"))
        );
        assert_eq!(file["kms_key_id"], bench.key);
        assert_eq!(file["encrypted_size_bytes"], object["size"]);
        assert_eq!(file["compression"], "snappy");
        let run = report["run_id"].as_str().unwrap();
        assert!(
            key.starts_with(&format!("{}/data_{run}-", bench.prefix))
                && key.ends_with(".parquet.encrypted")
        );
        let bytes = bench.object(key);
        assert!(!contains(&bytes, MARKER.as_bytes()) && !contains(&bytes, b"PAR1"));
        use sha2::{Digest, Sha256};
        let sum: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(file["checksum_sha256"], sum);
    }
    let again = bench.run(&["run", "job.yaml", "--json"]);
    assert_eq!(again.json()["rows_read"], 0, "{again:?}");
}

/// Over splits, files, runs, and a run that is cut short and done again.
#[test]
fn every_file_has_a_key_of_its_own() {
    let bench = Bench::new("v0", 30_000);
    let mut heads = std::collections::HashSet::new();
    let mut files = 0;
    for _ in 0..2 {
        let mut killed = bench.command(&["run", "job.yaml"]);
        let status = killed.env("DATIVO_CRASH_AT", "staged:2").status().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL));
        let output = bench.run(&["run", "job.yaml", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        for file in output.json()["details"]["files"].as_array().unwrap() {
            let bytes = bench.object(file["s3_key"].as_str().unwrap());
            let length = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
            assert!(heads.insert(bytes[16..16 + length].to_vec()));
            files += 1;
        }
        assert_eq!(bench.run(&["state", "reset", "job.yaml"]).code, 0);
    }
    assert!(files > 4, "{files}");
}

#[test]
fn the_audit_record_says_who_wrote_what_under_which_key_and_can_be_verified() {
    let bench = Bench::new("v1", 10_000);
    let output = bench.run(&["run", "job.yaml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    let record_url = report["details"]["audit_record"].as_str().unwrap();
    let key = record_url.strip_prefix("s3://data/").unwrap();
    let record: Value = serde_json::from_slice(&bench.object(key)).unwrap();
    assert_eq!(record["run"], report["run_id"]);
    assert_eq!(
        (&record["tenant"], &record["job"]),
        (&json!("t"), &json!("job"))
    );
    assert_eq!(record["row_count"], 10_000);
    assert_eq!(record["files"], report["details"]["files"]);
    for side in ["reader", "writer"] {
        let digest = record["components"][side]["digest"].as_str().unwrap();
        assert!(
            digest.starts_with("sha256:") && digest.len() == 71,
            "{record}"
        );
    }
    let verified = bench.run(&["verify", record_url, "--json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let count = record["files"].as_array().unwrap().len();
    assert_eq!(
        verified.json()["files"].as_array().unwrap().len(),
        count,
        "{verified:?}"
    );

    // A file that was changed, one that is gone, and a record of something else.
    let first = record["files"][0]["s3_key"].as_str().unwrap();
    let change = "b = bytearray(s3.get_object(Bucket='data', Key=sys.argv[1])['Body'].read()); b[-20] ^= 1\n\
                  s3.put_object(Bucket='data', Key=sys.argv[1], Body=bytes(b))";
    servers().python("moto", change, &[first]);
    let changed = bench.run(&["verify", record_url]);
    assert_ne!(changed.code, 0, "{changed:?}");
    assert!(
        changed.stderr.contains("was changed") && changed.stderr.contains(first),
        "{changed:?}"
    );
    servers().python(
        "moto",
        "s3.delete_object(Bucket='data', Key=sys.argv[1])",
        &[first],
    );
    let gone = bench.run(&["verify", record_url]);
    assert!(
        gone.code != 0 && gone.stderr.contains("does not exist"),
        "{gone:?}"
    );
    let no_record = bench.run(&[
        "verify",
        &format!(
            "s3://data/{}",
            record["files"][1]["s3_key"].as_str().unwrap_or(first)
        ),
    ]);
    assert!(
        no_record.code != 0 && no_record.stderr.contains("no audit record"),
        "{no_record:?}"
    );
}

#[test]
fn an_audit_record_that_someone_else_wrote_is_not_passed_over() {
    let bench = Bench::new("v0", 1_000);
    let mut killed = bench.command(&["run", "job.yaml"]);
    let status = killed
        .env("DATIVO_CRASH_AT", "published:1")
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGKILL));
    // The manifest says which run it was.
    let script = "keys = [o['Key'] for o in s3.list_objects_v2(Bucket='data', Prefix=sys.argv[1] + '/_dativo/')['Contents']]\n\
                  run = json.loads(s3.get_object(Bucket='data', Key=keys[0])['Body'].read())['run']\n\
                  s3.put_object(Bucket='data', Key=f'{sys.argv[1]}/_dativo/t/job/audit/{run}.json', Body=b'{}')";
    servers().python("moto", script, &[&bench.prefix]);
    let output = bench.run(&["run", "job.yaml"]);
    assert_ne!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("audit record"), "{output:?}");
}

#[test]
fn a_key_that_is_not_granted_or_cannot_be_used_ends_the_run() {
    let bench = Bench::new("v0", 1_000);
    bench.job(
        "v0",
        "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000",
    );
    let output = bench.run(&["run", "job.yaml"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("does not exist"), "{output:?}");
    assert_eq!(bench.uploads(), 0);
}

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing_encrypted() {
    let reference = Bench::new("v0", 12_000);
    let passed = points_passed(&reference.dir, reference.command(&["run", "job.yaml"]));
    let mut points = Vec::new();
    for (name, times) in passed {
        let most = if soak() { times } else { 1 };
        points.extend((1..=times.min(most)).map(|n| format!("{name}:{n}")));
        if times > 1 && !soak() {
            points.push(format!("{name}:{times}"));
        }
    }
    for point in &points {
        let bench = Bench::new("v0", 12_000);
        let mut killed = bench.command(&["run", "job.yaml"]);
        let status = killed.env("DATIVO_CRASH_AT", point).status().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "{point}: {status}");
        let output = bench.run(&["run", "job.yaml"]);
        assert_eq!(output.code, 0, "after a kill at {point}: {output:?}");
        bench.check("seed", &format!("after a kill at {point}"));
        assert_eq!(bench.uploads(), 0, "after a kill at {point}");
        let script = "print(len([o for o in s3.list_objects_v2(Bucket='data', Prefix=sys.argv[1])['Contents'] if '/.dativo-staged/' in o['Key']]))";
        assert_eq!(
            servers().python("moto", script, &[&bench.prefix]),
            "0",
            "after a kill at {point}"
        );
        let script = "print(len([o for o in s3.list_objects_v2(Bucket='data', Prefix=sys.argv[1])['Contents'] if '/audit/' in o['Key']]))";
        assert_eq!(
            servers().python("moto", script, &[&bench.prefix]),
            "1",
            "after a kill at {point}"
        );
    }
    println!("{} kill points: {}", points.len(), points.join(" "));
}

#[test]
fn decrypt_opens_objects_of_both_formats_and_refuses_what_was_changed() {
    for format in ["v0", "v1"] {
        let bench = Bench::new(format, 3_000);
        let output = bench.run(&["run", "job.yaml", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        let files = output.json()["details"]["files"].clone();
        let folder = bench.dir.path().join("plain");
        std::fs::create_dir(&folder).unwrap();
        for (index, file) in files.as_array().unwrap().iter().enumerate() {
            let to = folder.join(format!("{index}.parquet"));
            let uri = file["s3_uri"].as_str().unwrap();
            let opened = bench.run(&["decrypt", uri, to.to_str().unwrap()]);
            assert_eq!(opened.code, 0, "{opened:?}");
            assert_eq!(
                std::fs::metadata(&to).unwrap().len(),
                file["plaintext_size_bytes"]
            );
        }
        let read = read_parquet("pyarrow", &folder);
        assert_eq!(read["rows"], 3_000, "{read}");
        let first = files[0]["s3_key"].as_str().unwrap();
        let uri = files[0]["s3_uri"].as_str().unwrap();
        let change = "b = bytearray(s3.get_object(Bucket='data', Key=sys.argv[1])['Body'].read()); b[int(sys.argv[2])] ^= 1\n\
                      s3.put_object(Bucket='data', Key=sys.argv[1], Body=bytes(b[:len(b) - int(sys.argv[3])]))";
        let to = bench.dir.path().join("changed");
        for (at, cut) in [("-30", "0"), ("-1", "1")] {
            servers().python("moto", change, &[first, at, cut]);
            let refused = bench.run(&["decrypt", uri, to.to_str().unwrap()]);
            assert_ne!(refused.code, 0, "{refused:?}");
            assert!(!to.exists());
        }
        let missing = bench.run(&["decrypt", "s3://data/no-such-object", to.to_str().unwrap()]);
        assert!(missing.stderr.contains("does not exist"), "{missing:?}");
    }
}
