//! The job file as it is written: keys, types, descriptions. The schema and the reference page are
//! generated from these types, so every doc comment here is text that users read.
//!
//! Rules that concern more than one key, and units, are in `build.rs`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schedule::{CatchUp, Overlap};

/// One job: where data comes from, where it goes, and what the connectors may use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dativo-wasm job")]
pub struct JobSpec {
    /// Whose data this is. Secrets, quotas and state are kept apart by it: 1 to 64 letters, digits, `_` and `-`.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub tenant_id: Option<String>,

    /// A label for the place that the job runs in, such as `prod`: 1 to 64 letters, digits, `_` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub environment: Option<String>,

    /// The job's own name, which its state is kept under: 1 to 128 letters, digits, `_`, `-` and `.`, not starting with `.`. Default: the file name without its extension.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"))]
    pub name: Option<String>,

    /// What the source is. It names the reader where `source.reader.implementation` does not, and is a label otherwise.
    #[schemars(length(min = 1))]
    pub source_connector: Option<String>,

    /// What the target is. It names the writer where `target.writer.implementation` does not, and is a label otherwise.
    #[schemars(length(min = 1))]
    pub target_connector: Option<String>,

    /// The name of the data set that this job fills, for reports.
    #[schemars(length(min = 1))]
    pub asset: Option<String>,

    /// Path of an asset contract (`docs/asset-reference.md`): what the columns must be, checked before and while data moves. Relative to the working directory.
    #[schemars(length(min = 1))]
    pub asset_path: Option<String>,

    /// Where data comes from. May be left out if `source_connector` names a reader that needs no config.
    pub source: Option<SourceSpec>,

    /// Where data goes: a `writer`, or `warehouse`, `namespace` and `table` of an Iceberg table. May be left out if `target_connector` names a writer that needs no config.
    pub target: Option<TargetSpec>,

    /// Where the rows go that break a contract of mode `warn`. Needed for one, and refused otherwise.
    pub dead_letter: Option<DeadLetterSpec>,

    /// When the job should run.
    pub schedule: Option<ScheduleSpec>,

    /// What a run may use.
    pub limits: Option<LimitsSpec>,

    /// How the host sends the HTTP requests of connectors.
    pub http: Option<HttpSpec>,

    /// How the host reaches S3 and KMS. What is not set comes from where the AWS command line looks: environment variables, profiles, the role of the machine.
    pub aws: Option<AwsSpec>,

    /// How many splits are read side by side, 1 to 1024. Default: one per processor.
    #[schemars(range(min = 1, max = 1024))]
    pub parallelism: Option<u32>,
}

/// Where data comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// The component that reads.
    pub reader: Option<EndpointSpec>,
}

/// Where data goes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The component that writes.
    pub writer: Option<EndpointSpec>,

    /// Iceberg: where the tables are kept, such as `s3://lake/acme/`. With `namespace` and `table` it stands for the built-in writer `iceberg`, with these keys and those below as its config.
    #[schemars(length(min = 1))]
    pub warehouse: Option<String>,

    /// Iceberg: the namespace of the table.
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,

    /// Iceberg: the name of the table.
    #[schemars(length(min = 1))]
    pub table: Option<String>,

    /// Iceberg: who knows which metadata of the table is the current one: `{type: sql, uri: …}` or `{type: rest, uri: …}` (`docs/iceberg.md`). `${SECRET:NAME}` in any text is filled in by the host. Default: the SQL catalog `default` in `.dativo/catalog.db`.
    pub catalog: Option<Map<String, Value>>,

    /// Iceberg: how a new table is partitioned, such as `["region", "day(created_at)", "bucket(16, id)"]`. Default: not at all.
    pub partition_by: Option<Vec<String>>,

    /// Iceberg: how rows are sorted inside of each file of a new table, such as `["id", "created_at desc"]`. Default: as they come.
    pub sort_by: Option<Vec<String>>,

    /// Iceberg: what a run does to the rows that are there: `append`, `overwrite`, `overwrite_partitions` or `upsert`. Default: `append`.
    pub mode: Option<String>,

    /// Iceberg, with `mode: upsert`: the columns that tell rows apart.
    pub key: Option<Vec<String>>,

    /// Iceberg, with `mode: upsert`: `copy_on_write` (files with rows that are replaced are written again) or `merge_on_read` (a file of deletes says that those are gone). Default: `copy_on_write`.
    pub merge_mode: Option<String>,

    /// Iceberg: `allow` or `refuse` that a run adds columns to the table, widens their types and makes them optional. Default: `allow`.
    pub schema_evolution: Option<String>,

    /// Iceberg: `zstd`, `snappy` or `none`. Default: `zstd`.
    pub compression: Option<String>,

    /// Iceberg: a file is closed once it is this long. Default `512MiB`, from `64KiB`.
    pub target_file_size: Option<Size>,
}

