//! S3 and KMS for the tests of this process: the servers of `aws.sh`, which nobody here wrote. They end with this process,
//! however that ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::{python_program, repository};

/// What all of them take for credentials.
pub const KEY_ID: &str = "testkey";
pub const SECRET: &str = "testsecret";

pub struct Servers {
    facts: Value,
    /// Has boto3 and cryptography.
    pub python: PathBuf,
    /// Ends with its standard input.
    _script: Child,
}

/// Those that all tests share: each test takes keys and prefixes of its own.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(Servers::start)
}

impl Servers {
    fn start() -> Self {
        let environment = python_program();
        let environment = environment.parent().and_then(|bin| bin.parent()).unwrap();
        let installed = PathBuf::from(format!("{}-aws", environment.display()));
        let mut script = Command::new(repository().join("tests/support/aws.sh"))
            .arg("run")
            .arg(&installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("no S3 servers; what is missing is said above, `make servers` installs it")
        });
        Self {
            facts,
            python: installed.join("python/bin/python"),
            _script: script,
        }
    }

    /// Where `seaweedfs`, `moto` or `ministack` is.
    pub fn endpoint(&self, server: &str) -> String {
        format!("http://127.0.0.1:{}", self.facts[server].as_u64().unwrap())
    }

    /// Points a program at SeaweedFS for S3 and at `kms` for KMS, and at no other source of credentials.
    pub fn environment(&self, kms: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL_S3", self.endpoint("seaweedfs")),
            ("AWS_ENDPOINT_URL_KMS", self.endpoint(kms)),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Runs a Python script with boto3's `s3` and `kms` at hand, and returns what it prints.
    pub fn python(&self, kms: &str, script: &str, arguments: &[&str]) -> String {
        let prelude =
            "import boto3, sys, json\ns3 = boto3.client('s3')\nkms = boto3.client('kms')\n";
        let output = Command::new(&self.python)
            .args(["-c", &format!("{prelude}{script}")])
            .args(arguments)
            .envs(self.environment(kms))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
