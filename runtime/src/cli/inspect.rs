//! `inspect` and `plugins`: what connectors there are, and what they are.

use serde_json::{Value, json};

use super::{Options, one};
use crate::component::CONTRACT;
use crate::error::Error;
use crate::plugins::{BUILT_IN_ORIGIN, Found};
use crate::report;

/// `inspect`: one component, by name or file.
pub async fn inspect(component: &str, options: &Options) -> super::Outcome {
    let components = options.components()?;
    let loaded = options
        .plugins()
        .find(&components, component)
        .await
        .map_err(one)?;
    let schema: Value = serde_json::from_str(&loaded.description.config_schema).unwrap_or_default();
    if options.json {
        report::json(&json!({
            "name": loaded.description.name, "kind": loaded.role.name(),
            "version": loaded.description.version, "contract": CONTRACT,
            "origin": loaded.origin, "digest": loaded.digest,
            "capabilities": loaded.capabilities, "imports": loaded.imports, "config_schema": schema,
        }));
        return Ok(());
    }
    report::result(&format!(
        "{} `{}` {}, contract {CONTRACT}\norigin  {}\nsha256  {}",
        loaded.role.name(),
        loaded.description.name,
        loaded.description.version,
        loaded.origin,
        loaded.digest
    ));
    report::result(&format!("imports\n  {}", loaded.imports.join("\n  ")));
    let shown = serde_json::to_string_pretty(&schema).unwrap_or_default();
    report::result(&format!("config schema\n{shown}"));
    Ok(())
}

/// `plugins`: every connector that a job could name, and why one cannot be used.
pub async fn plugins(options: &Options) -> super::Outcome {
    let components = options.components()?;
    let plugins = options.plugins();
    let mut rows = Vec::new();
    for found in plugins.list().map_err(one)? {
        let origin = found.file.as_ref().map_or_else(
            || BUILT_IN_ORIGIN.to_owned(),
            |file| file.display().to_string(),
        );
        let loaded = match &found.file {
            Some(file) => components.load_file(&found.name, file, None).await,
            None => plugins.find(&components, &found.name).await,
        };
        rows.push(row(
            &found,
            origin,
            loaded.map(|c| (c.role.name(), c.description.version)),
        ));
    }
    if options.json {
        report::json(&json!({ "connectors": rows }));
        return Ok(());
    }
    for row in rows {
        let text = |key: &str| {
            row.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let remark = row
            .get("problem")
            .and_then(Value::as_str)
            .unwrap_or_default();
        report::result(
            format!(
                "{:<16} {:<7} {:<10} {}  {remark}",
                text("name"),
                text("kind"),
                text("version"),
                text("origin")
            )
            .trim_end(),
        );
    }
    Ok(())
}

fn row(found: &Found, origin: String, loaded: Result<(&str, String), Error>) -> Value {
    let shadowed = found
        .shadowed
        .then(|| "not used: a built-in connector has this name; rename the file".to_owned());
    match loaded {
        Ok((kind, version)) => json!({
            "name": found.name, "kind": kind, "version": version, "origin": origin,
            "usable": !found.shadowed, "problem": shadowed,
        }),
        Err(error) => json!({
            "name": found.name, "kind": Value::Null, "version": Value::Null, "origin": origin,
            "usable": false, "problem": error.to_string(),
        }),
    }
}
