//! The operator's file on a tenant, `DIR/TENANT.yaml`: what its jobs have where they do not say otherwise.
//!
//! Works like the job file, with the same parser, checks and messages.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::spec::{Size, schema_of};
use super::yaml::{Document, What};
use super::{parse_spec, read_text};
use crate::error::{Error, Kind};

/// What the operator says of a tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dativo-wasm tenant")]
struct TenantSpec {
    /// What `target` of its jobs has, where that is an Iceberg table and does not say otherwise.
    target: Option<TargetDefaults>,
    /// What its runs may use of a process that serves.
    limits: Option<LimitsSpec>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsSpec {
    /// Runs at the same time. Default 4.
    #[schemars(range(min = 0, max = 10_000))]
    runs: Option<u32>,
    /// Memory of all its runs. Default: that of the process.
    memory: Option<Size>,
    /// Its share of places, beside that of others. Default 1.
    #[schemars(range(min = 1, max = 1_000))]
    weight: Option<u32>,
}

/// What the runs of a tenant may use of a process that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimits {
    pub runs: u32,
    pub memory_bytes: u64,
    pub weight: u32,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            runs: 4,
            memory_bytes: u64::MAX,
            weight: 1,
        }
    }
}

/// What the operator says of a tenant.
#[derive(Debug, Default)]
pub struct Tenant {
    /// For `target` of its jobs.
    pub target: Map<String, Value>,
    pub limits: TenantLimits,
}

/// Keys of `target`, as in a job.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TargetDefaults {
    #[schemars(length(min = 1))]
    warehouse: Option<String>,
    #[schemars(length(min = 1))]
    namespace: Option<String>,
    catalog: Option<Map<String, Value>>,
    schema_evolution: Option<String>,
    compression: Option<String>,
    target_file_size: Option<Size>,
}

/// The file on a tenant; nothing is said where there is none. What is wrong with it is added to `problems`.
pub fn load(dir: &Path, tenant: &str, problems: &mut Vec<Error>) -> Tenant {
    let file = dir.join(format!("{tenant}.yaml"));
    if !file.exists() {
        return Tenant::default();
    }
    let read =
        read_text(&file, What::Tenant).and_then(|text| Document::parse(What::Tenant, &file, &text));
    let (document, found) = match read {
        Ok(read) => read,
        Err(error) => {
            problems.push(error);
            return Tenant::default();
        }
    };
    problems.extend(found);
    if !document.value().is_object() {
        let error = Error::new(Kind::JobInvalid, "a tenant is a mapping of keys to values");
        problems.push(error.at(document.locate("")).hint("start with `target:`"));
        return Tenant::default();
    }
    let Some((spec, _)) = parse_spec::<TenantSpec>(&document, &schema_of::<TenantSpec>(), problems)
    else {
        return Tenant::default();
    };
    Tenant {
        target: defaults(spec.target.unwrap_or_default()),
        limits: limits(&spec.limits.unwrap_or_default(), &document, problems),
    }
}

fn limits(spec: &LimitsSpec, document: &Document, problems: &mut Vec<Error>) -> TenantLimits {
    let default = TenantLimits::default();
    let memory_bytes = match &spec.memory {
        None => default.memory_bytes,
        Some(size) => size_bytes(size).unwrap_or_else(|| {
            let message = "`limits.memory` must be a size, such as `2GiB`";
            let error = Error::new(Kind::JobInvalid, message);
            problems.push(
                error
                    .at(document.locate("/limits/memory"))
                    .hint("write it as `2GiB`, or as a number of bytes"),
            );
            0
        }),
    };
    TenantLimits {
        runs: spec.runs.unwrap_or(default.runs),
        memory_bytes,
        weight: spec.weight.unwrap_or(default.weight),
    }
}

fn size_bytes(size: &Size) -> Option<u64> {
    match &size.0 {
        Value::Number(bytes) => bytes.as_u64(),
        Value::String(text) => text.parse().ok().map(|bytesize::ByteSize(bytes)| bytes),
        _ => None,
    }
}

fn defaults(target: TargetDefaults) -> Map<String, Value> {
    let keys = [
        ("warehouse", target.warehouse.map(Value::from)),
        ("namespace", target.namespace.map(Value::from)),
        ("catalog", target.catalog.map(Value::from)),
        ("schema_evolution", target.schema_evolution.map(Value::from)),
        ("compression", target.compression.map(Value::from)),
        (
            "target_file_size",
            target.target_file_size.map(|size| size.0),
        ),
    ];
    let given = keys
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.collect()
}
