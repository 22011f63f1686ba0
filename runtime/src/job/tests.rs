//! What valid jobs become, and how a component's schema is applied to a config.

use std::path::Path;

use super::*;
use crate::report::errors::render;

fn load_text(text: &str) -> Job {
    parse(Path::new("jobs/orders.yaml"), text, &LoadOptions::default())
        .whole()
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(render).collect::<String>()))
}

fn messages(result: Result<(), Vec<Error>>) -> Vec<String> {
    result
        .err()
        .into_iter()
        .flatten()
        .map(|error| render(&error))
        .collect()
}

const API_TO_ICEBERG: &str = r#"
tenant_id: acme
environment: prod
source_connector: custom_api
target_connector: iceberg
asset: api_users
source:
  reader:
    type: custom
    implementation: "readers.rest_api_reader.RestAPIReader"

    config:
      api_url: "https://api.customtool.com/v1/users"
      api_key: "${SECRET:CARGO_PKG_NAME}"
      pagination_type: "cursor"
      page_size: 1000
      rate_limit_rps: 10
target:
  warehouse: s3://lake/acme/
  namespace: custom_api
  table: users
"#;

const POSTGRES_TO_ENCRYPTED_S3: &str = r#"
tenant_id: healthcare_co
environment: prod
source_connector: postgres
target_connector: s3
asset: patients
source:
  reader:
    type: custom
    implementation: "postgres_reader_rust.RustPostgresReader"
    config:
      connection_string: "${SECRET:CARGO_PKG_NAME}"
      table: "patients"
      batch_size: 50000
target:
  writer:
    type: custom
    implementation: "writers.encrypted_s3_writer.EncryptedS3Writer"
    config:
      s3_bucket: "healthcare-encrypted-data"
      s3_prefix: "patients/pii"
      kms_key_id: "${SECRET:CARGO_PKG_VERSION}"
      compression: "snappy"
schedule:
  interval: "0 2 * * *"  # Daily at 2 AM
"#;

/// The other examples show one side of a job; the rest is the smallest other side.
const CUSTOM_API_SYNC: &str = r#"
tenant_id: acme
source:
  reader:
    type: custom
    implementation: "readers.rest_api_reader.RestAPIReader"

    config:
      api_url: "https://api.customtool.com/v1/records"
      api_key: "${SECRET:CARGO_PKG_NAME}"
      pagination_type: "cursor"
      page_size: 1000
      rate_limit_rps: 10
target_connector: discard
"#;

const ENCRYPTED_PATIENTS: &str = r#"
tenant_id: acme
source_connector: csv
target:
  writer:
    type: custom
    implementation: "writers.encrypted_s3_writer.EncryptedS3Writer"

    config:
      s3_bucket: "healthcare-encrypted-data"
      s3_prefix: "patients/pii"
      kms_key_id: "arn:aws:kms:us-east-1:123456789012:key/abc123"
      compression: "snappy"
"#;

const HIGH_PERFORMANCE_POSTGRES: &str = r#"
tenant_id: acme
target_connector: parquet
target: { writer: { type: default, config: { path: out } } }
source:
  reader:
    type: custom
    implementation: "postgres_reader_rust.RustPostgresReader"

    config:
      connection_string: "postgresql://user:pass@localhost:5432/mydb"
      table: "orders"
      batch_size: 50000  # Rust handles larger batches efficiently
"#;

#[test]
fn the_examples_that_users_have_resolve_to_built_in_connectors() {
    let check = |text: &str, reader: &'static str, writer: &'static str| {
        let job = load_text(text);
        assert_eq!(
            job.source.implementation,
            Implementation::BuiltIn(reader),
            "{text}"
        );
        assert_eq!(
            job.target.implementation,
            Implementation::BuiltIn(writer),
            "{text}"
        );
        assert_eq!(
            (job.source.role, job.target.role),
            (Role::Reader, Role::Writer)
        );
    };
    check(API_TO_ICEBERG, "rest", "iceberg");
    check(POSTGRES_TO_ENCRYPTED_S3, "postgres", "encrypted-s3");
    check(CUSTOM_API_SYNC, "rest", "discard");
    check(ENCRYPTED_PATIENTS, "csv", "encrypted-s3");
    check(HIGH_PERFORMANCE_POSTGRES, "postgres", "parquet");
}

