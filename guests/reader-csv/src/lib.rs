//! The connector `csv`: rows of a text file.
//!
//! This file is the component: files, splits and state. What a CSV text means is in modules that know
//! no host: `scan` finds fields, `head` the columns and their types, `rows` makes batches,
//! `boundary` cuts a text between records.

mod boundary;
mod columns;
mod config;
mod head;
mod infer;
mod parse;
mod rows;
mod scan;
mod simd;
mod split;
#[cfg(test)]
mod tests;
mod types;
mod window;

#[cfg(test)]
mod fuzz_tests;

use std::cell::OnceCell;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dativo_connector::{Batches, ByteReader, Error, Reader, Result, object_store};

use boundary::{Boundary, boundaries};
use config::Config;
use head::Head;
use rows::{Rows, Source};
use split::{Split, State, Version, targets};
use window::Window;

struct CsvReader {
    config: Config,
    state: State,
    plan: OnceCell<Plan>,
}

/// What is known of the file once its start was read.
struct Plan {
    file: String,
    version: Version,
    source: Source,
    compression: &'static str,
    head: Head,
}

impl Reader for CsvReader {
    const NAME: &'static str = "csv";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        config::schema()
    }

    fn open(config: Config, state: Option<String>) -> Result<Self> {
        // Refuses a wrong config before anything is read.
        config.source()?;
        let state = State::parse(state.as_deref())?;
        Ok(Self {
            config,
            state,
            plan: OnceCell::new(),
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(types::arrow_schema(&self.plan()?.head.columns))
    }

    fn splits(&self, max: u32) -> Result<Vec<String>> {
        let plan = self.plan()?;
        if self.config.incremental && self.state.has(&plan.file, &plan.version) {
            return Ok(Vec::new());
        }
        let first = Boundary {
            offset: plan.head.offset,
            line: plan.head.line,
        };
        let is_plain = plan.compression == "none";
        let mut starts = vec![first];
        if is_plain {
            let length = plan.version.size.saturating_sub(first.offset);
            let targets = targets(first.offset, length, self.config.split_bytes, max);
            if !targets.is_empty() {
                let text = ByteReader::open(&plan.file, first.offset, "none")?;
                starts.extend(boundaries(text, plan.source.format, first, &targets)?);
            }
        }
        let last = is_plain.then_some(plan.version.size);
        let ends = starts
            .iter()
            .skip(1)
            .map(|next| Some(next.offset))
            .chain([last]);
        starts
            .iter()
            .zip(ends)
            .map(|(start, end)| {
                Split {
                    file: plan.file.clone(),
                    version: plan.version.clone(),
                    compression: plan.compression.to_owned(),
                    start: start.offset,
                    end,
                    first_line: start.line,
                    columns: plan.head.columns.clone(),
                }
                .to_text()
            })
            .collect()
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let split = Split::parse(split)?;
        unchanged(&split)?;
        let length = split.end.map(|end| end.saturating_sub(split.start));
        let source = self.config.source()?;
        let window = if length.is_some() {
            let text = ByteReader::open(&split.file, split.start, &split.compression)?;
            Window::new(text, length, split.first_line)
        } else {
            let text = ByteReader::open(&split.file, 0, &split.compression)?;
            let mut window = Window::new(text, None, 1);
            window.skip(split.start, split.first_line)?;
            window
        };
        let skipped = window.consumed();
        let rows = Rows::new(window, source, split.columns.clone());
        Ok(Box::new(Piece {
            rows,
            split,
            length,
            skipped,
            batch_rows: self.config.batch_size,
        }))
    }

    fn state(&self, ends: Vec<String>) -> Result<Option<String>> {
        self.state.after(&ends).map(Some)
    }
}

impl CsvReader {
    /// Reads the start of the file, once.
    fn plan(&self) -> Result<&Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan);
        }
        let object = object_store::head(&self.config.file_path)?;
        let compression = self.config.compression(&object.url);
        let source = self.config.source()?;
        let text = ByteReader::open(&object.url, 0, compression)?;
        let head = head::read(text, &self.config, &source)?;
        let version = Version {
            size: object.size,
            modified_ms: object.modified_ms,
        };
        Ok(self.plan.get_or_init(|| Plan {
            file: object.url,
            version,
            source,
            compression,
            head,
        }))
    }
}

struct Piece {
    rows: Rows<ByteReader>,
    split: Split,
    /// Bytes of text, where that is known.
    length: Option<u64>,
    /// Bytes of text that were read before the first record.
    skipped: u64,
    batch_rows: usize,
}

impl Batches for Piece {
    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let batch = self.rows.next(max_rows.min(self.batch_rows))?;
        if batch.is_none() && self.rows.window.missing(self.length) > 0 {
            return Err(changed(&self.split));
        }
        Ok(batch)
    }

    fn progress(&self) -> Option<f32> {
        let length = self.length?;
        let read = self.rows.window.consumed() - self.skipped;
        Some(if length == 0 {
            1.0
        } else {
            (read as f64 / length as f64) as f32
        })
    }

    fn end(&mut self) -> Result<String> {
        unchanged(&self.split)?;
        self.split.end_text()
    }
}

/// Refuses a file that is not the one that was planned.
fn unchanged(split: &Split) -> Result<()> {
    let object = object_store::head(&split.file)?;
    let version = Version {
        size: object.size,
        modified_ms: object.modified_ms,
    };
    if version == split.version {
        Ok(())
    } else {
        Err(changed(split))
    }
}

fn changed(split: &Split) -> Error {
    Error::unavailable(format!("`{}` changed while it was read", split.file))
        .hint("run the job again once the file is complete")
}

dativo_connector::export_reader!(CsvReader);
