//! Splits and state as text: what one instance hands to another, and one run to the next.

use std::collections::BTreeMap;

use dativo_connector::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::types::Column;

/// A version of a file: what changes when its content does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub size: u64,
    pub modified_ms: u64,
}

/// A part of a file, with all that is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The URL of the file.
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
    pub columns: Vec<Column>,
}

impl Split {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::internal(format!("the split cannot be read: {error}")))
    }

    pub fn to_text(&self) -> Result<String> {
        to_text(self)
    }

    /// The file as it was read, for [`State::after`].
    pub fn end_text(&self) -> Result<String> {
        to_text(&End {
            file: self.file.clone(),
            version: self.version.clone(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct End {
    file: String,
    #[serde(flatten)]
    version: Version,
}

/// The versions of the files that were read, by URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    files: BTreeMap<String, Version>,
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

    /// The state after a run whose pieces ended with `ends`.
    pub fn after(&self, ends: &[String]) -> Result<String> {
        let mut state = self.clone();
        for end in ends {
            let End { file, version } = serde_json::from_str(end)
                .map_err(|error| Error::internal(format!("the end of a split: {error}")))?;
            state.files.insert(file, version);
        }
        to_text(&state)
    }
}

fn to_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))
}

/// Where a text of `length` bytes from `start` may be cut so that each piece has at least `least`,
/// in at most `max` pieces.
pub fn targets(start: u64, length: u64, least: u64, max: u32) -> Vec<u64> {
    let pieces = (length / least.max(1)).clamp(1, u64::from(max.max(1)));
    (1..pieces)
        .map(|piece| start + length / pieces * piece)
        .collect()
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
    fn a_file_is_known_while_size_and_time_stay() {
        let version = |size, modified_ms| Version { size, modified_ms };
        let split = Split {
            file: "file:///a.csv".to_owned(),
            version: version(1, 2),
            compression: "none".to_owned(),
            start: 0,
            end: None,
            first_line: 1,
            columns: Vec::new(),
        };
        let old = State::parse(Some(
            r#"{"files":{"file:///b.csv":{"size":5,"modified_ms":6}}}"#,
        ));
        let ends = [split.end_text().unwrap(), split.end_text().unwrap()];
        let state = State::parse(Some(&old.unwrap().after(&ends).unwrap())).unwrap();
        assert!(state.has("file:///a.csv", &version(1, 2)));
        assert!(
            state.has("file:///b.csv", &version(5, 6)),
            "what was read before stays"
        );
        assert!(!state.has("file:///a.csv", &version(1, 3)));
        assert!(!state.has("file:///a.csv", &version(2, 2)));
        assert!(!state.has("file:///c.csv", &version(1, 2)));
        assert_eq!(Split::parse(&split.to_text().unwrap()).unwrap(), split);
    }

    #[test]
    fn no_piece_is_aimed_below_the_least() {
        let check = |length, least, max, expected: &[u64]| {
            assert_eq!(
                targets(10, length, least, max),
                expected,
                "{length} {least} {max}"
            );
        };
        check(0, 1024, 8, &[]);
        check(2047, 1024, 8, &[]);
        check(2048, 1024, 8, &[1034]);
        check(4096, 1024, 2, &[2058]);
        check(4096, 1024, 1, &[]);
        check(4096, 1024, 0, &[]);
        check(3100, 1024, 8, &[1043, 2076]);
    }
}
