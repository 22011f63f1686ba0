//! The connector `csv`: rows of text files.
//!
//! This file is the component: files, splits and state. What a CSV text means is in modules that know
//! no host: `scan` finds fields, `head` the columns and their types, `rows` makes batches,
//! `boundary` cuts a text between records.

mod boundary;
mod columns;
mod config;
mod fast;
mod glob;
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
use dativo_connector::{Batches, ByteReader, Error, ErrorKind, Reader, Result, object_store};

use boundary::{Boundary, boundaries};
use config::Config;
use head::{Head, Table};
use rows::{Rows, Text};
use split::{Part, Split, State, Version, targets};
use types::Column;
use window::Window;

/// Text that a byte of a compressed file stands for, to share files out evenly.
const EXPANSION: u64 = 4;

struct CsvReader {
    config: Config,
    state: State,
    plan: OnceCell<Plan>,
}

/// What is known once the starts of the files were read.
struct Plan {
    /// Those to read.
    files: Vec<File>,
    columns: Vec<Column>,
}

struct File {
    name: String,
    version: Version,
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
        config.source(&config.file_path)?;
        let state = state.filter(|_| config.incremental);
        let state = State::parse(state.as_deref())?;
        Ok(Self {
            config,
            state,
            plan: OnceCell::new(),
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(types::arrow_schema(&self.plan()?.columns))
    }

    fn splits(&self, max: u32) -> Result<Vec<String>> {
        let plan = self.plan()?;
        let sizes: Vec<u64> = plan.files.iter().map(File::weight).collect();
        let targets = targets(&sizes, self.config.split_bytes, max);
        let mut splits: Vec<Vec<Part>> = vec![Vec::new()];
        for (file, targets) in plan.files.iter().zip(targets) {
            let mut starts = vec![file.start()];
            if file.is_plain() {
                starts.extend(self.cut(file, &targets)?);
            }
            let ends = starts.iter().skip(1).map(|next| Some(next.offset));
            let last = file.is_plain().then_some(file.version.size);
            let ends: Vec<Option<u64>> = ends.chain([last]).collect();
            if targets.first() == Some(&0) {
                splits.push(Vec::new());
            }
            for (index, (start, end)) in starts.into_iter().zip(ends).enumerate() {
                if index > 0 {
                    splits.push(Vec::new());
                }
                if let Some(split) = splits.last_mut() {
                    split.push(file.part(start, end));
                }
            }
            // A file that cannot be cut inside is cut behind.
            if !file.is_plain() && targets.last().is_some_and(|target| *target > 0) {
                splits.push(Vec::new());
            }
        }
        splits.retain(|parts| !parts.is_empty());
        let columns = &plan.columns;
        let split = |parts| Split {
            parts,
            columns: columns.clone(),
        };
        splits
            .into_iter()
            .map(|parts| split(parts).to_text())
            .collect()
    }

    fn read(&self, split: &str) -> Result<Box<dyn Batches>> {
        let split = Split::parse(split)?;
        Ok(Box::new(Piece {
            rows: Rows::new(split.columns.clone()),
            bytes: split.parts.iter().map(part_bytes).sum(),
            bytes_before: 0,
            at: 0,
            open: None,
            config: self.config.clone(),
            split,
        }))
    }

    fn state(&self, ends: Vec<String>) -> Result<Option<String>> {
        self.state.after(&ends).map(Some)
    }
}

impl CsvReader {
    /// Lists the files and reads their starts, once.
    fn plan(&self) -> Result<&Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan);
        }
        let found = self.found()?;
        let (old, new): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(name, version)| self.config.incremental && self.state.has(name, version));
        let mut table = Table::new(&self.config, &self.state)?;
        let mut files = Vec::with_capacity(new.len());
        for (name, version) in new {
            let (compression, head) = self.head(&mut table, &name)?;
            files.push(File {
                name,
                version,
                compression,
                head,
            });
        }
        // With nothing new the columns are those of what was read before.
        if let (true, Some((name, _))) = (files.is_empty(), old.last()) {
            self.head(&mut table, name)?;
        }
        let columns = table.columns()?;
        Ok(self.plan.get_or_init(|| Plan { files, columns }))
    }

    /// The files that there are now, in order of their names.
    fn found(&self) -> Result<Vec<(String, Version)>> {
        let path = &self.config.file_path;
        if !glob::is_pattern(path) {
            let object = object_store::head(path)?;
            return Ok(vec![(object.url.clone(), version(&object))]);
        }
        let listed = object_store::list(glob::folder(path))?;
        let found: Vec<_> = listed
            .iter()
            .filter(|object| glob::matches(path, &object.url))
            .map(|object| (object.url.clone(), version(object)))
            .collect();
        let is_known = !self.config.declared.is_empty() || !self.state.columns().is_empty();
        if found.is_empty() && !is_known {
            return Err(
                Error::new(ErrorKind::NotFound, format!("no file matches `{path}`")).hint(
                    "check the path; where files may come later, declare the columns: `schema: [{name: id, type: int64}]`",
                ),
            );
        }
        Ok(found)
    }

    fn head(&self, table: &mut Table<'_>, name: &str) -> Result<(&'static str, Head)> {
        let compression = self.config.compression(name);
        let text = ByteReader::open(name, 0, compression)?;
        let head = table.add(text, &self.config.source(name)?)?;
        Ok((compression, head))
    }

    /// Where records begin near `targets`, bytes from the first record of `file`.
    fn cut(&self, file: &File, targets: &[u64]) -> Result<Vec<Boundary>> {
        let first = file.start();
        let targets: Vec<u64> = targets
            .iter()
            .filter(|target| **target > 0)
            .map(|target| first.offset + target)
            .collect();
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let text = ByteReader::open(&file.name, first.offset, "none")?;
        let format = self.config.source(&file.name)?.format;
        boundaries(text, format, first, &targets)
    }
}

