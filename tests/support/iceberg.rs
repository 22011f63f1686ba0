//! Iceberg catalogs for tests, and what readers that are not ours find through them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::aws::{KEY_ID, SECRET, servers};
use super::{python_program, repository};

/// A catalog as pyiceberg reaches it.
#[derive(Clone)]
pub struct Catalog(Value);

impl Catalog {
    /// The default one of jobs that run in `folder`.
    pub fn of_folder(folder: &Path) -> Self {
        Self::sql(
            &format!("sqlite:///{}", folder.join(".dativo/catalog.db").display()),
            &folder.join("warehouse"),
        )
    }

    pub fn sql(uri: &str, warehouse: &Path) -> Self {
        let warehouse = format!("file://{}", warehouse.display());
        Self(json!({ "type": "sql", "uri": uri, "warehouse": warehouse }))
    }

    /// A database whose tables are in the bucket `data`.
    pub fn sql_with_bucket(uri: &str, warehouse: &str) -> Self {
        let mut properties = json!({ "type": "sql", "uri": uri, "warehouse": warehouse });
        s3(&mut properties);
        Self(properties)
    }

    /// The one inside of SeaweedFS.
    pub fn rest() -> Self {
        let uri = servers().endpoint("iceberg");
        let mut properties = json!({
            "type": "rest", "uri": uri, "warehouse": "s3://warehouse", "credential": format!("{KEY_ID}:{SECRET}"),
            "oauth2-server-uri": format!("{uri}/v1/oauth/tokens"),
        });
        s3(&mut properties);
        Self(properties)
    }

    /// What pyiceberg and duckdb find in a table, who must agree.
    pub fn read(&self, table: &str) -> Value {
        let found = self.python("read", table, &[]);
        assert_eq!(found["pyiceberg"], found["duckdb"], "{table}");
        found
    }

    /// Lets pyiceberg append to a table of ours.
    pub fn append(&self, table: &str, rows: &Value) {
        self.python("append", table, &[&rows.to_string()]);
    }

    /// Lets pyiceberg make a table.
    pub fn create(&self, table: &str, rows: &Value) {
        self.python("create", table, &[&rows.to_string()]);
    }

    /// What duckdb finds in a table that pyiceberg does not read.
    pub fn read_by_duckdb(&self, table: &str) -> Value {
        self.python("duckdb", table, &[])
    }

    /// Lets pyiceberg give a column another name.
    pub fn rename(&self, table: &str, column: &str, name: &str) {
        self.python("rename", table, &[column, name]);
    }

    /// How many files of a table a filter leaves.
    pub fn files_for(&self, table: &str, filter: &str) -> u64 {
        self.python("plan", table, &[filter])["files"]
            .as_u64()
            .unwrap()
    }

    fn python(&self, verb: &str, table: &str, more: &[&str]) -> Value {
        let output = Command::new(environment().join("bin/python"))
            .arg(repository().join("tests/support/iceberg.py"))
            .args([verb, &self.0.to_string(), table])
            .args(more)
            .output()
            .unwrap_or_else(|error| panic!("{error}; `make servers` installs the readers"));
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{problem}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn s3(properties: &mut Value) {
    properties["s3.endpoint"] = servers().endpoint("seaweedfs").into();
    properties["s3.access-key-id"] = KEY_ID.into();
    properties["s3.secret-access-key"] = SECRET.into();
    properties["s3.region"] = "us-east-1".into();
    properties["s3.path-style-access"] = "true".into();
}

fn environment() -> PathBuf {
    let environment = python_program();
    let environment = environment.parent().and_then(|bin| bin.parent()).unwrap();
    PathBuf::from(format!("{}-iceberg", environment.display()))
}
