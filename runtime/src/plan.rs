//! What each component of a job may reach, and what it asks for and does not get.
//!
//! Pure: a job and facts about components in, grants or refusals out. No network, no files, no clock.

use serde::Serialize;
use serde_json::Value;

use crate::capabilities;
use crate::error::{Error, Kind};
use crate::job::{Covered, Endpoint, Job, Role};

/// The keyword of a component's config schema that says what its config asks for.
const GRANTS_KEYWORD: &str = "x-dativo-grants";

/// The grant that WASI answers: folders a component may read with its language's own file API.
const FILES: &str = "files";

/// What inspection found out about a component.
pub struct Facts<'a> {
    pub name: &'a str,
    pub origin: &'a str,
    pub capabilities: &'a [String],
    pub config_schema: &'a str,
}

/// The grants of a job, component by component.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub reader: ComponentPlan,
    pub writer: ComponentPlan,
    pub dead_letter: Option<ComponentPlan>,
}

#[derive(Debug, Serialize)]
pub struct ComponentPlan {
    pub component: String,
    /// Capabilities that the component imports.
    pub requested: Vec<String>,
    pub granted: Vec<Grant>,
    /// Grants of the job that the component has no use for.
    pub unused: Vec<String>,
}

/// One line of what a component may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub capability: String,
    /// `read data/*.csv`: an access and a target, as the capability understands them. It may hold a password.
    #[serde(skip)]
    pub target: String,
    /// The same as it is printed.
    #[serde(rename = "target")]
    pub shown: String,
    /// Why it is granted: the config key that names the target, or `grants`.
    pub origin: String,
    /// The pattern of the operator's file on the tenant that covers it, where there is such a file with grants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
}

impl Plan {
    /// Derives the grants of `job`. Every refusal that needs no I/O happens here.
    pub fn new(
        job: &Job,
        reader: &Facts<'_>,
        writer: &Facts<'_>,
        dead_letter: Option<&Facts<'_>>,
    ) -> Result<Self, Vec<Error>> {
        let mut problems = Vec::new();
        let mut plan = |endpoint: &Endpoint, facts: &Facts<'_>| {
            ComponentPlan::new(endpoint, facts, job)
                .map_err(|errors| problems.extend(errors))
                .ok()
        };
        let (reader, writer) = (plan(&job.source, reader), plan(&job.target, writer));
        let dead_letter = job.dead_letter.as_ref().zip(dead_letter);
        let dead_letter = dead_letter.and_then(|(endpoint, facts)| plan(endpoint, facts));
        match (reader, writer, problems.is_empty()) {
            (Some(reader), Some(writer), true) => Ok(Self {
                reader,
                writer,
                dead_letter,
            }),
            _ => Err(problems),
        }
    }
}

