//! What a run remembers of the pages that it read, for the state.

use std::collections::HashSet;

use crate::config::Config;
use crate::pages::Position;
use crate::state::State;
use crate::stream::Found;
use dativo_connector::{Error, Result, json};

pub enum Follow {
    /// Every run reads everything.
    Nothing,
    /// The last page with records.
    Position {
        page_size: u64,
        last: Option<(json::Document, String, Position)>,
    },
    /// The greatest value of a field, as JSON text, and the records that have it.
    Since {
        field: String,
        greatest: Option<String>,
        digests: HashSet<String>,
    },
}

impl Follow {
    pub fn new(config: &Config, before: &State) -> Self {
        match config.cursor_pointer() {
            Some(field) => Self::Since {
                field,
                greatest: before.since.as_ref().map(|since| since.0.clone()),
                digests: before.digests.iter().cloned().collect(),
            },
            None if config.resumes() => Self::Position {
                page_size: config.endpoint.page_size,
                last: None,
            },
            None => Self::Nothing,
        }
    }

    /// Takes a page whose rows were handed over.
    pub fn saw(&mut self, found: Found) -> Result<()> {
        let Some(records) = found.page.records else {
            return Ok(());
        };
        let document = found.page.document;
        match self {
            Self::Nothing => {}
            Self::Position { last, .. } => *last = Some((document, records, found.at)),
            Self::Since {
                field,
                greatest,
                digests,
            } => {
                let now = document.greatest(&records, field, greatest.as_deref());
                let now = now.map_err(|error| {
                    let error = Error::from(error);
                    Error {
                        message: format!("{}: {}", found.page.name, error.message),
                        ..error
                    }
                })?;
                let Some(now) = now else {
                    return Ok(());
                };
                if greatest.as_ref() != Some(&now) {
                    digests.clear();
                }
                digests.extend(document.digests(&records, Some((field, &now)))?);
                *greatest = Some(now);
            }
        }
        Ok(())
    }

    /// The state after all pages; none where they had nothing to remember.
    pub fn end(&mut self) -> Result<Option<State>> {
        match self {
            Self::Nothing => Ok(Some(State::default())),
            Self::Position { page_size, last } => {
                let Some((document, records, position)) = last.take() else {
                    return Ok(None);
                };
                let digests = document.digests(&records, None)?;
                State::at(&position, *page_size, digests).map(Some)
            }
            Self::Since {
                greatest, digests, ..
            } => {
                let Some(greatest) = greatest.take() else {
                    return Ok(None);
                };
                State::since(greatest, digests.drain().collect()).map(Some)
            }
        }
    }
}
