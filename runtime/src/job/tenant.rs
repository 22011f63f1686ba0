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

/// The defaults for `target` of a tenant's jobs; none where there is no file. What is wrong with it is added to `problems`.
pub fn target_defaults(dir: &Path, tenant: &str, problems: &mut Vec<Error>) -> Map<String, Value> {
    let file = dir.join(format!("{tenant}.yaml"));
    if !file.exists() {
        return Map::new();
    }
    let read =
        read_text(&file, What::Tenant).and_then(|text| Document::parse(What::Tenant, &file, &text));
    let (document, found) = match read {
        Ok(read) => read,
        Err(error) => {
            problems.push(error);
            return Map::new();
        }
    };
    problems.extend(found);
    if !document.value().is_object() {
        let error = Error::new(Kind::JobInvalid, "a tenant is a mapping of keys to values");
        problems.push(error.at(document.locate("")).hint("start with `target:`"));
        return Map::new();
    }
    let spec = parse_spec::<TenantSpec>(&document, &schema_of::<TenantSpec>(), problems);
    let Some(target) = spec.and_then(|(spec, _)| spec.target) else {
        return Map::new();
    };
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
