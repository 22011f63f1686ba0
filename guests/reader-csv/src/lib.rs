//! The connector `csv`: CSV files, with types inferred or declared.
//!
//! [`scan`] finds fields in bytes, [`value`] makes typed values of them, [`infer`] finds out the types,
//! [`columns`] collects batches, [`boundary`] cuts a file into splits. None of these knows the host;
//! [`table`] and this file do.

mod boundary;
mod columns;
mod config;
mod infer;
mod scan;
mod split;
mod table;
mod value;

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use dativo_connector::object_store as store;
use dativo_connector::{Batches, ByteReader, Error, Reader, Result};
use serde::{Deserialize, Serialize};

use config::Config;
use split::Split;
use table::{Rows, Table};

struct CsvReader {
    config: Config,
    file: FileVersion,
    /// False where the last committed run has read the file as it is.
    has_news: bool,
}

/// One version of a file, as it is remembered between runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVersion {
    #[serde(skip)]
    pub url: String,
    /// In bytes.
    pub size: u64,
    pub modified_ms: u64,
}

impl FileVersion {
    /// The name is the key that versions are kept under.
    fn is_same(&self, other: &Self) -> bool {
        (self.size, self.modified_ms) == (other.size, other.modified_ms)
    }
}

/// What a committed run has read.
#[derive(Default, Serialize, Deserialize)]
struct State {
    files: BTreeMap<String, FileVersion>,
}

impl Reader for CsvReader {
    const NAME: &'static str = "csv";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        config::schema()
    }

    fn open(config: Config, state: Option<String>) -> Result<Self> {
        config.check()?;
        let file = look_at(&config.file_path)?;
        let state: State = match state {
            Some(text) if config.incremental => serde_json::from_str(&text).map_err(|error| {
                Error::invalid_data(format!("the state of the last run cannot be read: {error}"))
                    .hint("`dativo-wasm state reset JOB` reads everything again")
            })?,
            _ => State::default(),
        };
        let has_news = !state
            .files
            .get(&file.url)
            .is_some_and(|read| read.is_same(&file));
        Ok(Self {
            config,
            file,
            has_news,
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(Table::of(&self.config)?.schema())
    }

    fn splits(&self, max: u32) -> Result<Vec<String>> {
        if !self.has_news {
            return Ok(Vec::new());
        }
        let table = Table::of(&self.config)?;
        let splits = match self.config.is_compressed() {
            true => vec![Split::whole(&self.file, table)],
            false => split::cut(&self.config, &self.file, table, max)?,
        };
        splits.iter().map(Split::to_text).collect()
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let split = Split::from_text(split)?;
        if !split.is_of(&self.file) {
            return Err(changed(&self.config.file_path));
        }
        let input = ByteReader::open(
            &self.config.file_path,
            split.start,
            &self.config.compression,
        )?;
        let rows = Rows::open(&self.config, split.table.clone(), input, split.range())?;
        Ok(Box::new(Piece {
            rows,
            path: self.config.file_path.clone(),
            file: self.file.clone(),
        }))
    }

    fn state(&self, _: Vec<String>) -> Result<Option<String>> {
        let files = BTreeMap::from([(self.file.url.clone(), self.file.clone())]);
        let state = serde_json::to_string(&State { files });
        state
            .map(Some)
            .map_err(|error| Error::internal(error.to_string()))
    }
}

/// One split being read.
struct Piece {
    rows: Rows<ByteReader>,
    path: String,
    file: FileVersion,
}

impl Batches for Piece {
    fn next(&mut self, max_rows: usize) -> Result<Option<arrow_array::RecordBatch>> {
        self.rows.next_batch(max_rows)
    }

    fn progress(&self) -> Option<f32> {
        self.rows.progress(self.file.size)
    }

    fn end(&mut self) -> Result<String> {
        match look_at(&self.path)? == self.file {
            true => Ok(String::new()),
            false => Err(changed(&self.path)),
        }
    }
}

fn look_at(path: &str) -> Result<FileVersion> {
    let found = store::head(path)?;
    Ok(FileVersion {
        url: found.url,
        size: found.size,
        modified_ms: found.modified_ms,
    })
}

fn changed(path: &str) -> Error {
    Error::unavailable(format!("`{path}` changed while it was read"))
        .hint("run the job again once the file is written; nothing was published")
}

dativo_connector::export_reader!(CsvReader);