/// Where the rows go that break a contract of mode `warn`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterSpec {
    /// The directory of their Parquet files, outside of what the target writes. A row has the columns of the source and `_dativo_reason`; columns that the contract masks are masked.
    #[schemars(required, length(min = 1))]
    pub path: Option<String>,
}

/// One component and what it is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// `custom` takes the component that `implementation` names, `default` the one that the connector names. Default: `custom` if there is an `implementation`, else `default`.
    #[serde(rename = "type")]
    pub kind: Option<EndpointKind>,

    /// A built-in connector (`csv`, `postgres`, `rest`; `parquet`, `encrypted-s3`, `iceberg`, `discard`), a component in the plugins directory (`orders` is `plugins/orders.wasm`), or the path of a `.wasm` file.
    #[schemars(length(min = 1))]
    pub implementation: Option<String>,

    /// What the component is told; its own schema (`dativo-wasm inspect`) says what it takes. `${SECRET:NAME}` in any text is filled in by the host and never shown to the component. Default: empty.
    pub config: Option<Map<String, Value>>,

    /// What the component may reach beyond the targets that its config names: a list of patterns for each capability, such as `http: ["GET https://api.example/*"]` or `files: ["/data"]`. Default: nothing.
    pub grants: Option<BTreeMap<String, Vec<String>>>,
}

/// How a component is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EndpointKind {
    Custom,
    Default,
}

/// When the job should run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five cron fields: minute, hour, day of month, month, day of week (`0 2 * * *` is daily at 02:00); `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`; or `every 15m`. `dativo-wasm serve` starts the runs (`docs/serve.md`).
    #[schemars(required)]
    pub interval: Option<String>,

    /// The time zone of the cron fields, such as `Europe/Berlin`. Default: `UTC`.
    #[schemars(length(min = 1))]
    pub timezone: Option<String>,

    /// When a run is due and the one before has not ended: `skip` it, `queue` it (one, however many were due), or `cancel` the one before. Default: `skip`.
    pub overlap: Option<Overlap>,

    /// Of runs that were due while `serve` was down: `one` for all of them, or `none`. Default: `one`.
    pub catch_up: Option<CatchUp>,

    /// Each run begins up to this much later than it is due, so that jobs of one minute do not begin together. Default `0s`, up to `1h`.
    pub jitter: Option<Span>,

    /// How often a run is tried again that failed for a reason that may pass, such as a server that does not answer, with pauses that double from a second to five minutes. Default 3, from 0 to 20.
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<u32>,
}

/// What a run may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Memory of one component instance, with its tables and what it holds in the host. Default `256MiB`, from `16MiB` to `8GiB`.
    pub memory: Option<Size>,

    /// Longest wall-clock time of one call into a component, waiting included. Default `5m`, from `1s` to `1day`.
    pub call_timeout: Option<Span>,

    /// Longest processor time of one call into a component. Default `1m`, from `100ms` to `1h`.
    pub cpu_per_call: Option<Span>,

    /// Longest wall-clock time of the whole run. Default `1day`, from `1s` to `30days`.
    pub deadline: Option<Span>,

    /// How much a component may log and print in one run; the rest is dropped and counted. Default `1MiB`, from `4KiB` to `64MiB`.
    pub log: Option<Size>,

    /// Rows that a reader is asked to put into one batch, 1 to 1048576. Default 65536.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_rows: Option<u32>,
}

