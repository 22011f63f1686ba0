//! The connector `rest`: records of HTTP APIs, page by page.
//!
//! The component drives the conversation: what to ask for, which page comes next, where it ends. Requests, waiting, secrets
//! and rows are the host's. This file is the component; `pages.rs` decides, `api.rs` asks, `state.rs` remembers.

mod api;
mod config;
mod discover;
mod follow;
mod link;
mod pages;
mod schema;
mod state;
mod stream;
mod template;

use std::cell::OnceCell;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use dativo_connector::arrow::{batch_from_host, schema_from_host};
use dativo_connector::{Batches, Dataset, Error, Reader, Result, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use config::{Config, NewFields};
use follow::Follow;
use pages::Position;
use state::State;
use stream::{Found, Stream};

/// Most pages that are looked at to infer columns.
const MAX_SAMPLE_PAGES: usize = 10;

/// No columns, as JSON.
const NONE: &str = "{}";

struct RestReader {
    config: Config,
    /// What the last run committed.
    state: State,
    committed: Option<String>,
    /// Columns as JSON, found out once; none where there are no records.
    columns: OnceCell<Option<String>>,
}

/// What an instance needs to know that reads.
#[derive(Serialize, Deserialize)]
struct Split {
    columns: String,
}

impl Reader for RestReader {
    const NAME: &'static str = "rest";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        schema::schema()
    }

    fn discover(config: Config) -> Result<Vec<Dataset>> {
        discover::discover(&config.checked()?)
    }

    fn open(config: Config, state: Option<String>) -> Result<Self> {
        let config = config.checked()?;
        let committed = state;
        let state = committed
            .as_deref()
            .map(State::parse)
            .transpose()?
            .unwrap_or_default();
        state.start(&config)?;
        Ok(Self {
            config,
            state,
            committed,
            columns: OnceCell::new(),
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        self.schema_of(self.columns()?)
    }

    fn check(&self) -> Result<SchemaRef> {
        let mut stream = self.stream()?;
        if let Some(known) = self.known_columns() {
            match self.config.parent {
                Some(_) => stream.has_parent().map(drop)?,
                None => stream.next().map(drop)?,
            }
            return self.schema_of(Some(&known));
        }
        let sample: Vec<Found> = stream.next()?.into_iter().collect();
        self.schema_of(infer(&sample)?.as_deref())
    }

    fn splits(&self, _max: u32) -> Result<Vec<String>> {
        // Each page says which one comes next, so one instance reads them all.
        let Some(columns) = self.columns()? else {
            return Ok(Vec::new());
        };
        let split = Split {
            columns: columns.to_owned(),
        };
        let split =
            serde_json::to_string(&split).map_err(|error| Error::internal(error.to_string()))?;
        Ok(vec![split])
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let split: Split = serde_json::from_str(split)
            .map_err(|error| Error::internal(format!("a split that cannot be read: {error}")))?;
        Ok(Box::new(Reading {
            stream: self.stream()?,
            follow: Follow::new(&self.config, &self.state),
            resumed_at: self.state.start(&self.config)?,
            config: self.config.clone(),
            before: self.state.clone(),
            columns: split.columns,
        }))
    }

    fn state(&self, ends: Vec<String>) -> Result<Option<String>> {
        let after = ends.into_iter().find(|end| !end.is_empty());
        Ok(after.or_else(|| self.committed.clone()))
    }
}

impl RestReader {
    fn stream(&self) -> Result<Stream> {
        let since = match &self.state.since {
            Some(committed) => Some(template::exact(&committed.0)?),
            None => self.config.since.clone(),
        };
        Stream::new(&self.config, self.state.start(&self.config)?, since)
    }

    /// The columns that need no request.
    fn known_columns(&self) -> Option<String> {
        let known = self.config.schema.as_ref().or(self.state.columns.as_ref());
        known.map(|columns| Value::from(columns.clone()).to_string())
    }

    fn columns(&self) -> Result<Option<&str>> {
        if let Some(columns) = self.columns.get() {
            return Ok(columns.as_deref());
        }
        let columns = match self.known_columns() {
            Some(known) => Some(known),
            None => infer(&self.sample()?)?,
        };
        Ok(self.columns.get_or_init(|| columns).as_deref())
    }

    /// The first pages. The instance that reads asks for them again: pages cannot go from one instance to another.
    fn sample(&self) -> Result<Vec<Found>> {
        let mut stream = self.stream()?;
        let (mut sample, mut records) = (Vec::new(), 0);
        while sample.len() < MAX_SAMPLE_PAGES && records < self.config.infer_records {
            let Some(found) = stream.next()? else { break };
            records += found.page.facts.records;
            sample.push(found);
        }
        Ok(sample)
    }

    fn schema_of(&self, columns: Option<&str>) -> Result<SchemaRef> {
        let Some(columns) = columns else {
            return Ok(Arc::new(Schema::empty()));
        };
        let fields = self
            .config
            .parent
            .iter()
            .flat_map(|parent| parent.fields.keys().cloned());
        let schema = json::schema_of(columns, &fields.collect::<Vec<_>>())?;
        schema_from_host(&schema)
    }
}

/// The columns of the records of all these pages; none where they have none.
fn infer(sample: &[Found]) -> Result<Option<String>> {
    let pages = || {
        sample
            .iter()
            .filter_map(|found| Some((&found.page, found.page.records.as_ref()?)))
    };
    if pages().next().is_none() {
        return Ok(None);
    }
    let mut columns = NONE.to_owned();
    // A page that was looked at first may have what does not fit a type that became wider later.
    loop {
        let mut wider = columns.clone();
        for (page, records) in pages() {
            wider = page
                .document
                .infer(records, Some(&wider))
                .map_err(|error| {
                    let error = Error::from(error);
                    Error {
                        message: format!("{}: {}", page.name, error.message),
                        ..error
                    }
                })?;
        }
        if wider == columns {
            return Ok(Some(columns));
        }
        columns = wider;
    }
}

/// The pages of a run.
struct Reading {
    stream: Stream,
    follow: Follow,
    resumed_at: Position,
    config: Config,
    before: State,
    columns: String,
}

impl Reading {
    /// What `rows` leaves out and adds.
    fn options(&self, found: &Found) -> String {
        let is_same_page = found.at == self.resumed_at && found.fields.is_empty();
        let mut options = Map::new();
        if !self.before.digests.is_empty() && (is_same_page || self.before.since.is_some()) {
            options.insert("skip".to_owned(), self.before.digests.clone().into());
        }
        if self.config.new_fields == NewFields::Ignore {
            options.insert("new_fields".to_owned(), "ignore".into());
        }
        if !found.fields.is_empty() {
            options.insert(
                "constants".to_owned(),
                stream::constants(&found.fields).into(),
            );
        }
        Value::from(options).to_string()
    }

    /// Whether a run went on at a page that the server does not have any more. What it answers there is what it has
    /// elsewhere.
    fn is_past_the_end(&self, found: &Found) -> bool {
        let first = self.config.endpoint.first_page;
        match (&found.at, found.page.facts.total_pages) {
            (Position::Page(page), Some(total)) => {
                *page > first && *page >= first.saturating_add(total)
            }
            _ => false,
        }
    }

    fn explain(&self, found: &Found, error: Error) -> Error {
        let mut error = Error {
            message: format!("{}: {}", found.page.name, error.message),
            ..error
        };
        if self.before.columns.is_some() && self.config.schema.is_none() {
            let hint = error
                .hint
                .map(|hint| format!("{hint}; "))
                .unwrap_or_default();
            error.hint = Some(format!(
                "{hint}the columns are those of the first run: `dativo-wasm state reset JOB` looks at them anew and reads everything again"
            ));
        }
        error
    }
}

impl Batches for Reading {
    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let batch = self.next_from_host(max_rows)?;
        batch.as_ref().map(batch_from_host).transpose()
    }

    fn next_from_host(
        &mut self,
        _max_rows: usize,
    ) -> Result<Option<dativo_connector::RecordBatch>> {
        loop {
            let Some(found) = self.stream.next()? else {
                return Ok(None);
            };
            let Some(records) = found.page.records.clone() else {
                continue;
            };
            if self.is_past_the_end(&found) {
                continue;
            }
            let rows = found
                .page
                .document
                .rows(&records, &self.columns, &self.options(&found));
            let rows = rows.map_err(|error| self.explain(&found, error.into()))?;
            self.follow.saw(found)?;
            if rows.rows() > 0 {
                return Ok(Some(rows));
            }
        }
    }

    fn progress(&self) -> Option<f32> {
        self.stream.progress()
    }

    fn end(&mut self) -> Result<String> {
        let Some(mut after) = self.follow.end()? else {
            return Ok(String::new());
        };
        if self.config.schema.is_none() {
            let columns = serde_json::from_str(&self.columns)
                .map_err(|error| Error::internal(format!("columns of the host: {error}")))?;
            after.columns = Some(columns);
        }
        match after == State::default() {
            true => Ok(String::new()),
            false => after.to_text(),
        }
    }
}

dativo_connector::export_reader!(RestReader);
