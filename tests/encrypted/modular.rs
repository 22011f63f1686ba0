//! Parquet modular encryption, opened by pyarrow.

use serde_json::{Value, json};

use super::{Bench, MARKER, contains};
use crate::support::aws::servers;

#[test]
fn pyarrow_opens_files_with_modular_encryption_by_asking_kms() {
    for (keys, footer) in [(false, false), (true, false), (true, true)] {
        let bench = Bench::new("parquet", 10_000);
        let other = servers().python("moto", "print(kms.create_key()['KeyMetadata']['Arn'])", &[]);
        let mut more = json!({ "plaintext_footer": footer });
        if keys {
            more["column_keys"] = json!([{ "kms_key_id": other, "columns": ["name"] }]);
        }
        bench.job_with("parquet", &bench.key, &more);
        let output = bench.run(&["run", "job.yaml", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        let files = output.json()["details"]["files"].clone();
        let key = files[0]["s3_key"].as_str().unwrap();
        assert!(key.ends_with(".parquet"), "{files}");
        let bytes = bench.object(key);
        let magic: &[u8] = if footer { b"PAR1" } else { b"PARE" };
        assert!(bytes.starts_with(magic) && bytes.ends_with(magic));
        assert!(!contains(&bytes, MARKER.as_bytes()));
        if footer {
            // The name of a column may be read, its values may not.
            assert!(contains(&bytes, b"amount"));
        }
        let objects = bench.check("modular", "parquet");
        assert_eq!(
            objects[key]["metadata"]["encryption-algorithm"],
            "AES_GCM_V1"
        );
        assert_eq!(objects[key]["metadata"]["kms-key-id"], bench.key);
    }
}

#[test]
fn keys_of_columns_are_refused_where_they_could_not_be_kept() {
    let bench = Bench::new("v0", 100);
    let refused = |format: &str, more: Value, why: &str| {
        bench.job_with(format, &bench.key, &more);
        let output = bench.run(&["run", "job.yaml"]);
        assert_ne!(output.code, 0);
        assert!(output.stderr.contains(why), "{output:?}");
    };
    let own = |columns: Value| json!({ "column_keys": [{ "kms_key_id": bench.key, "columns": columns }] });
    refused("v0", own(json!(["name"])), "are for `format: parquet`");
    refused("parquet", own(json!(["nmae"])), "no column `nmae`");
    refused("parquet", own(json!(["name", "name"])), "two keys");
    assert_eq!(bench.uploads(), 0);
}
