//! A contract beside the source that it fits: as text for people and as JSON for programs. Prints
//! nothing itself.

use serde_json::{Value, json};

use super::errors::one_line;
use crate::contract::{Line, Mapping};

/// The contract and its columns, one a line.
pub fn render(mapping: &Mapping) -> String {
    let contract = &mapping.contract;
    let mut lines = vec![format!(
        "contract `{}` {} ({}), mode {}, unknown columns: {}",
        contract.name,
        one_line(&contract.version),
        one_line(&contract.file),
        contract.mode.name(),
        contract.dataset.unknown_columns.name()
    )];
    lines.extend(mapping.lines.iter().map(column));
    let warnings = mapping.warnings.iter();
    lines.extend(warnings.map(|warning| format!("warning: {}", one_line(warning))));
    lines.join("\n")
}

/// `  id  Utf8 → int64  checked conversion, required, pii: hash with a key`.
fn column(line: &Line) -> String {
    let source = line.source.as_deref().unwrap_or("nothing");
    let types = match &line.kind {
        Some(kind) => format!("{source} → {kind}"),
        None => source.to_owned(),
    };
    let mut remarks = vec![line.how.describe().to_owned()];
    if line.required {
        remarks.push("required".to_owned());
    }
    match (&line.classification, line.mask) {
        (Some(class), Some(mask)) => remarks.push(format!("{class}: {mask}")),
        (Some(class), None) => remarks.push(class.clone()),
        (None, _) => {}
    }
    one_line(&format!(
        "  {}  {types}  {}",
        line.column,
        remarks.join(", ")
    ))
}

/// The same for programs.
pub fn to_json(mapping: &Mapping) -> Value {
    let contract = &mapping.contract;
    json!({
        "name": contract.name,
        "version": contract.version,
        "file": contract.file,
        "mode": contract.mode.name(),
        "unknown_columns": contract.dataset.unknown_columns.name(),
        "columns": mapping.lines,
        "warnings": mapping.warnings,
    })
}