/// How the host sends the HTTP requests of connectors.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// URL of a proxy for all requests: `http://proxy.example:3128`; `${SECRET:NAME}` in it is filled in by the host. It resolves the names, so what they lead to is for it to check. Default: none; `HTTP_PROXY` and its like are not looked at.
    #[schemars(length(min = 1))]
    pub proxy: Option<String>,

    /// Longest time to connect, TLS included. Default `10s`, from `100ms` to `1h`.
    pub connect_timeout: Option<Span>,

    /// Longest silence of a server within an answer. Default `1m`, from `100ms` to `1h`.
    pub read_timeout: Option<Span>,

    /// Longest time of one attempt, with its whole body. Default `2m`, from `100ms` to `1h`.
    pub timeout: Option<Span>,

    /// Largest body of an answer, decompressed. Default `64MiB`, from `1KiB` to `1GiB`.
    pub max_response_size: Option<Size>,

    /// How often one request is sent again after a lost answer or one of the statuses 408, 429, 500, 502, 503 and 504, 0 to 20. Default 5.
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<u32>,

    /// How often all requests of a run are sent again, all in all, 0 to 1000000. Default 1000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub retry_budget: Option<u64>,

    /// Longest time that one request waits for rate limits and retries, all in all. Keep it under `limits.call_timeout`. Default `4m`, from `0s` to `1h`.
    pub max_wait: Option<Span>,
}

/// How the host reaches S3 and KMS, or services that speak like them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSpec {
    /// Such as `eu-central-1`. Default: `AWS_REGION`, the profile, else `us-east-1`.
    #[schemars(length(min = 1))]
    pub region: Option<String>,

    /// A profile of `~/.aws/config` and `~/.aws/credentials`. Default: `AWS_PROFILE`.
    #[schemars(length(min = 1))]
    pub profile: Option<String>,

    /// Where both services are, if not at AWS: `https://s3.example:8333`. Default: `AWS_ENDPOINT_URL`, the profile.
    pub endpoint_url: Option<String>,

    /// Where S3 is. Default: `AWS_ENDPOINT_URL_S3`, the profile.
    pub endpoint_url_s3: Option<String>,

    /// Where KMS is. Default: `AWS_ENDPOINT_URL_KMS`, the profile.
    pub endpoint_url_kms: Option<String>,

    /// Whether the bucket stands in the path of a URL and not in its host. Default: only where an endpoint is set.
    pub path_style: Option<bool>,

    /// `${SECRET:NAME}` in it is filled in by the host, as in the next two. Default: `AWS_ACCESS_KEY_ID`, the profile, web identity, the role of the machine.
    #[schemars(length(min = 1))]
    pub access_key_id: Option<String>,

    /// Stands with `access_key_id`.
    #[schemars(length(min = 1))]
    pub secret_access_key: Option<String>,

    /// Of temporary credentials.
    #[schemars(length(min = 1))]
    pub session_token: Option<String>,
}

/// A number of bytes as written: `256MiB`, `64kB`, or a plain number.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Size(pub Value);

/// A duration as written: `90s`, `30m`, `1h 30m`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Span(pub Value);

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "integer"] })
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// JSON Schema (2020-12) of the job file, without references.
pub fn schema() -> Value {
    schema_of::<JobSpec>()
}

/// JSON Schema of a file that is written by hand.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .for_deserialize();
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    refuse_null(&mut schema);
    schema
}

/// A key without a value is a mistake, not a way to leave the key out: takes `null` out of what
/// schemars says about an `Option`.
fn refuse_null(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        if let Some(Value::Array(types)) = map.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                map["type"] = only.clone();
            }
        }
        if let Some(Value::Array(options)) = map.get_mut("enum") {
            // A choice with the name `null` is also meant where YAML reads no text.
            let is_meant = options.iter().any(|option| option == "null");
            options.retain(|option| is_meant || !option.is_null());
        }
        if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
            branches.retain(|branch| *branch != json!({ "type": "null" }));
            if let [Value::Object(only)] = branches.as_mut_slice() {
                let only = std::mem::take(only);
                map.remove("anyOf");
                for (key, value) in only {
                    map.entry(key).or_insert(value);
                }
            }
        }
    }
    match schema {
        Value::Object(map) => map.values_mut().for_each(refuse_null),
        Value::Array(list) => list.iter_mut().for_each(refuse_null),
        _ => {}
    }
}
