//! All pages of a job in order: those of one endpoint, or of a conversation for each parent.

use std::collections::{HashSet, VecDeque};

use dativo_connector::{Error, Result, http};
use serde_json::Value;

use crate::api::{self, Page};
use crate::config::{Config, Parent, pointer};
use crate::pages::{Pages, Position};
use crate::template::{exact, plain};

/// A page of data.
pub struct Found {
    pub page: Page,
    pub at: Position,
    /// Names and values of the fields of its parent.
    pub fields: Vec<(String, Value)>,
}

pub struct Stream {
    client: http::Client,
    config: Config,
    /// What `{since}` stands for.
    since: Option<Value>,
    parents: Option<Parents>,
    pages: Pages,
    fields: Vec<(String, Value)>,
    progress: Option<f32>,
}

/// The parents that are still to come.
struct Parents {
    of: Parent,
    pages: Pages,
    ready: VecDeque<Vec<(String, Value)>>,
    /// Parents are asked for once, however often they come.
    seen: HashSet<String>,
}

impl Stream {
    pub fn new(config: &Config, from: Position, since: Option<Value>) -> Result<Self> {
        let parents = config.parent.as_ref().map(|parent| Parents {
            pages: Pages::new(&parent.endpoint, Position::first(&parent.endpoint)),
            of: parent.clone(),
            ready: VecDeque::new(),
            seen: HashSet::new(),
        });
        let mut pages = Pages::new(&config.endpoint, from);
        if parents.is_some() {
            pages.end();
        }
        Ok(Self {
            client: api::client(config)?,
            config: config.clone(),
            since,
            parents,
            pages,
            fields: Vec::new(),
            progress: None,
        })
    }

    pub fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if let Some(at) = self.pages.at().cloned() {
                let page = self.page(&at)?;
                self.pages
                    .turn(&page.facts)
                    .map_err(|error| within(&page, error))?;
                self.progress = self.pages.progress(&page.facts);
                return Ok(Some(Found {
                    page,
                    at,
                    fields: self.fields.clone(),
                }));
            }
            let Some(fields) = self.next_parent()? else {
                return Ok(None);
            };
            self.fields = fields;
            self.pages = Pages::new(
                &self.config.endpoint,
                Position::first(&self.config.endpoint),
            );
        }
    }

    /// The first page of the parents, to see that they answer.
    pub fn has_parent(&mut self) -> Result<bool> {
        let Some(fields) = self.next_parent()? else {
            return Ok(false);
        };
        if let Some(parents) = &mut self.parents {
            parents.ready.push_front(fields);
        }
        Ok(true)
    }

    pub fn progress(&self) -> Option<f32> {
        self.progress.filter(|_| self.parents.is_none())
    }

    fn page(&self, at: &Position) -> Result<Page> {
        let endpoint = &self.config.endpoint;
        let values = |name: &str| {
            value_of(
                name,
                at,
                endpoint.page_size,
                self.since.as_ref(),
                &self.fields,
            )
        };
        let request = api::request(endpoint, self.config.since_param.as_deref(), at, &values)?;
        api::fetch(&self.client, endpoint, &request, self.pages.count() + 1)
    }

    fn next_parent(&mut self) -> Result<Option<Vec<(String, Value)>>> {
        let Some(parents) = &mut self.parents else {
            return Ok(None);
        };
        loop {
            if let Some(fields) = parents.ready.pop_front() {
                return Ok(Some(fields));
            }
            let Some(at) = parents.pages.at().cloned() else {
                return Ok(None);
            };
            let endpoint = &parents.of.endpoint;
            let values = |name: &str| value_of(name, &at, endpoint.page_size, None, &[]);
            let request = api::request(endpoint, None, &at, &values)?;
            let page = api::fetch(&self.client, endpoint, &request, parents.pages.count() + 1)?;
            parents
                .pages
                .turn(&page.facts)
                .map_err(|error| within(&page, error))?;
            parents.take(&page)?;
        }
    }
}

impl Parents {
    /// Takes the fields of each record of a page.
    fn take(&mut self, page: &Page) -> Result<()> {
        let Some(records) = &page.records else {
            return Ok(());
        };
        let mut parents = vec![Vec::new(); page.facts.records as usize];
        for (name, field) in &self.of.fields {
            let values = page.document.values(records, &pointer(field))?;
            for (index, (value, parent)) in values.iter().zip(&mut parents).enumerate() {
                let value = exact(value)?;
                if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
                    let message = format!(
                        "{}: record {}: parent field `{field}` is neither text nor number",
                        page.name,
                        index + 1
                    );
                    return Err(Error::invalid_data(message).hint("check `parent.fields`"));
                }
                parent.push((name.clone(), value));
            }
        }
        for parent in parents {
            let key: Vec<String> = parent.iter().map(|(_, value)| value.to_string()).collect();
            if self.seen.insert(key.join("\n")) {
                self.ready.push_back(parent);
            }
        }
        Ok(())
    }
}

fn within(page: &Page, error: Error) -> Error {
    Error {
        message: format!("{}: {}", page.name, error.message),
        ..error
    }
}

/// What `{name}` stands for in a request.
fn value_of(
    name: &str,
    at: &Position,
    page_size: u64,
    since: Option<&Value>,
    fields: &[(String, Value)],
) -> Option<Value> {
    match (name, at) {
        ("since", _) => since.cloned(),
        ("page_size", _) => Some(page_size.into()),
        ("page", Position::Page(page)) => Some((*page).into()),
        ("offset", Position::Offset(offset)) => Some((*offset).into()),
        ("cursor", Position::Cursor(Some(cursor))) => Some(cursor.as_str().into()),
        _ => fields
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone()),
    }
}

/// The fields of a parent as the options of `rows` want them.
pub fn constants(fields: &[(String, Value)]) -> serde_json::Map<String, Value> {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), plain(value).into()))
        .collect()
}