#[test]
fn what_is_written_arrives_and_the_rest_has_its_default() {
    let job = load_text(POSTGRES_TO_ENCRYPTED_S3);
    assert_eq!(
        (job.name.as_str(), job.tenant.as_str()),
        ("orders", "healthcare_co")
    );
    assert_eq!(
        (job.environment.as_deref(), job.asset.as_deref()),
        (Some("prod"), Some("patients"))
    );
    assert_eq!(
        job.timing.as_ref().map(|timing| timing.schedule.as_str()),
        Some("0 2 * * *")
    );
    assert_eq!((&job.limits, job.parallelism), (&Limits::default(), None));
    assert_eq!(job.source.config["batch_size"], 50000);
    assert!(job.source.grants.is_empty());

    let job = load_text(
        "tenant_id: acme\nname: nightly\nparallelism: 3\n\
         source: { reader: { implementation: ./a.wasm, grants: { http: [\"GET https://x/*\"] } } }\n\
         target: { writer: { implementation: orders } }\n\
         limits: { memory: 1GiB, call_timeout: 90s, cpu_per_call: 2m, deadline: 1h 30m, log: 8192, batch_rows: 10 }\n",
    );
    let expected = Limits {
        memory_bytes: 1 << 30,
        call_timeout: Duration::from_secs(90),
        cpu_per_call: Duration::from_secs(120),
        deadline: Duration::from_secs(5400),
        log_bytes: 8192,
        batch_rows: 10,
    };
    assert_eq!(job.limits, expected);
    assert_eq!(
        (job.name.as_str(), job.parallelism),
        ("nightly", NonZeroU32::new(3))
    );
    assert_eq!(
        job.source.implementation,
        Implementation::Path("./a.wasm".into())
    );
    assert_eq!(
        job.target.implementation,
        Implementation::Named("orders".into())
    );
    assert_eq!(job.source.grants["http"], ["GET https://x/*"]);
    assert_eq!(
        job.source
            .grant_location("http")
            .map(|at| (at.line, at.column)),
        Some((4, 57))
    );
}

#[test]
fn http_settings_take_what_is_written_and_hide_the_password_of_the_proxy() {
    let job = load_text(
        "tenant_id: acme\n\
         source: { reader: { implementation: rest } }\n\
         target: { writer: { implementation: discard } }\n\
         http: { proxy: \"http://me:${SECRET:CARGO_PKG_NAME}@127.0.0.1:3128\", connect_timeout: 2s, read_timeout: 3s, \
                 timeout: 4s, max_response_size: 1MiB, retries: 0, retry_budget: 7, max_wait: 0s }\n",
    );
    let proxy = job.http.proxy.clone().unwrap();
    let expected = HttpSettings {
        proxy: Some(proxy.clone()),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(3),
        timeout: Duration::from_secs(4),
        max_response_bytes: 1 << 20,
        retries: 0,
        retry_budget: 7,
        max_wait: Duration::ZERO,
    };
    assert_eq!(job.http, expected);
    let filled = format!("http://me:{}@127.0.0.1:3128", env!("CARGO_PKG_NAME"));
    assert!(!proxy.contains(env!("CARGO_PKG_NAME")), "{proxy}");
    assert_eq!(job.secrets.fill(&proxy), filled);
}

#[test]
fn the_iceberg_keys_become_the_config_of_the_writer() {
    let target = load_text(API_TO_ICEBERG).target;
    let expected = serde_json::json!({ "warehouse": "s3://lake/acme/", "namespace": "custom_api", "table": "users" });
    assert_eq!(target.config, expected);
    assert_eq!(
        target.locate("/table").map(|at| (at.line, at.column)),
        Some((21, 10))
    );
}

