//! `discover`: what the source of a job holds.

use std::path::Path;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::job_verbs::NO_RUN;
use super::{Options, one};
use crate::component::{Column, Dataset};
use crate::report;
use crate::report::errors::one_line;

/// Asks the reader of a job what there is to read.
pub async fn discover(path: &Path, options: &Options) -> super::Outcome {
    let ready = options.ready(path).await?;
    let datasets = ready.discover(NO_RUN).await.map_err(one)?;
    if options.json {
        let datasets: Vec<Value> = datasets.iter().map(to_json).collect();
        report::json(&json!({ "datasets": datasets }));
        return Ok(());
    }
    if datasets.is_empty() {
        report::result("nothing that the job's credentials may read");
    }
    for dataset in &datasets {
        report::result(&render(dataset));
    }
    Ok(())
}

fn to_json(dataset: &Dataset) -> Value {
    let column = |column: &Column| {
        json!({
            "name": column.name, "source_type": column.source_type, "nullable": column.nullable,
        })
    };
    json!({
        "name": dataset.name, "kind": dataset.kind, "rows": dataset.rows, "key": dataset.key,
        "cursors": dataset.cursors,
        "columns": dataset.columns.iter().map(column).collect::<Vec<_>>(),
    })
}

/// A dataset with its columns under it.
fn render(dataset: &Dataset) -> String {
    let mut lines = vec![format!(
        "{}  {}{}",
        one_line(&dataset.name),
        one_line(&dataset.kind),
        dataset.rows.map_or_else(String::new, |rows| format!(
            ", about {} rows",
            HumanCount(rows)
        ))
    )];
    for (label, names) in [("key", &dataset.key), ("cursors", &dataset.cursors)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| one_line(name)).collect();
            lines.push(format!("  {label:<8} {}", names.join(", ")));
        }
    }
    let columns: Vec<(String, String, bool)> = dataset
        .columns
        .iter()
        .map(|column| {
            (
                one_line(&column.name),
                one_line(&column.source_type),
                column.nullable,
            )
        })
        .collect();
    let width = |texts: &mut dyn Iterator<Item = &String>| {
        texts
            .map(|text| text.chars().count())
            .max()
            .unwrap_or_default()
    };
    let name_width = width(&mut columns.iter().map(|(name, ..)| name));
    let type_width = width(&mut columns.iter().map(|(_, kind, _)| kind));
    for (name, kind, nullable) in &columns {
        let null = if *nullable { "nullable" } else { "not null" };
        lines.push(format!(
            "    {name:<name_width$}  {kind:<type_width$}  {null}"
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_stands_above_its_columns_and_names_stay_on_their_line() {
        let column = |name: &str, source_type: &str, nullable| Column {
            name: name.to_owned(),
            source_type: source_type.to_owned(),
            nullable,
        };
        let mut dataset = Dataset {
            name: "public.orders".to_owned(),
            kind: "table".to_owned(),
            rows: Some(1_200_000),
            key: vec!["id".to_owned()],
            cursors: vec!["changed".to_owned(), "id".to_owned()],
            columns: vec![
                column("id", "bigint", false),
                column("changed", "timestamp with time zone", true),
            ],
        };
        assert_eq!(
            render(&dataset),
            "public.orders  table, about 1,200,000 rows\n  \
               key      id\n  \
               cursors  changed, id\n    \
                 id       bigint                    not null\n    \
                 changed  timestamp with time zone  nullable"
        );
        dataset.columns = vec![column("a\u{1b}[2J\nb", "text", true)];
        assert!(render(&dataset).ends_with("\n    a\\u{1b}[2J\\nb  text  nullable"));
    }
}
