//! The operator's file on a tenant, `DIR/TENANT.yaml`: what its jobs have where they do not say otherwise.
//!
//! Works like the job file, with the same parser, checks and messages.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::spec::{Size, schema_of};
use super::yaml::{Document, What};
use super::{parse_spec, read_text, units};
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
    /// The most that its jobs may be granted, by capability: patterns for the lines that `plan` prints. What is not named is not allowed.
    grants: Option<BTreeMap<String, Vec<String>>>,
    /// The components that its jobs may use: `csv`, or `orders@sha256:…`.
    components: Option<Vec<String>>,
    /// Where the values of `${SECRET:NAME}` come from, in place of `--secrets` and the environment.
    secrets: Option<SecretsSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SecretsSpec {
    /// A program and its arguments, with `{tenant}` and `{name}` in them. What it prints is the value.
    #[schemars(length(min = 1))]
    command: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsSpec {
    /// Runs at the same time. Default 4.
    #[schemars(range(min = 0, max = 10_000))]
    runs: Option<u32>,
    /// Memory of all its runs. Default: that of the process.
    memory: Option<Size>,
    /// Its share of places and processors, beside that of others. Default 1.
    #[schemars(range(min = 1, max = 1_000))]
    weight: Option<u32>,
    /// Processors that its runs may take together, such as `0.5`, also while others take none. Default: all.
    #[schemars(range(min = 0.01, max = 1_000))]
    cpu: Option<f64>,
    /// Bytes in a second that its runs may move over networks together, such as `10MiB`. Default: any.
    network: Option<Size>,
    /// Bytes that its runs may have staged together and not yet committed, such as `50GiB`. Default: any.
    staged: Option<Size>,
}

/// What the runs of a tenant may use of a process that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimits {
    pub runs: u32,
    pub memory_bytes: u64,
    pub weight: u32,
    /// In thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Bytes in a second.
    pub network_bytes: Option<u64>,
    pub staged_bytes: Option<u64>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            runs: 4,
            memory_bytes: u64::MAX,
            weight: 1,
            cpu_milli: None,
            network_bytes: None,
            staged_bytes: None,
        }
    }
}

/// What the operator says of a tenant.
#[derive(Debug, Default)]
pub struct Tenant {
    /// For `target` of its jobs.
    pub target: Map<String, Value>,
    pub policy: TenantPolicy,
    /// The program that knows its secrets, and its arguments.
    pub secrets_command: Option<Vec<String>>,
}

/// What a tenant's jobs may do at the most. By default, what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantPolicy {
    pub limits: TenantLimits,
    /// Patterns by capability; none where the operator leaves grants to the jobs.
    pub grants: Option<BTreeMap<String, Vec<String>>>,
    /// Names of components, with or without `@sha256:…`; none where any may be used.
    pub components: Option<Vec<String>>,
}

impl TenantPolicy {
    /// Whether a component may be used. One that a job names by its path needs a digest: its name says nothing.
    pub fn allows(&self, name: &str, digest: &str, is_path: bool) -> bool {
        let Some(components) = &self.components else {
            return true;
        };
        components
            .iter()
            .any(|component| match component.split_once("@sha256:") {
                Some((known, known_digest)) => known == name && known_digest == digest,
                None => component == name && !is_path,
            })
    }

    /// The pattern that covers a line of a plan; with none of the operator's, all is covered.
    pub fn covers(&self, capability: &str, line: &str) -> Covered<'_> {
        let Some(grants) = &self.grants else {
            return Covered::NoPolicy;
        };
        // What leads out of a folder would pass for something inside of it.
        let leads_out = line.split(['/', ' ']).any(|part| part == "..");
        let mut patterns = grants.get(capability).into_iter().flatten();
        let covering = patterns.find(|pattern| !leads_out && matches(pattern, line));
        covering.map_or(Covered::No, |pattern| Covered::By(pattern))
    }
}

/// Whether the operator lets a job have a grant.
#[derive(Debug, PartialEq, Eq)]
pub enum Covered<'a> {
    NoPolicy,
    By(&'a str),
    No,
}

