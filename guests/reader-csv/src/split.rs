//! Splits and state as text: what one instance hands to another, and one run to the next.

use std::collections::BTreeMap;

use dativo_connector::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::types::{Column, Origin, Type};

/// A version of a file: what changes when its content does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub size: u64,
    pub modified_ms: u64,
}

/// What one instance reads: files, or parts of them, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    pub parts: Vec<Part>,
    pub columns: Vec<Column>,
}

/// A part of a file, with all that is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As the job or a listing names it.
    pub file: String,
    #[serde(flatten)]
    pub version: Version,
    pub compression: String,
    /// Where its first record begins, in bytes of text.
    pub start: u64,
    /// Where it ends, in bytes; at the end of the file where that is not known.
    pub end: Option<u64>,
    /// Physical line of its first byte, from 1.
    pub first_line: u64,
    /// For each column its place in a record, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<usize>>,
}

impl Split {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::internal(format!("the split cannot be read: {error}")))
    }

    pub fn to_text(&self) -> Result<String> {
        to_text(self)
    }

    /// The files as they were read, for [`State::after`].
    pub fn end_text(&self) -> Result<String> {
        let versions = self.parts.iter();
        to_text(&State {
            files: versions
                .map(|part| (part.file.clone(), part.version.clone()))
                .collect(),
            columns: self.columns.clone(),
        })
    }
}

/// What was read so far. A file that is gone stays known: it may come back as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    files: BTreeMap<String, Version>,
    /// Of the last run: later runs keep to them and to their types, so that the target has one schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<Column>,
}

impl State {
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        serde_json::from_str(text).map_err(|error| {
            Error::new(
                ErrorKind::InvalidData,
                format!("the state cannot be read: {error}"),
            )
            .hint("read everything again after `dativo-wasm state reset`")
        })
    }

    pub fn has(&self, file: &str, version: &Version) -> bool {
        self.files.get(file) == Some(version)
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What earlier runs took a column for, unless the job said so.
    pub fn type_of(&self, column: &str) -> Option<Type> {
        let mut columns = self.columns.iter();
        let found = columns.find(|known| known.name == column && known.origin != Origin::Declared);
        found.map(|known| known.kind)
    }

    /// The state after a run whose pieces ended with `ends`.
    pub fn after(&self, ends: &[String]) -> Result<String> {
        let mut state = self.clone();
        for end in ends {
            let end: Self = serde_json::from_str(end)
                .map_err(|error| Error::internal(format!("the end of a split: {error}")))?;
            state.files.extend(end.files);
            state.columns = end.columns;
        }
        to_text(&state)
    }
}

fn to_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))
}

/// Where files of these sizes, one after the other, may be cut so that each piece has at least `least`, in at
/// most `max` pieces. For each file the places in it, from 0, which is a cut before it.
pub fn targets(sizes: &[u64], least: u64, max: u32) -> Vec<Vec<u64>> {
    let total: u64 = sizes.iter().sum();
    let pieces = (total / least.max(1)).clamp(1, u64::from(max.max(1)));
    let mut targets = (1..pieces).map(|piece| total / pieces * piece).peekable();
    let mut start = 0;
    let mut found = Vec::with_capacity(sizes.len());
    for size in sizes {
        let mut inside = Vec::new();
        while let Some(target) = targets.next_if(|target| *target < start + size) {
            inside.push(target - start);
        }
        found.push(inside);
        start += size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_state_is_refused_with_the_way_out() {
        let error = State::parse(Some("{\"files\": 1}")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidData);
        assert!(error.hint.unwrap().contains("state reset"));
    }

    #[test]
    fn files_are_known_while_size_and_time_stay_and_types_are_remembered() {
        let version = |size, modified_ms| Version { size, modified_ms };
        let column = |name: &str, origin| Column {
            name: name.to_owned(),
            kind: Type::Int64,
            origin,
        };
        let part = |file: &str| Part {
            file: file.to_owned(),
            version: version(1, 2),
            compression: "none".to_owned(),
            start: 0,
            end: None,
            first_line: 1,
            order: None,
        };
        let split = Split {
            parts: vec![part("a.csv"), part("d.csv")],
            columns: vec![
                column("declared", Origin::Declared),
                column("sampled", Origin::Sampled),
            ],
        };
        let old = State::parse(Some(r#"{"files":{"b.csv":{"size":5,"modified_ms":6}}}"#));
        let ends = [split.end_text().unwrap(), split.end_text().unwrap()];
        let state = State::parse(Some(&old.unwrap().after(&ends).unwrap())).unwrap();
        assert!(state.has("a.csv", &version(1, 2)));
        assert!(state.has("d.csv", &version(1, 2)));
        assert!(
            state.has("b.csv", &version(5, 6)),
            "what was read before stays"
        );
        assert!(!state.has("a.csv", &version(1, 3)));
        assert!(!state.has("a.csv", &version(2, 2)));
        assert!(!state.has("c.csv", &version(1, 2)));
        assert_eq!(state.type_of("sampled"), Some(Type::Int64));
        assert_eq!(state.type_of("declared"), None);
        assert_eq!(Split::parse(&split.to_text().unwrap()).unwrap(), split);
    }

    #[test]
    fn no_piece_is_aimed_below_the_least() {
        let check = |sizes: &[u64], least, max, expected: &[&[u64]]| {
            assert_eq!(
                targets(sizes, least, max),
                expected,
                "{sizes:?} {least} {max}"
            );
        };
        check(&[], 1024, 8, &[]);
        check(&[0], 1024, 8, &[&[]]);
        check(&[2047], 1024, 8, &[&[]]);
        check(&[2048], 1024, 8, &[&[1024]]);
        check(&[4096], 1024, 2, &[&[2048]]);
        check(&[4096], 1024, 1, &[&[]]);
        check(&[4096], 1024, 0, &[&[]]);
        check(&[3100], 1024, 8, &[&[1033, 2066]]);
        check(&[1024, 1024, 10], 1024, 2, &[&[], &[5], &[]]);
        check(&[1000, 0, 1000], 1000, 2, &[&[], &[], &[0]]);
        check(&[3000, 1], 1000, 3, &[&[1000, 2000], &[]]);
    }
}
