//! The job file: YAML → `spec.rs` as written → [`Job`], which cannot be wrong.
//!
//! Every rule about the file is behind [`load`], which reports all that is wrong at once, each problem
//! with its place. Knows nothing about components, grants and runs: it resolves names and hides
//! secrets, and leaves the rest to the plan.

mod asset;
mod aws;
mod bounds;
mod build;
mod check;
mod contracts;
mod endpoints;
mod http;
mod implementation;
mod provider;
#[cfg(test)]
mod reference;
mod schedule;
mod secrets;
mod spec;
mod tenant;
mod units;
mod words;
mod written;
mod yaml;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use asset::schema as asset_schema;
pub use aws::AwsSettings;
pub use http::HttpSettings;
pub use implementation::{Implementation, Role};
pub use schedule::{CatchUp, Overlap, Schedule, Timing};
pub use secrets::Secrets;
pub use spec::schema;
pub use tenant::{Covered, TenantLimits, TenantPolicy};
pub use words::nearest;
pub use written::{Place, Traces, Unfit, traces};

use crate::contract::Contract;
use crate::error::{Error, Kind, Location};
use yaml::{Document, What};

/// Longest reason taken over from a component's schema, in characters.
const MAX_CAUSE: usize = 500;

/// What a job is loaded with, beside its file.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `DIR/<tenant>/<NAME>` files, looked up before the environment.
    pub secrets_dir: Option<PathBuf>,
    /// Whether the environment is kept from jobs.
    pub without_environment: bool,
    /// `DIR/<tenant>.yaml` files: what the operator says of tenants.
    pub tenants_dir: Option<PathBuf>,
}

/// A valid job.
#[derive(Debug, Clone)]
pub struct Job {
    pub file: PathBuf,
    /// State is kept under tenant and name.
    pub name: String,
    /// Safe as one segment of a path.
    pub tenant: String,
    pub environment: Option<String>,
    pub asset: Option<String>,
    pub contract: Option<Arc<Contract>>,
    pub source: Endpoint,
    pub target: Endpoint,
    /// Where the rows go that break the contract: a writer like the target.
    pub dead_letter: Option<Endpoint>,
    pub timing: Option<Timing>,
    /// Of its tenant, by the operator.
    pub policy: TenantPolicy,
    pub limits: Limits,
    pub http: HttpSettings,
    pub aws: AwsSettings,
    /// How many splits are read side by side; the number of processors if absent.
    pub parallelism: Option<NonZeroU32>,
    pub secrets: Secrets,
}

/// One component and what it is given.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub role: Role,
    pub implementation: Implementation,
    /// An object, with a placeholder for every secret.
    pub config: Value,
    /// Capability → patterns, as written.
    pub grants: BTreeMap<String, Vec<String>>,
    /// The config with its references, for messages.
    written: Value,
    document: Arc<Document>,
    /// JSON pointers into the document.
    pointer: String,
    implementation_pointer: String,
    config_pointer: String,
}

/// What a run may use. Descriptions and ranges are in `LimitsSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
    pub call_timeout: Duration,
    pub cpu_per_call: Duration,
    pub deadline: Duration,
    pub log_bytes: u64,
    pub batch_rows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 * units::MIB,
            call_timeout: Duration::from_secs(5 * 60),
            cpu_per_call: Duration::from_secs(60),
            deadline: Duration::from_secs(24 * 60 * 60),
            log_bytes: units::MIB,
            batch_rows: 65_536,
        }
    }
}

/// A job file as far as it can be understood.
pub struct Draft {
    /// What could be made of the file; where there are problems, without what they are about.
    pub job: Option<Job>,
    /// All that is wrong, in the order of the file. A job is valid where there is none.
    pub problems: Vec<Error>,
}

impl Draft {
    fn refused(error: Error) -> Self {
        Self {
            job: None,
            problems: vec![error],
        }
    }

    #[cfg(test)]
    fn whole(self) -> Result<Job, Vec<Error>> {
        self.job
            .filter(|_| self.problems.is_empty())
            .ok_or(self.problems)
    }
}

/// Reads, checks and resolves a job file.
pub fn load(file: &Path, options: &LoadOptions) -> Draft {
    match read_text(file, What::Job) {
        Ok(text) => parse(file, &text, options),
        Err(error) => Draft::refused(error),
    }
}

/// What is wrong with the text of a job file, as far as it can be told from the text alone: secrets, asset contracts and components are
/// not looked for. With `tenant`, it must be that one's.
pub fn validate(text: &str, tenant: Option<&str>) -> Vec<Error> {
    let (document, mut problems) = match Document::parse(What::Job, Path::new("job.yaml"), text) {
        Ok(parsed) => parsed,
        Err(error) => return vec![error],
    };
    if !document.value().is_object() {
        problems.push(Error::new(
            Kind::JobInvalid,
            "a job is a mapping of keys to values",
        ));
        return problems;
    }
    let spec = parse_spec::<spec::JobSpec>(&document, &schema(), &mut problems);
    let named = spec
        .as_ref()
        .and_then(|(spec, _)| spec.tenant_id.as_deref());
    if let (Some(tenant), Some(named)) = (tenant, named)
        && tenant != named
    {
        let message = format!("`tenant_id` must be `{tenant}`");
        problems.push(Error::new(Kind::JobInvalid, message).at(document.locate("/tenant_id")));
    }
    sort(&mut problems);
    problems
}