/// `*` stands for letters, digits, `_`, `-` and `.`, `**` for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            let Some(rest) = text.strip_prefix(before) else {
                return false;
            };
            let (after, takes_all) = match after.strip_prefix('*') {
                Some(after) => (after, true),
                None => (after, false),
            };
            let mut ends = rest
                .char_indices()
                .map(|(at, c)| (at, takes_all || is_name(c)));
            // Each length that the star may have, the shortest first.
            loop {
                let (at, goes_on) = ends.next().unwrap_or((rest.len(), false));
                if matches(after, &rest[at..]) {
                    return true;
                }
                if !goes_on {
                    return false;
                }
            }
        }
    }
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
        policy: TenantPolicy {
            limits: limits(&spec.limits.unwrap_or_default(), &document, problems),
            grants: spec.grants,
            components: spec.components,
        },
        secrets_command: spec.secrets.map(|secrets| secrets.command),
    }
}

fn limits(spec: &LimitsSpec, document: &Document, problems: &mut Vec<Error>) -> TenantLimits {
    let default = TenantLimits::default();
    let mut bytes = |key: &str, size: &Size, example: &str| {
        units::size(&size.0, 0..=u64::MAX).unwrap_or_else(|must| {
            let error = Error::new(Kind::JobInvalid, format!("`limits.{key}` {must}"));
            problems.push(
                error
                    .at(document.locate(&format!("/limits/{key}")))
                    .hint(format!("write it as `{example}`, or as a number of bytes")),
            );
            0
        })
    };
    let memory = spec
        .memory
        .as_ref()
        .map(|size| bytes("memory", size, "2GiB"));
    let network = spec
        .network
        .as_ref()
        .map(|size| bytes("network", size, "10MiB"));
    let staged = spec
        .staged
        .as_ref()
        .map(|size| bytes("staged", size, "50GiB"));
    TenantLimits {
        runs: spec.runs.unwrap_or(default.runs),
        memory_bytes: memory.unwrap_or(default.memory_bytes),
        network_bytes: network,
        staged_bytes: staged,
        weight: spec.weight.unwrap_or(default.weight),
        // Within its range, as the schema of the file checked.
        cpu_milli: spec.cpu.map(|cores| (cores * 1000.0).round() as u32),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_name_and_two_are_anything() {
        for (pattern, text, expected) in [
            (
                "GET https://api.example/**",
                "GET https://api.example/v1/users",
                true,
            ),
            (
                "GET https://api.example/**",
                "POST https://api.example/v1/users",
                false,
            ),
            (
                "GET https://*.example/**",
                "GET https://a.b.example/x",
                true,
            ),
            (
                "GET https://*.example/**",
                "GET https://evil.com/x.example/y",
                false,
            ),
            (
                "GET https://*.example/**",
                "GET https://evil.com?x.example/y",
                false,
            ),
            (
                "GET https://*.example/**",
                "GET https://evil.com#.example/y",
                false,
            ),
            (
                "GET https://*.example/**",
                "GET https://${SECRET:H}.example/y",
                false,
            ),
            ("read in/*.csv", "read in/a.csv", true),
            ("read in/*.csv", "read in/a/b.csv", false),
            ("read in/*.csv", "read in/.csv", true),
            ("read in/**", "read in/", true),
            ("**", "", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("é*", "éa", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn grants_are_covered_by_what_the_operator_names_and_by_nothing_else() {
        let policy = TenantPolicy {
            grants: Some(BTreeMap::from([(
                "object-store".to_owned(),
                vec!["read in/**".to_owned()],
            )])),
            ..TenantPolicy::default()
        };
        assert_eq!(
            policy.covers("object-store", "read in/a.csv"),
            Covered::By("read in/**")
        );
        assert_eq!(
            policy.covers("object-store", "read in/../etc/passwd"),
            Covered::No
        );
        assert_eq!(policy.covers("object-store", "write in/a"), Covered::No);
        assert_eq!(policy.covers("http", "GET https://a.example/"), Covered::No);
        assert_eq!(
            TenantPolicy::default().covers("http", "GET https://a.example/"),
            Covered::NoPolicy
        );
    }

    #[test]
    fn a_component_is_known_by_its_digest_or_by_where_it_is() {
        let policy = TenantPolicy {
            components: Some(vec!["csv".to_owned(), "orders@sha256:aa".to_owned()]),
            ..TenantPolicy::default()
        };
        assert!(policy.allows("csv", "ff", false));
        assert!(!policy.allows("csv", "ff", true));
        assert!(policy.allows("orders", "aa", true));
        assert!(!policy.allows("orders", "ab", false));
        assert!(!policy.allows("rest", "aa", false));
        assert!(TenantPolicy::default().allows("rest", "aa", true));
    }
}
