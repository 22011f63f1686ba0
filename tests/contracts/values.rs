//! What arrives: exact types as other tools read them, and masks instead of values.

use serde_json::json;

use super::Case;
use crate::support::{cli, files_below, python};

#[test]
fn exact_types_arrive_as_such() {
    let case = Case::new(
        "strict",
        "u,j,d,w,t,ts,i,b,f\n\
         67e55044-10b1-426f-9247-bb680e5fe0c8,\"{\"\"a\"\": 1}\",1.50,12345678901234567890123456789012345678.9,12:30:00,2013-01-01T06:00:00,7,xyz,0.5\n",
        ", schema: [{ name: u, type: string }, { name: d, type: string }, { name: w, type: string }, \
           { name: t, type: string }, { name: ts, type: string }, { name: f, type: string }]",
        "schema:\n- { name: u, type: uuid }\n- { name: j, type: json }\n- { name: d, type: \"decimal(12,2)\" }\n\
         - { name: w, type: \"decimal(40,1)\" }\n- { name: t, type: time }\n- { name: ts, type: \"timestamp(ms, UTC)\" }\n\
         - { name: i, type: uint16 }\n- { name: b, type: binary }\n- { name: f, type: float32 }\n",
    );
    case.dir.write(
        "data.csv",
        &std::fs::read_to_string(case.dir.path().join("data.csv"))
            .unwrap()
            .replace("06:00:00,7", "06:00:00Z,7"),
    );
    assert_eq!(case.run_json()["rows_written"], 1);
    let by_duckdb = case.read("duckdb", "out");
    assert_eq!(
        by_duckdb["columns"],
        json!({ "u": "UUID", "j": "JSON", "d": "DECIMAL(12,2)", "w": "DOUBLE", "t": "TIME",
                "ts": "TIMESTAMP WITH TIME ZONE", "i": "USMALLINT", "b": "BLOB", "f": "FLOAT" })
    );
    assert_eq!(
        by_duckdb["rows"][0][0],
        "67e55044-10b1-426f-9247-bb680e5fe0c8"
    );
    let by_pyarrow = case.read("pyarrow", "out");
    assert_eq!(
        by_pyarrow["columns"],
        json!({ "u": "extension<arrow.uuid>", "j": "extension<arrow.json>", "d": "decimal128(12, 2)",
                "w": "decimal256(40, 1)", "t": "time64[us]", "ts": "timestamp[ms, tz=UTC]", "i": "uint16",
                "b": "binary", "f": "float" })
    );
    assert_eq!(
        by_pyarrow["rows"][0][3],
        "12345678901234567890123456789012345678.9"
    );
}

const MASKED: &str = "schema:\n- { name: id, type: int64 }\n\
    - { name: email, type: string, classification: pii }\n\
    - { name: phone, type: string, classification: open }\n\
    - { name: born, type: date, classification: phi }\n\
    - { name: note, type: string, classification: free }\n\
    - { name: score, type: int64, classification: pii }\n\
    classifications:\n  pii: { mask: hash, key: \"${SECRET:PII_KEY}\" }\n  open: { mask: hash }\n\
    \x20 phi: { mask: null }\n  free: { mask: redact }\n";

#[test]
fn masked_values_are_nowhere() {
    let reader = ", schema: [{ name: score, type: string }, { name: born, type: string }]";
    let csv = "id,email,phone,born,note,score\n\
               1,anna@example.org,555-0101,1980-02-03,private,71717\n\
               2,bert@example.org,555-0202,1981-13-03,secret,nine\n\
               3,,,,,\n";
    let case = Case::new("warn", csv, reader, MASKED);
    case.dir.write("PII_KEY", "unused");
    std::fs::create_dir_all(case.dir.path().join("secrets/t")).unwrap();
    case.dir.write("secrets/t/PII_KEY", "sesame\n");
    let run = |args: &[&str]| {
        let output = cli(
            &case.dir,
            &[args, &["--secrets", "secrets", "--log", "json"]].concat(),
        );
        assert_eq!(output.code, 0, "{output:?}");
        format!("{}{}", output.stdout, output.stderr)
    };
    let mut printed = run(&["run", "job.yaml", "--json"]);
    for args in [
        &["preview", "job.yaml"][..],
        &["plan", "job.yaml"],
        &["check", "job.yaml"],
    ] {
        printed.push_str(&run(args));
    }
    let hashes = python(
        "hashes.py",
        &[
            "sesame",
            "anna@example.org",
            "bert@example.org",
            "71717",
            "nine",
            "555-0101",
        ],
    );
    let hash = |text: &str, how: &str| hashes[text][how].as_str().unwrap().to_owned();
    let rows = case.read("duckdb", "out")["rows"].clone();
    assert_eq!(
        rows,
        json!([
            [
                "1",
                hash("anna@example.org", "hmac"),
                hash("555-0101", "sha256"),
                null,
                "[redacted]",
                hash("71717", "hmac")
            ],
            ["3", null, null, null, null, null],
        ])
    );
    let rejected = case.read("duckdb", "rejected")["rows"][0].clone();
    assert_eq!(
        (&rejected[1], &rejected[3], &rejected[4], &rejected[5]),
        (
            &json!(hash("bert@example.org", "hmac")),
            &json!(null),
            &json!("[redacted]"),
            &json!(hash("nine", "hmac"))
        )
    );
    assert_eq!(
        rejected[6],
        "column `born`: the value is not a date; column `score`: the value is not an int64"
    );
    let mut everything = printed.into_bytes();
    for folder in ["out", "rejected", ".dativo"] {
        for file in files_below(&case.dir.path().join(folder)) {
            everything.extend(std::fs::read(case.dir.path().join(folder).join(file)).unwrap());
        }
    }
    for value in [
        "anna@", "bert@", "555-0", "1980-02", "1981-13", "private", "71717", "nine", "sesame",
    ] {
        let found = everything
            .windows(value.len())
            .any(|part| part == value.as_bytes());
        assert!(!found, "`{value}` can be seen");
    }
}
