//! `docs/job-reference.md` and `docs/asset-reference.md`, generated from the schemas that the files are
//! checked against.

use std::fmt::Write as _;

use serde_json::Value;

/// The reference page of the job file, in Markdown.
pub fn job_reference() -> String {
    page(
        "# Job reference\n\n\
        Generated from the types in `runtime/src/job/spec.rs`; `BLESS=1 cargo test job::reference` writes it again.\n\
        `dativo-wasm schema job` prints the same as a JSON Schema for editors.\n\n\
        Sizes are written with a unit (`256MiB`, `64kB`) or as a number of bytes, durations always with one\n\
        (`100ms`, `90s`, `5m`, `1h 30m`). A key that is not listed here is an error.\n",
        &super::schema(),
    )
}

/// The reference page of the asset file.
pub fn asset_reference() -> String {
    page(
        "# Asset reference\n\n\
        Generated from the types in `runtime/src/job/asset/spec.rs`; `BLESS=1 cargo test job::reference` writes it again.\n\
        `dativo-wasm schema asset` prints the same as a JSON Schema for editors. A job names its asset with `asset_path`.\n\n\
        A key that is not listed here is an error.\n",
        &super::asset_schema(),
    )
}

fn page(head: &str, schema: &Value) -> String {
    let mut page = head.to_owned();
    section(&mut page, "", schema);
    page
}

fn section(page: &mut String, path: &str, schema: &Value) {
    let text = |schema: &Value| {
        schema["description"]
            .as_str()
            .unwrap_or_default()
            .replace('\n', " ")
    };
    let title = if path.is_empty() {
        "The whole file".to_owned()
    } else {
        format!("`{path}`")
    };
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\n## {title}\n\n{}\n\n| key | value | meaning |\n|---|---|---|\n",
        text(schema)
    );
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required = |key: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|list| list.iter().any(|k| k == key))
    };
    for (key, property) in properties {
        let must = if required(key) { "**Required.** " } else { "" };
        let _ = writeln!(
            page,
            "| `{key}` | {} | {must}{} |",
            kind(property),
            text(property)
        );
    }
    for (key, property) in properties {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        for (mark, inside) in insides(property) {
            section(page, &format!("{path}{mark}"), inside);
        }
    }
}

/// The mappings that a property holds: itself, the items of a list (`[]`), the values of a map (`.*`).
fn insides(property: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let insides = [
        ("", property),
        ("[]", &property["items"]),
        (".*", &property["additionalProperties"]),
    ];
    insides
        .into_iter()
        .filter(|(_, inside)| inside["properties"].is_object())
}

fn kind(schema: &Value) -> String {
    if let Some(options) = schema["enum"].as_array() {
        let options = options
            .iter()
            .filter_map(Value::as_str)
            .map(|option| format!("`{option}`"));
        return options.collect::<Vec<_>>().join(" or ");
    }
    let one = |name: &str| match name {
        "string" => "text",
        "integer" => "whole number",
        "object" => "mapping",
        "array" => "list",
        "boolean" => "`true` or `false`",
        _ => "value",
    };
    match &schema["type"] {
        Value::String(name) => one(name).to_owned(),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .map(one)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_docs_are_the_generated_ones() {
        for (name, page) in [("job", job_reference()), ("asset", asset_reference())] {
            let root = env!("CARGO_MANIFEST_DIR");
            let file = format!("{root}/../docs/{name}-reference.md");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&file, &page).unwrap();
            }
            let found = std::fs::read_to_string(file).unwrap();
            assert_eq!(found, page, "run again with BLESS=1");
        }
    }

    #[test]
    fn every_key_is_described() {
        fn walk(path: &str, schema: &Value) {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                assert!(
                    property["description"].is_string(),
                    "{path}.{key} has no description"
                );
                assert!(kind(property) != "value", "{path}.{key}: {property}");
                for (_, inside) in insides(property) {
                    walk(&format!("{path}.{key}"), inside);
                }
            }
        }
        walk("", &super::super::schema());
        walk("", &super::super::asset_schema());
        let reader = &super::super::schema()["properties"]["source"]["properties"]["reader"];
        assert!(reader["properties"]["config"].is_object());
    }
}
