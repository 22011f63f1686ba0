//! What an endpoint holds, by its first page.

use dativo_connector::{Column, Dataset, Result};
use serde_json::{Map, Value};

use crate::api::total;
use crate::config::Config;
use crate::infer;
use crate::pages::Position;
use crate::stream::{Found, Stream};

/// What the name of a time of change has in it.
const CHANGE: [&str; 4] = ["updat", "modif", "chang", "edit"];

pub fn discover(config: &Config) -> Result<Vec<Dataset>> {
    let mut stream = Stream::new(
        config,
        Position::first(&config.endpoint),
        config.since.clone(),
    )?;
    let Some(found) = stream.next()? else {
        return Ok(Vec::new());
    };
    let rows = total(&found.page.document, &config.endpoint);
    let sample = [found];
    let columns: Map<String, Value> = match infer(&sample)? {
        Some(columns) => serde_json::from_str(&columns).unwrap_or_default(),
        None => Map::new(),
    };
    let [found] = sample;
    let mut cursors: Vec<String> = columns
        .iter()
        .filter(|(_, kind)| *kind == "string")
        .map(|(name, _)| name.clone())
        .filter(|name| looks_like_a_time(&found, name))
        .collect();
    // The stable order is that of the columns.
    cursors.sort_by_key(|name| {
        let name = name.to_ascii_lowercase();
        !CHANGE.iter().any(|part| name.contains(part))
    });
    let columns = columns.iter().map(|(name, kind)| Column {
        name: name.clone(),
        source_type: crate::template::plain(kind),
        nullable: true,
    });
    Ok(vec![Dataset {
        name: config.endpoint.api_url.clone(),
        kind: "endpoint".to_owned(),
        rows,
        key: Vec::new(),
        cursors,
        columns: columns.collect(),
    }])
}

/// Whether the first values begin like `2025-01-31T`.
fn looks_like_a_time(found: &Found, name: &str) -> bool {
    let Some(records) = &found.page.records else {
        return false;
    };
    let values = found
        .page
        .document
        .values(records, &crate::config::pointer(name));
    let mut values = values
        .iter()
        .flatten()
        .filter(|value| *value != "null")
        .take(10)
        .peekable();
    values.peek().is_some() && values.all(|value| begins_like_a_time(value.trim_matches('"')))
}

fn begins_like_a_time(text: &str) -> bool {
    let shape: Option<String> = text.get(..11).map(|start| {
        start
            .chars()
            .map(|char| {
                if char.is_ascii_digit() {
                    '0'
                } else {
                    char.to_ascii_uppercase()
                }
            })
            .collect()
    });
    matches!(shape.as_deref(), Some("0000-00-00T" | "0000-00-00 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_begins_with_its_date() {
        for text in ["2025-01-31T10:00:00Z", "2025-01-31 10:00"] {
            assert!(begins_like_a_time(text), "{text}");
        }
        for text in [
            "",
            "2025-01-31",
            "31.01.2025 10:00",
            "x025-01-31T",
            "2025-01-31é",
        ] {
            assert!(!begins_like_a_time(text), "{text}");
        }
    }
}