impl ComponentPlan {
    fn new(endpoint: &Endpoint, facts: &Facts<'_>, job: &Job) -> Result<Self, Vec<Error>> {
        let mut granted = derived(endpoint, facts).map_err(|error| vec![error])?;
        let mut problems = Vec::new();
        for (capability, targets) in &endpoint.grants {
            if capability != FILES && !capabilities::needs_grant(capability) {
                problems.push(unknown_capability(endpoint, capability));
                continue;
            }
            granted.extend(targets.iter().map(|target| Grant {
                capability: capability.clone(),
                shown: capabilities::shown(capability, target),
                target: target.clone(),
                origin: "grants".to_owned(),
                allowed_by: None,
            }));
        }
        for grant in &mut granted {
            match job.policy.covers(&grant.capability, &grant.shown) {
                Covered::NoPolicy => {}
                Covered::By(pattern) => grant.allowed_by = Some(pattern.to_owned()),
                Covered::No => problems.push(above_policy(endpoint, facts, grant, &job.tenant)),
            }
        }
        let has = |name: &String| granted.iter().any(|grant| &grant.capability == name);
        for name in facts.capabilities {
            if capabilities::needs_grant(name) && !has(name) {
                problems.push(missing(endpoint, facts, name));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let unused = endpoint
            .grants
            .keys()
            .filter(|name| *name != FILES && !facts.capabilities.contains(name))
            .cloned()
            .collect();
        Ok(Self {
            component: facts.name.to_owned(),
            requested: facts.capabilities.to_vec(),
            granted,
            unused,
        })
    }

    /// The targets granted for `capability`.
    pub fn targets<'a>(&'a self, capability: &'a str) -> impl Iterator<Item = &'a str> {
        self.granted
            .iter()
            .filter(move |grant| grant.capability == capability)
            .map(|grant| grant.target.as_str())
    }

    /// Folders that WASI shows to the component.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.targets(FILES)
    }
}

/// The operator does not let the tenant have it.
fn above_policy(endpoint: &Endpoint, facts: &Facts<'_>, grant: &Grant, tenant: &str) -> Error {
    let Grant {
        capability, shown, ..
    } = grant;
    let message = format!(
        "{} `{}` may not have `{shown}` of `{capability}`: the operator's file on the tenant does not allow it",
        endpoint.role, facts.name
    );
    Error::new(Kind::GrantMissing, message)
        .at(endpoint.implementation_location())
        .hint(format!(
            "ask the operator to add it to `grants: {{ {capability}: [\"{shown}\"] }}` of `tenants/{tenant}.yaml`"
        ))
}

/// The grants that follow from the job's own config values, as the component's schema marks them.
fn derived(endpoint: &Endpoint, facts: &Facts<'_>) -> Result<Vec<Grant>, Error> {
    let malformed = |what: String| {
        Error::new(
            Kind::ComponentInvalid,
            format!("`{}` has {what} in its config schema", facts.name),
        )
        .with("component", facts.origin)
        .hint(format!(
            "each item of `{GRANTS_KEYWORD}` is {{\"capability\", \"access\", \"target\"}}"
        ))
    };
    let schema: Value = serde_json::from_str(facts.config_schema)
        .map_err(|error| malformed("no JSON".to_owned()).caused_by(error))?;
    let Some(marks) = schema.get(GRANTS_KEYWORD) else {
        return Ok(Vec::new());
    };
    let marks = marks
        .as_array()
        .ok_or_else(|| malformed(format!("a wrong `{GRANTS_KEYWORD}`")))?;
    let mut grants = Vec::new();
    for mark in marks {
        let text = |key| mark.get(key).and_then(Value::as_str);
        let (Some(capability), Some(access), Some(template)) =
            (text("capability"), text("access"), text("target"))
        else {
            return Err(malformed(format!("a wrong item in `{GRANTS_KEYWORD}`")));
        };
        let fill = |template| fill(template, &endpoint.config, &schema);
        if let (Some((access, _)), Some((target, keys))) = (fill(access), fill(template)) {
            let target = format!("{access} {target}");
            grants.push(Grant {
                capability: capability.to_owned(),
                shown: capabilities::shown(capability, &target),
                target,
                origin: format!("config `{}`", keys.join("`, `")),
                allowed_by: None,
            });
        }
    }
    Ok(grants)
}

/// Replaces each `{key}` by the value of the config, or by its default; `{parent.url}` is `url` in the object `parent`.
/// None where a key has neither.
fn fill(template: &str, config: &Value, schema: &Value) -> Option<(String, Vec<String>)> {
    let (mut filled, mut keys, mut rest) = (String::new(), Vec::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}')?;
        filled.push_str(before);
        let value = value_of(key, config, schema)?.as_str()?;
        // `out/` and `out` are the same folder.
        filled.push_str(if after.starts_with('/') {
            value.trim_end_matches('/')
        } else {
            value
        });
        keys.push(key.to_owned());
        // No folder at all: `s3://{bucket}/{prefix}/**` is then the whole bucket.
        rest = match after.strip_prefix('/') {
            Some(after) if value.is_empty() => after,
            _ => after,
        };
    }
    filled.push_str(rest);
    Some((filled, keys))
}

/// The value of the config at a dotted key, or its default. An object that is not there has no values by default.
fn value_of<'a>(key: &str, config: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let (mut config, mut schema) = (config, schema);
    let (objects, last) = key.rsplit_once('.').unwrap_or(("", key));
    for object in objects.split('.').filter(|object| !object.is_empty()) {
        config = config.get(object)?;
        schema = schema
            .get("properties")
            .and_then(|all| all.get(object))
            .unwrap_or(&Value::Null);
    }
    let default = || schema.get("properties")?.get(last)?.get("default");
    config.get(last).or_else(default)
}

fn section(role: Role) -> &'static str {
    match role {
        Role::Reader => "source.reader",
        Role::Writer => "target.writer",
    }
}

fn unknown_capability(endpoint: &Endpoint, capability: &str) -> Error {
    Error::new(
        Kind::JobInvalid,
        format!("`{capability}` is not a capability that can be granted"),
    )
    .at(endpoint.grant_location(capability))
    .hint(format!(
        "`grants` under `{}` may name `http`, `iceberg`, `kms`, `object-store`, `postgres` and `files`",
        section(endpoint.role)
    ))
}

fn missing(endpoint: &Endpoint, facts: &Facts<'_>, capability: &str) -> Error {
    let role = endpoint.role.name();
    Error::new(
        Kind::GrantMissing,
        format!(
            "{role} `{}` uses `{capability}`, which the job does not grant",
            facts.name
        ),
    )
    .with("component", facts.origin)
    .at(endpoint.implementation_location())
    .hint(format!(
        "add `grants: {{ {capability}: [...] }}` under `{}`",
        section(endpoint.role)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_grant_follows_from_the_value_its_default_or_is_left_out() {
        let schema = json!({"properties": {
            "prefix": {"default": "raw"},
            "parent": {"properties": {"method": {"default": "GET"}}},
            "absent": {"properties": {"method": {"default": "GET"}}},
        }});
        let config = json!({"bucket": "lake", "folder": "out/", "n": 1, "parent": {"url": "u"}});
        let check = |template, expected: Option<&str>| {
            let filled = fill(template, &config, &schema).map(|(text, _)| text);
            assert_eq!(filled.as_deref(), expected, "{template}");
        };
        check("s3://{bucket}/{prefix}/**", Some("s3://lake/raw/**"));
        check("{folder}/**", Some("out/**"));
        check("{folder}", Some("out/"));
        check("{missing}", None);
        check("{n}", None);
        check("{bucket", None);
        check("plain", Some("plain"));
        check("{parent.method} {parent.url}", Some("GET u"));
        check("{parent.missing}", None);
        check("{absent.method}", None);
        check("{bucket.method}", None);
    }
}
