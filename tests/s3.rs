//! Jobs that read from buckets and write to them: whole, once, whatever the network and the process do.

mod clean;
mod faults;

use std::process::Command;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::aws::servers;
use crate::support::faults::Proxy;
use crate::support::{Output, TestDir, command, read_csv, read_parquet};

const SIGKILL: i32 = 9;

/// A folder with a job, and a prefix of the bucket `data` that belongs to it alone.
struct Bench {
    dir: TestDir,
    prefix: String,
    /// Of S3.
    endpoint: String,
}

impl Bench {
    /// From `in/` to `out/` of the prefix: several splits, several files each.
    fn new() -> Self {
        let bench = Self {
            dir: TestDir::new(),
            prefix: Uuid::now_v7().to_string(),
            endpoint: servers().endpoint("seaweedfs"),
        };
        let root = format!("s3://data/{}", bench.prefix);
        bench.dir.write(
            "job.yaml",
            &format!(
                "tenant_id: t\nparallelism: 2\nlimits: {{ batch_rows: 4000 }}\n\
                 source: {{ reader: {{ type: custom, implementation: csv, \
                 config: {{ file_path: \"{root}/in/**\", split_bytes: 65536 }} }} }}\n\
                 target: {{ writer: {{ type: custom, implementation: parquet, \
                 config: {{ path: {root}/out, row_group_rows: 2000, target_file_size: 64KiB }} }} }}\n"
            ),
        );
        bench
    }

    fn through(mut self, proxy: &Proxy) -> Self {
        self.endpoint = proxy.endpoint();
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.dir, args);
        command
            .envs(servers().environment("moto"))
            .env("AWS_ENDPOINT_URL_S3", &self.endpoint);
        command
    }

    fn run(&self) -> Output {
        Output::of(&mut self.command(&["run", "job.yaml", "--json"]))
    }

    /// Puts rows `from..to` into `in/` of the prefix, and the file of all rows so far into the folder.
    fn put(&self, name: &str, from: u64, to: u64) {
        let mut text = String::from("id,name,amount\n");
        for id in from..to {
            text.push_str(&format!("{id},\"name, {}\",{}.5\n", id % 97, id % 1000));
        }
        let file = self.dir.write("part.csv", &text);
        let script = "import gzip\nbody = open(sys.argv[2], 'rb').read()\n\
                      if sys.argv[1].endswith('.gz'): body = gzip.compress(body)\n\
                      s3.put_object(Bucket='data', Key=sys.argv[1], Body=body)";
        let key = format!("{}/in/{name}", self.prefix);
        servers().python("moto", script, &[&key, file.to_str().unwrap()]);
        let all = self.dir.path().join("all.csv");
        let mut so_far = std::fs::read_to_string(&all).unwrap_or_default();
        let skip = if so_far.is_empty() { 0 } else { 1 };
        for line in text.lines().skip(skip) {
            so_far.push_str(line);
            so_far.push('\n');
        }
        std::fs::write(&all, so_far).unwrap();
    }

    /// What is in `out/`, read by duckdb from what boto3 downloads; and nothing else is there.
    fn check(&self, when: &str) {
        let folder = self.dir.path().join("downloaded");
        let _ = std::fs::remove_dir_all(&folder);
        let script = "import os\nout, folder = sys.argv[1:]\n\
             keys = [o['Key'] for p in s3.get_paginator('list_objects_v2').paginate(Bucket='data', Prefix=out) for o in p.get('Contents', [])]\n\
             for k in keys:\n  \
               if not k.endswith('.parquet'): continue\n  \
               f = os.path.join(folder, k[len(out):]); os.makedirs(os.path.dirname(f), exist_ok=True)\n  \
               s3.download_file('data', k, f)\n\
             uploads = [u['Key'] for u in s3.list_multipart_uploads(Bucket='data', Prefix=out).get('Uploads', [])]\n\
             print(json.dumps({'others': [k for k in keys if not k.endswith('.parquet') and '/_dativo/' not in k], 'uploads': uploads}))";
        let out = format!("{}/out/", self.prefix);
        let found = servers().python("moto", script, &[&out, folder.to_str().unwrap()]);
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found, json!({ "others": [], "uploads": [] }), "{when}");
        let read = read_parquet("duckdb", &folder);
        let source = read_csv(&self.dir.path().join("all.csv"));
        assert_eq!(
            (&read["rows"], &read["checksum"]),
            (&source["rows"], &source["checksum"]),
            "{when}"
        );
    }
}

