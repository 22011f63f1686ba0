//! `check` and `plan`: what a job would do, without doing it.

use std::num::NonZeroU32;
use std::path::Path;

use arrow::datatypes::{Field, FieldRef, Schema};
use serde_json::{Value, json};

use super::{Options, one, parallelism as wanted_splits};
use crate::component::{ReaderInstance, Stop};
use crate::contract::Mapping;
use crate::error::Error;
use crate::pipeline::commit::LastCommit;
use crate::pipeline::{Ready, last_commit};
use crate::plan::ComponentPlan;
use crate::report;
use crate::report::errors::one_line;

/// The run id of instances that look and do not move data.
pub(super) const NO_RUN: &str = "none";

/// `check`: everything short of reading a row.
pub async fn check(path: &Path, options: &Options) -> super::Outcome {
    let looked = Look::cheaply(path, options).await?;
    let schema = &looked.schema;
    if options.json {
        report::json(&json!({
            "job": looked.ready.job, "tenant": looked.ready.tenant, "status": "success",
            "columns": columns(schema), "last_commit": looked.last.as_ref().map(|last| &last.run),
            "contract": looked.mapping.as_ref().map(report::contract::to_json),
        }));
        return Ok(());
    }
    report::result(&format!(
        "job `{}` of tenant `{}` is ready: {} yields {} columns, {} answers{}",
        looked.ready.job,
        looked.ready.tenant,
        looked.ready.reader.component.who(),
        schema.fields().len(),
        looked.ready.writer.component.who(),
        match &looked.last {
            Some(last) => format!("; its last commit is run {}", last.run),
            None => "; it has no commit of this job yet".to_owned(),
        }
    ));
    if let Some(mapping) = &looked.mapping {
        report::result(&report::contract::render(mapping));
    }
    Ok(())
}

/// `plan`: splits, grants and the schema.
pub async fn plan(
    path: &Path,
    parallelism: Option<NonZeroU32>,
    options: &Options,
) -> super::Outcome {
    let mut looked = Look::at(path, options).await?;
    let wanted = wanted_splits(parallelism, looked.ready.parallelism);
    let splits = looked.reader.splits(wanted.get()).await.map_err(one)?;
    let ready = &looked.ready;
    let (reader, writer) = (&ready.reader.component, &ready.writer.component);
    if options.json {
        report::json(&json!({
            "job": ready.job, "tenant": ready.tenant,
            "splits": splits.iter().map(|split| state_or_text(split)).collect::<Vec<_>>(),
            "reader": { "component": reader.name, "origin": reader.origin, "digest": reader.digest, "plan": ready.plan.reader },
            "writer": { "component": writer.name, "origin": writer.origin, "digest": writer.digest, "plan": ready.plan.writer },
            "columns": columns(&looked.schema),
            "last_commit": looked.last.as_ref().map(|last| &last.run),
            "contract": looked.mapping.as_ref().map(report::contract::to_json),
            "dead_letter": ready.plan.dead_letter,
        }));
        return Ok(());
    }
    report::result(&format!("job `{}` of tenant `{}`", ready.job, ready.tenant));
    for (component, plan) in [(reader, &ready.plan.reader), (writer, &ready.plan.writer)] {
        report::result(&format!(
            "\n{} ({}, sha256 {})",
            component.who(),
            component.origin,
            component.digest.get(..16).unwrap_or_default()
        ));
        report::result(&grants(plan));
    }
    if let Some(plan) = &ready.plan.dead_letter {
        report::result("\ndead letter");
        report::result(&grants(plan));
    }
    report::result("\nsplits");
    if splits.is_empty() {
        report::result("  none: there is nothing new since the last commit");
    }
    for (index, split) in splits.iter().enumerate() {
        report::result(&format!("  {index}  {}", ready.secrets.mask(split)));
    }
    report::result("\ncolumns");
    for field in looked.schema.fields() {
        let null = if field.is_nullable() {
            "nullable"
        } else {
            "not null"
        };
        report::result(&format!(
            "  {}  {}  {null}{}",
            one_line(field.name()),
            field.data_type(),
            note(field).map_or(String::new(), |note| format!("  ({})", one_line(note)))
        ));
    }
    if let Some(mapping) = &looked.mapping {
        report::result(&format!("\n{}", report::contract::render(mapping)));
    }
    Ok(())
}

fn grants(plan: &ComponentPlan) -> String {
    let requested = match plan.requested.len() {
        0 => "nothing".to_owned(),
        _ => plan.requested.join(", "),
    };
    let mut lines = vec![format!("  requested  {requested}")];
    for grant in &plan.granted {
        let allowed = grant.allowed_by.as_ref();
        let allowed = allowed.map_or(String::new(), |pattern| format!(", allowed by `{pattern}`"));
        lines.push(format!(
            "  granted    {}: {}  (from {}{allowed})",
            grant.capability, grant.shown, grant.origin
        ));
    }
    for unused in &plan.unused {
        lines.push(format!(
            "  not used   {unused}: the component does not import it"
        ));
    }
    lines.push("  refused    everything else".to_owned());
    lines.join("\n")
}

fn columns(schema: &Schema) -> Vec<Value> {
    let column = |field: &FieldRef| {
        let mut column = json!({ "name": field.name(), "type": field.data_type().to_string(), "nullable": field.is_nullable() });
        if let Some(note) = note(field) {
            column["note"] = json!(note);
        }
        column
    };
    schema.fields().iter().map(column).collect()
}

/// What a reader says of a column beside its type: that it is read in another form, for instance.
fn note(field: &Field) -> Option<&String> {
    field.metadata().get("dativo.note")
}

fn state_or_text(text: &str) -> Value {
    crate::pipeline::state_json(text)
}

/// A job looked at: both sides asked, no row read.
pub(super) struct Look {
    pub ready: Ready,
    pub reader: ReaderInstance,
    pub schema: std::sync::Arc<Schema>,
    /// How the source fits the job's contract, where it has one.
    pub mapping: Option<Mapping>,
    pub last: Option<LastCommit>,
}

impl Look {
    pub async fn at(path: &Path, options: &Options) -> Result<Self, Vec<Error>> {
        Self::look(path, options, false).await
    }

    /// The schema may be less than the whole of it.
    async fn cheaply(path: &Path, options: &Options) -> Result<Self, Vec<Error>> {
        Self::look(path, options, true).await
    }

    async fn look(path: &Path, options: &Options, cheaply: bool) -> Result<Self, Vec<Error>> {
        let ready = options.ready(path).await?;
        let last = last_commit(&ready, NO_RUN).await.map_err(one)?;
        let state = last.as_ref().and_then(|last| last.state.as_deref());
        let open = async {
            let mut reader = ready
                .open_reader(NO_RUN, "reader".to_owned(), state, Stop::never())
                .await?;
            let schema = match cheaply {
                true => reader.check().await?,
                false => reader.schema().await?,
            };
            Ok((reader, schema))
        };
        let (reader, schema) = open.await.map_err(one)?;
        let contract = ready.contract.as_ref();
        let mapping = contract.map(|contract| Mapping::new(contract, &schema));
        Ok(Self {
            mapping: mapping.transpose()?,
            ready,
            reader,
            schema,
            last,
        })
    }
}