#[test]
fn a_secret_is_hidden_from_the_config_and_from_what_is_printed() {
    let job = load_text(API_TO_ICEBERG);
    let key = job.source.config["api_key"].as_str().unwrap();
    assert!(
        key.starts_with("dativo-secret-") && !key.contains("wasm"),
        "{key}"
    );
    assert_eq!(job.secrets.fill(key), env!("CARGO_PKG_NAME"));
    assert_eq!(
        job.secrets.mask(&format!("key {key}")),
        "key ${SECRET:CARGO_PKG_NAME}"
    );
    let debug = format!("{:?}", job.secrets);
    assert_eq!(debug, "Secrets([Secret(CARGO_PKG_NAME)])");
}

#[test]
fn a_file_name_that_cannot_be_a_job_name_is_refused() {
    let check = |file: &str, fits: bool| {
        let result = parse(
            Path::new(file),
            HIGH_PERFORMANCE_POSTGRES,
            &LoadOptions::default(),
        )
        .whole();
        assert_eq!(result.is_ok(), fits, "{file}");
    };
    check("jobs/.hidden", false);
    check("jobs/my job.yaml", false);
    check("..", false);
    check("jobs/orders.v2.yaml", true);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0x00]).unwrap();
    let huge = dir.path().join("huge.yaml");
    std::fs::write(&huge, "# comment\n".repeat(200_000)).unwrap();
    let check = |file: &Path, part: &str| {
        let errors = load(file, &LoadOptions::default()).whole().unwrap_err();
        assert!(errors[0].message().contains(part), "{:?}", errors[0]);
    };
    check(&dir.path().join("none.yaml"), "there is no job file");
    check(&binary, "is not UTF-8 text");
    check(dir.path(), "cannot read the job file");
    check(&huge, "the limit is");
}

#[test]
fn secrets_come_from_the_directory_of_the_tenant() {
    let dir = tempfile::tempdir().unwrap();
    for (tenant, value) in [("acme", "of acme\n"), ("other", "of other\n")] {
        std::fs::create_dir(dir.path().join(tenant)).unwrap();
        std::fs::write(dir.path().join(tenant).join("CARGO_PKG_NAME"), value).unwrap();
    }
    let file = dir.path().join("api.yaml");
    std::fs::write(&file, API_TO_ICEBERG).unwrap();
    let job = load(
        &file,
        &LoadOptions {
            secrets_dir: Some(dir.path().into()),
            ..LoadOptions::default()
        },
    )
    .whole()
    .unwrap();
    assert_eq!(
        job.secrets
            .fill(job.source.config["api_key"].as_str().unwrap()),
        "of acme"
    );
}

const REST_SCHEMA: &str = r##"{
  "type": "object",
  "$defs": { "Paging": { "enum": ["page", "cursor"], "description": "How pages follow each other." } },
  "required": ["api_url"],
  "additionalProperties": false,
  "properties": {
    "api_url": { "type": "string", "format": "uri", "pattern": "^https://" },
    "api_key": { "type": "string", "pattern": "^sk_" },
    "pagination_type": { "$ref": "#/$defs/Paging" },
    "page_size": { "type": "integer", "minimum": 1, "maximum": 100, "description": "Rows per page." },
    "rate_limit_rps": { "anyOf": [{ "type": "number", "minimum": 20 }, { "type": "null" }] }
  }
}"##;