impl File {
    fn is_plain(&self) -> bool {
        self.compression == "none"
    }

    /// The first record.
    fn start(&self) -> Boundary {
        Boundary {
            offset: self.head.offset,
            line: self.head.line,
        }
    }

    /// About how many bytes of text there are to read.
    fn weight(&self) -> u64 {
        match self.is_plain() {
            true => self.version.size.saturating_sub(self.head.offset),
            false => self.version.size.saturating_mul(EXPANSION),
        }
    }

    fn part(&self, start: Boundary, end: Option<u64>) -> Part {
        Part {
            file: self.name.clone(),
            version: self.version.clone(),
            compression: self.compression.to_owned(),
            start: start.offset,
            end,
            first_line: start.line,
            order: self.head.order.clone(),
        }
    }
}

/// The parts of a split, one after the other.
struct Piece {
    split: Split,
    config: Config,
    rows: Rows,
    /// Index of the part that is open, or comes next.
    at: usize,
    open: Option<Open>,
    /// Of all parts, as far as that is known, and of those that were read.
    bytes: u64,
    bytes_before: u64,
}

/// A part being read.
struct Open {
    text: Text<ByteReader>,
    /// Bytes of text that were read before its first record.
    skipped: u64,
}

impl Batches for Piece {
    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let max_rows = max_rows.min(self.config.batch_size);
        while let Some(part) = self.split.parts.get(self.at) {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(open(part, &self.config)?),
            };
            if self.rows.fill(&mut open.text, max_rows)? {
                break;
            }
            if open.text.window.missing(length(part)) > 0 {
                return Err(changed(part));
            }
            unchanged(part)?;
            self.bytes_before += part_bytes(part);
            self.open = None;
            self.at += 1;
        }
        self.rows.finish()
    }

    fn progress(&self) -> Option<f32> {
        let here = match (&self.open, self.split.parts.get(self.at)) {
            (Some(open), Some(part)) if part.end.is_some() => {
                open.text.window.consumed() - open.skipped
            }
            _ => 0,
        };
        let read = self.bytes_before + here;
        (self.bytes > 0).then(|| (read as f64 / self.bytes as f64) as f32)
    }

    fn end(&mut self) -> Result<String> {
        self.split.end_text()
    }
}

fn open(part: &Part, config: &Config) -> Result<Open> {
    unchanged(part)?;
    let window = if part.end.is_some() {
        let text = ByteReader::open(&part.file, part.start, &part.compression)?;
        Window::new(text, length(part), part.first_line)
    } else {
        let text = ByteReader::open(&part.file, 0, &part.compression)?;
        let mut window = Window::new(text, None, 1);
        window.skip(part.start, part.first_line)?;
        window
    };
    Ok(Open {
        skipped: window.consumed(),
        text: Text {
            window,
            source: config.source(&part.file)?,
            order: part.order.clone(),
        },
    })
}

/// Bytes of text, where that is known.
fn length(part: &Part) -> Option<u64> {
    part.end.map(|end| end.saturating_sub(part.start))
}

/// Bytes of text, or of the compressed file.
fn part_bytes(part: &Part) -> u64 {
    length(part).unwrap_or(part.version.size)
}

/// Refuses a file that is not the one that was planned.
fn unchanged(part: &Part) -> Result<()> {
    let object = object_store::head(&part.file)?;
    if version(&object) == part.version {
        Ok(())
    } else {
        Err(changed(part))
    }
}

fn version(object: &object_store::Object) -> Version {
    Version {
        size: object.size,
        modified_ms: object.modified_ms,
    }
}

fn changed(part: &Part) -> Error {
    Error::unavailable(format!("`{}` changed while it was read", part.file))
        .hint("run the job again once the file is complete")
}

dativo_connector::export_reader!(CsvReader);