fn read_text(file: &Path, what: What) -> Result<String, Error> {
    let (what, example) = match what {
        What::Job => ("job", "a job file, such as `jobs/quickstart.yaml`"),
        What::Asset => ("asset", "an asset file, such as `jobs/assets/weather.yaml`"),
        What::Tenant => ("tenant", "a tenant's file, such as `tenants/acme.yaml`"),
    };
    let refuse = |message: String| {
        Error::new(Kind::JobInvalid, message).hint(format!(
            "give the path of a {what} file, such as `{example}`"
        ))
    };
    let shown = file.display();
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(yaml::MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse(format!("there is no {what} file `{shown}`")),
            std::io::ErrorKind::InvalidData => refuse(format!("`{shown}` is not UTF-8 text")),
            _ => refuse(format!("cannot read the {what} file `{shown}`")).caused_by(error),
        })?;
    Ok(text)
}

fn parse(file: &Path, text: &str, options: &LoadOptions) -> Draft {
    let (document, mut problems) = match Document::parse(What::Job, file, text) {
        Ok(parsed) => parsed,
        Err(error) => return Draft::refused(error),
    };
    let document = Arc::new(document);
    if !document.value().is_object() {
        let error = Error::new(Kind::JobInvalid, "a job is a mapping of keys to values")
            .at(document.locate(""))
            .hint("start with `tenant_id: NAME`; `dativo-wasm schema job` prints all keys");
        return Draft::refused(error);
    }
    let spec = parse_spec(&document, &schema(), &mut problems);
    let job = spec
        .and_then(|(spec, refused)| build::job(spec, &document, options, &refused, &mut problems));
    if job.is_none() && problems.is_empty() {
        problems.push(Error::internal("a job was refused without a reason"));
    }
    sort(&mut problems);
    Draft { job, problems }
}

/// What is written in a file, without what its schema refuses, and the pointers to that; problems are
/// added to `problems`.
fn parse_spec<T: serde::de::DeserializeOwned>(
    document: &Document,
    schema: &Value,
    problems: &mut Vec<Error>,
) -> Option<(T, Vec<String>)> {
    let place = check::Place {
        document,
        pointer: "",
    };
    let what = document.what();
    let found = match check::check(schema, document.value(), &place) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("the schema of a {what} file is not valid");
            problems.push(Error::internal(message).caused_by(error));
            return None;
        }
    };
    // What is wrong is left out, so that the rest can be checked in the same go.
    let mut value = document.value().clone();
    let mut refused = Vec::new();
    for problem in found {
        if let Some(pointer) = problem.pointer {
            remove(&mut value, &pointer);
            refused.push(pointer);
        }
        problems.push(problem.error);
    }
    match serde_json::from_value(value) {
        Ok(spec) => Some((spec, refused)),
        Err(_) if !problems.is_empty() => None,
        Err(error) => {
            let message = format!("the schema of a {what} file and its types disagree");
            problems.push(Error::internal(message).caused_by(error));
            None
        }
    }
}

/// Whether something under `pointer` is among `refused`, so that its absence means nothing.
fn was_refused(refused: &[String], pointer: &str) -> bool {
    refused.iter().any(|refused| {
        refused
            .strip_prefix(pointer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || pointer
                .strip_prefix(refused.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Puts errors into the order of the files that they are about, the job file first.
pub fn sort(problems: &mut [Error]) {
    let first = |error: &Error| error.location().map(|at| at.file.clone());
    let job = problems.iter().find_map(first);
    problems.sort_by_key(|error| {
        error.location().map(|at| {
            (
                Some(&at.file) != job.as_ref(),
                at.file.clone(),
                at.line,
                at.column,
            )
        })
    });
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        // Taking an item out would move the others away from their places.
        Some(Value::Array(_)) => remove(value, parent),
        _ => {}
    }
}

impl Endpoint {
    /// Where the job names the implementation.
    pub fn implementation_location(&self) -> Option<Location> {
        self.document.locate(&self.implementation_pointer)
    }

    /// The place of a part of the config, or of its nearest parent in the file. `json_pointer` starts
    /// at the config block.
    pub fn locate(&self, json_pointer: &str) -> Option<Location> {
        self.document
            .locate(&format!("{}{json_pointer}", self.config_pointer))
    }

    /// Where the job grants `capability`, or the nearest parent.
    pub fn grant_location(&self, capability: &str) -> Option<Location> {
        let pointer = format!("{}/grants/{}", self.pointer, yaml::escape(capability));
        self.document.locate_key(&pointer)
    }

    /// Checks the config against the JSON Schema that the component gives for it. What a secret says
    /// is not checked, only that text is wanted in its place.
    pub fn check_config(&self, schema_json: &str) -> Result<(), Vec<Error>> {
        let invalid = |cause: String| {
            let error = Error::new(
                Kind::ComponentInvalid,
                format!("the {} has a config schema that cannot be used", self.role),
            );
            vec![
                error
                    .at(self.implementation_location())
                    .caused_by(words::cut(&cause, MAX_CAUSE))
                    .hint("ask the author of the component"),
            ]
        };
        if schema_json.len() > bounds::MAX_BYTES {
            return Err(invalid(format!(
                "it has more than {} bytes",
                bounds::MAX_BYTES
            )));
        }
        let schema: Value =
            serde_json::from_str(schema_json).map_err(|error| invalid(error.to_string()))?;
        bounds::check(&schema).map_err(invalid)?;
        let place = check::Place {
            document: &self.document,
            pointer: &self.config_pointer,
        };
        let problems = check::check(&schema, &self.written, &place).map_err(invalid)?;
        if problems.is_empty() {
            return Ok(());
        }
        let mut errors: Vec<_> = problems.into_iter().map(|problem| problem.error).collect();
        errors.sort_by_key(|error| error.location().map(|at| (at.line, at.column)));
        Err(errors)
    }
}