#[test]
fn a_config_is_checked_against_the_schema_of_its_component() {
    let job = load_text(API_TO_ICEBERG);
    let errors = messages(job.source.check_config(REST_SCHEMA)).join("\n");
    // The key is a secret: what it says is not known yet, so its pattern is not checked.
    assert_eq!(
        errors,
        "error: `source.reader.config.page_size` must be at most 100, not `1000`
   --> jobs/orders.yaml:16:18
    |
 16 |       page_size: 1000
    |                  ^^^^
hint: `page_size`: Rows per page.

error: `source.reader.config.rate_limit_rps` must be at least 20, not `10`
   --> jobs/orders.yaml:17:23
    |
 17 |       rate_limit_rps: 10
    |                       ^^
"
    );

    let schema = r#"{ "additionalProperties": false, "required": ["path"], "properties": { "path": {}, "tables": {}, "api_key": { "type": "integer" } } }"#;
    let errors = messages(job.source.check_config(schema)).join("\n");
    for part in [
        "missing key `path` in `source.reader.config`",
        "unknown key `page_size` in `source.reader.config`",
        "`source.reader.config.api_key` must be a whole number, not the text `${SECRET:CARGO_PKG_NAME}`",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    let errors = messages(job.target.check_config(
        r#"{ "additionalProperties": false, "properties": { "warehouse": {}, "namespace": {}, "tables": {} } }"#,
    ));
    assert!(
        errors[0].contains("unknown key `table` in `target`"),
        "{errors:?}"
    );
    assert!(
        errors[0].contains("orders.yaml:21:3") && errors[0].contains("did you mean `tables`?"),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 1);
    assert_eq!(
        messages(job.target.check_config("{}")),
        Vec::<String>::new()
    );
}

#[test]
fn a_schema_that_is_none_is_the_fault_of_the_component() {
    let job = load_text(API_TO_ICEBERG);
    let check = |schema: &str| {
        let errors = job.source.check_config(schema).expect_err(schema);
        assert_eq!(
            (errors.len(), errors[0].kind()),
            (1, Kind::ComponentInvalid),
            "{schema}"
        );
        assert_eq!(errors[0].location().map(|at| at.line), Some(10), "{schema}");
        assert!(render(&errors[0]).len() < 2000);
    };
    check("");
    check("[]");
    check("\u{1b}[31m");
    check(r#"{ "type": "strnig" }"#);
    check(r#"{ "properties": { "a": { "pattern": "(" } } }"#);
    check(r#"{ "properties": { "a": { "pattern": "\\w{1000}{1000}" } } }"#);
    check(r##"{ "allOf": [{ "$ref": "#" }] }"##);
    check(r#"{ "$ref": "file:///etc/passwd" }"#);
    check(&"[".repeat(100_000));
    check(&format!("\"{}\"", "x".repeat(300_000)));
    check(&format!("{{ \"type\": \"{}\" }}", "x".repeat(200_000)));
}

#[test]
fn every_place_falls_back_to_its_nearest_parent() {
    let job = load_text(API_TO_ICEBERG);
    let place = |pointer: &str| {
        job.source
            .locate(pointer)
            .map(|at| (at.line, at.column, at.length))
    };
    assert_eq!(place("/page_size"), Some((16, 18, 4)));
    assert_eq!(place("/page_size/unit"), Some((16, 18, 4)));
    assert_eq!(place("/none"), Some((12, 5, 6)));
    assert_eq!(place(""), Some((12, 5, 6)));
    let job = load_text(HIGH_PERFORMANCE_POSTGRES);
    assert_eq!(
        job.target.implementation_location().map(|at| at.line),
        Some(3)
    );
}

#[test]
fn text_stays_text() {
    let job = load_text(
        "tenant_id: 007\nsource_connector: csv\ntarget_connector: discard\nsource: { reader: { config: \
         { no: no, day: 2024-01-31, zip: 01234, under: 1_000, hex: 0x10, on: true, big: 12345678901234567890 } } }\n",
    );
    assert_eq!(job.tenant, "007");
    let expected = serde_json::json!({
        "no": "no", "day": "2024-01-31", "zip": "01234", "under": "1_000", "hex": 16, "on": true,
        "big": 12345678901234567890u64,
    });
    assert_eq!(job.source.config, expected);
}

#[test]
fn the_schema_refuses_what_the_types_refuse() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["tenant_id"]));
    assert!(
        !schema.to_string().contains("null"),
        "a key without a value must be an error"
    );
    assert!(!schema.to_string().contains("$ref"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_job_or_errors_that_can_be_shown(
        text in "(tenant_id: a\\n|source: |reader: |config: |\\$\\{SECRET:|[a-c:,{}\\[\\]&*!<|>\"'#%@?é\u{1F600}\\t\\r\\n -]){0,60}"
    ) {
        if let Err(errors) = parse(Path::new("a.yaml"), &text, &LoadOptions::default()).whole() {
            proptest::prop_assert!(!errors.is_empty());
            for error in errors {
                proptest::prop_assert!(error.kind() == Kind::JobInvalid, "{}", render(&error));
            }
        }
    }
}