#[test]
fn csv_in_a_bucket_becomes_parquet_in_a_bucket_once() {
    let bench = Bench::new();
    bench.put("2024/a.csv", 0, 20_000);
    bench.put("2025/b.csv.gz", 20_000, 30_000);
    let first = bench.run();
    assert_eq!(first.code, 0, "{first:?}");
    let report = first.json();
    assert_eq!(report["rows_written"], 30_000);
    let path = report["outputs"][0]["path"].as_str().unwrap();
    assert!(path.starts_with("s3://data/"), "{path}");
    bench.check("after the first run");
    let again = bench.run();
    assert_eq!(again.json()["rows_read"], 0, "{again:?}");
    bench.put("2025/c.csv", 30_000, 31_000);
    let more = bench.run();
    assert_eq!(more.json()["rows_read"], 1_000, "{more:?}");
    bench.check("after a new file");
    let state = bench
        .command(&["state", "show", "job.yaml"])
        .output()
        .unwrap();
    assert!(state.status.success());
}

#[test]
fn a_job_says_where_its_store_is_and_keeps_its_credentials_to_itself() {
    let bench = Bench::new();
    bench.put("a.csv", 0, 100);
    let job = std::fs::read_to_string(bench.dir.path().join("job.yaml")).unwrap();
    let aws = format!(
        "aws: {{ region: us-east-1, endpoint_url_s3: {}, access_key_id: testkey, secret_access_key: \"${{SECRET:S3}}\" }}\n",
        bench.endpoint
    );
    bench.dir.write("job.yaml", &(aws + &job));
    let run = |secret: &str| {
        let mut command = command(&bench.dir, &["run", "job.yaml", "--json"]);
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
            .env("S3", secret)
            .env("DATIVO_LOG", "trace")
            .output()
            .unwrap()
    };
    let wrong = run("wrongSecretOfThisJob");
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned()
        + &String::from_utf8_lossy(&wrong.stdout);
    assert!(!wrong.status.success());
    assert!(text.contains("credentials are not valid"), "{text}");
    assert!(!text.contains("wrongSecretOfThisJob"), "{text}");
    let right = run("testsecret");
    assert!(right.status.success(), "{right:?}");
    assert!(!String::from_utf8_lossy(&right.stderr).contains("testsecret"));
    bench.check("with credentials of the job");
}

#[test]
fn a_bucket_that_is_not_granted_is_not_reached() {
    let bench = Bench::new();
    let root = format!("s3://data/{}", bench.prefix);
    bench.dir.write(
        "job.yaml",
        &format!(
            "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: csv, \
             config: {{ file_path: \"{root}/in/../../other/a.csv\" }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
        ),
    );
    let output = bench.run();
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`..` after a name"), "{output:?}");
}

#[test]
fn a_profile_says_where_the_store_is_and_who_asks() {
    let bench = Bench::new();
    bench.put("a.csv", 0, 1_000);
    let endpoint = &bench.endpoint;
    let config = bench.dir.write(
        "aws-config",
        &format!("[profile lake]\nregion = us-east-1\nservices = here\n[services here]\ns3 =\n  endpoint_url = {endpoint}\n"),
    );
    let credentials = bench.dir.write(
        "aws-credentials",
        "[lake]\naws_access_key_id = testkey\naws_secret_access_key = testsecret\n",
    );
    let job = std::fs::read_to_string(bench.dir.path().join("job.yaml")).unwrap();
    bench.dir.write(
        "job.yaml",
        &format!("aws: {{ profile: lake, path_style: true }}\n{job}"),
    );
    let output = command(&bench.dir, &["run", "job.yaml", "--json"])
        .env_remove("AWS_ACCESS_KEY_ID")
        .env("AWS_CONFIG_FILE", config)
        .env("AWS_SHARED_CREDENTIALS_FILE", credentials)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    bench.check("with a profile");
}

/// moto answers as STS does, and its S3 takes what STS gave.
#[test]
fn a_web_identity_is_exchanged_for_credentials() {
    let bench = Bench::new();
    let moto = servers().endpoint("moto");
    let token = bench.dir.write("token", "a-token");
    let script = "s3.create_bucket(Bucket=sys.argv[1])\ns3.put_object(Bucket=sys.argv[1], Key='a.csv', Body=b'id\\n1\\n2\\n')";
    let mut python = Command::new(&servers().python);
    let bucket = bench.prefix.as_str();
    let made = python
        .args([
            "-c",
            &format!("import boto3, sys\ns3 = boto3.client('s3')\n{script}"),
            bucket,
        ])
        .envs(servers().environment("moto"))
        .env("AWS_ENDPOINT_URL_S3", &moto)
        .status();
    assert!(made.unwrap().success());
    bench.dir.write(
        "job.yaml",
        &format!(
            "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: \"s3://{bucket}/*.csv\" }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
        ),
    );
    let output = command(&bench.dir, &["run", "job.yaml", "--json"])
        .env_remove("AWS_ACCESS_KEY_ID")
        .envs([
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_S3", &moto),
            ("AWS_ENDPOINT_URL_STS", &moto),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("\"rows_read\":2")
    );
}

#[test]
fn without_credentials_an_error_says_where_they_may_come_from() {
    let bench = Bench::new();
    let output = command(&bench.dir, &["run", "job.yaml"])
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .envs([
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL_S3", bench.endpoint.as_str()),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains("credentials") && text.contains("AWS_PROFILE"),
        "{text}"
    );
}
