//! What a run commits, and what the next one makes of it.
//!
//! The position is that of the last page whose records were committed, with digests of those records: the next run asks for
//! that page again and leaves them out, so that what was added to it comes once, and nothing comes twice.

use dativo_connector::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::{Config, Pagination};
use crate::pages::Position;

/// Most records that are remembered one by one.
const MAX_DIGESTS: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_page: Option<u64>,
    /// Null for the first page.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "there"
    )]
    pub last_cursor: Option<Option<String>>,
    /// The greatest value of the cursor field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<JsonText>,
    /// What a page had: another size makes other pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// Of the records of that page, or with that value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// Of all runs, so that the target has one schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Map<String, Value>>,
}

/// A value as it was written: a number that only a text holds is in the state as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(pub String);

impl Serialize for JsonText {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.clone()).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Self(raw.get().to_owned()))
    }
}

fn there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

impl State {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            Error::invalid_data(format!("the committed state cannot be read: {error}"))
                .hint("`dativo-wasm state show JOB` prints it; `dativo-wasm state reset JOB` reads everything again")
        })
    }

    /// Where a run starts. `incremental_state` of the config counts before the first commit only.
    pub fn start(&self, config: &Config) -> Result<Position> {
        let first = Position::first(&config.endpoint);
        if !config.resumes() {
            return Ok(first);
        }
        let given = config.incremental_state.clone().unwrap_or_default();
        let is_committed = self.current_page.is_some() || self.last_cursor.is_some();
        if is_committed
            && self
                .page_size
                .is_some_and(|size| size != config.endpoint.page_size)
        {
            return Err(Error::invalid_config(
                "`page_size` was changed, so the pages of the last run are other pages now",
            )
            .hint("set it back, or read everything again after `dativo-wasm state reset JOB`"));
        }
        let other = |key: &str| {
            Error::invalid_config(format!(
                "the last run was of another `pagination_type`: its state has no `{key}`"
            ))
            .hint("set it back, or read everything again after `dativo-wasm state reset JOB`")
        };
        Ok(match config.endpoint.pagination_type {
            Pagination::Page => match (self.current_page, given.current_page) {
                (Some(page), _) => Position::Page(page),
                (None, _) if is_committed => return Err(other("current_page")),
                (None, Some(page)) => Position::Page(page),
                (None, None) => first,
            },
            Pagination::Cursor => match (&self.last_cursor, given.last_cursor) {
                (Some(cursor), _) => Position::Cursor(cursor.clone()),
                (None, _) if is_committed => return Err(other("last_cursor")),
                (None, Some(Value::Null) | None) => first,
                (None, Some(cursor)) => Position::Cursor(Some(crate::template::plain(&cursor))),
            },
            _ => first,
        })
    }

    /// The state after a run whose last page with records was at `position`.
    pub fn at(position: &Position, page_size: u64, digests: Vec<String>) -> Result<Self> {
        let (current_page, last_cursor) = match position {
            Position::Page(page) => (Some(*page), None),
            Position::Cursor(cursor) => (None, Some(cursor.clone())),
            _ => {
                return Err(Error::internal(
                    "this pagination has no position to go on from",
                ));
            }
        };
        Ok(Self {
            current_page,
            last_cursor,
            page_size: Some(page_size),
            digests: bounded(digests, "the last page has")?,
            ..Self::default()
        })
    }

    /// The state after a run whose greatest cursor is `since`, as JSON text.
    pub fn since(since: String, digests: Vec<String>) -> Result<Self> {
        Ok(Self {
            since: Some(JsonText(since)),
            digests: bounded(digests, "the greatest cursor is that of")?,
            ..Self::default()
        })
    }

    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal(error.to_string()))
    }
}

fn bounded(mut digests: Vec<String>, what: &str) -> Result<Vec<String>> {
    digests.sort_unstable();
    digests.dedup();
    if digests.len() > MAX_DIGESTS {
        let message = format!(
            "{what} {} records, and a run remembers {MAX_DIGESTS} at most",
            digests.len()
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message)
            .hint("ask for smaller pages with `page_size`, or follow a `cursor_field` that differs more often"));
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(text: Value) -> Config {
        let mut config = json!({ "api_url": "http://h" });
        config
            .as_object_mut()
            .unwrap()
            .extend(text.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn refuses_a_state_that_is_of_another_config() {
        let pages = State::parse(r#"{"current_page":7,"page_size":1000,"digests":["a"]}"#).unwrap();
        assert!(pages.start(&config(json!({ "page_size": 10 }))).is_err());
        assert!(
            pages
                .start(&config(json!({ "pagination_type": "cursor" })))
                .is_err()
        );
        assert!(State::parse("{").is_err());
        assert!(State::parse(r#"{"page":1}"#).is_err());
        let many = (0..=MAX_DIGESTS).map(|at| at.to_string()).collect();
        assert!(State::since("1".to_owned(), many).is_err());
    }

    #[test]
    fn a_run_starts_at_what_was_committed_then_at_the_config_then_at_the_beginning() {
        let cursor =
            json!({ "pagination_type": "cursor", "incremental_state": { "last_cursor": "given" } });
        let given = |text: &str| Position::Cursor(Some(text.to_owned()));
        assert_eq!(
            State::default().start(&config(cursor.clone())).unwrap(),
            given("given")
        );
        let state = State::parse(r#"{"last_cursor":"committed"}"#).unwrap();
        assert_eq!(
            state.start(&config(cursor.clone())).unwrap(),
            given("committed")
        );
        let state = State::parse(r#"{"last_cursor":null}"#).unwrap();
        assert_eq!(
            state.start(&config(cursor)).unwrap(),
            Position::Cursor(None)
        );
        let page = json!({ "incremental_state": { "last_cursor": "x", "current_page": 3 } });
        assert_eq!(
            State::default().start(&config(page)).unwrap(),
            Position::Page(3)
        );
        assert_eq!(
            State::default()
                .start(&config(json!({ "first_page": 0 })))
                .unwrap(),
            Position::Page(0)
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for state in [
            State::at(
                &Position::Page(7),
                10,
                vec!["b".into(), "a".into(), "a".into()],
            )
            .unwrap(),
            State::at(&Position::Cursor(None), 10, vec![]).unwrap(),
            State::at(&Position::Cursor(Some("x".into())), 10, vec![]).unwrap(),
            State::since("\"2025\"".to_owned(), vec![]).unwrap(),
            State::since("12345678901234567890123".to_owned(), vec![]).unwrap(),
        ] {
            assert_eq!(State::parse(&state.to_text().unwrap()).unwrap(), state);
        }
    }
}
