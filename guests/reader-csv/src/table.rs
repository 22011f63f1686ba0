//! A file as a table: where its data begins, what its columns are, and its rows as batches.

use std::io::Read;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dativo_connector::{ByteReader, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::columns::{self, Builder};
use crate::config::Config;
use crate::infer::Guess;
use crate::scan::{Dialect, Field, Form, Found, Malformed, Problem};
use crate::value::Kind;

/// The longest record, in bytes: a batch of one must fit the largest batch of the contract.
const MAX_RECORD_BYTES: usize = 32 << 20;

/// How much is read at a time, in bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// A batch ends here, in bytes of text: large enough that the cost of a batch does not show, small
/// enough that several fit the memory of an instance.
const BATCH_BYTES: usize = 8 << 20;

/// Text from which types are inferred, in bytes.
const SAMPLE_BYTES: u64 = 4 << 20;

/// What of a value is shown in an error, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// A column of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// What was found out about a file before its rows are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    columns: Vec<Column>,
    /// Where the first record behind the header begins, in (uncompressed) bytes.
    pub data_offset: u64,
    /// The line that begins there, from 1.
    pub data_line: u64,
}

/// The part of a file that a piece reads.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub start: u64,
    pub end: Option<u64>,
    /// The line that begins at `start`.
    pub line: u64,
}

impl Config {
    pub fn dialect(&self) -> Dialect {
        // `check` has refused a config without them.
        Dialect {
            delimiter: self.delimiter_byte().unwrap_or(b','),
            quote: self.quote_byte().unwrap_or(b'"'),
        }
    }
}

impl Table {
    /// Reads the header and a sample of the file.
    pub fn of(config: &Config) -> Result<Self> {
        let input = ByteReader::open(&config.file_path, 0, &config.compression)?;
        Self::read(config, input)
    }

    fn read(config: &Config, input: impl Read) -> Result<Self> {
        let mut records = Records::new(
            config,
            input,
            Range {
                start: 0,
                end: None,
                line: 1,
            },
        );
        records.skip_preamble()?;
        let mut names = Vec::new();
        if config.header && records.next()? {
            names = header_names(&mut records)?;
        }
        let (data_offset, data_line) = records.place();
        let mut guesses: Vec<Guess> = vec![Guess::default(); names.len()];
        let mut rows = 0;
        while rows < config.sample_rows
            && records.place().0 - data_offset < SAMPLE_BYTES
            && records.next()?
        {
            if guesses.is_empty() && names.is_empty() {
                names = unnamed(config, records.fields.len())?;
                guesses = vec![Guess::default(); names.len()];
            }
            if records.is_blank(names.len()) {
                continue;
            }
            records.check_width(names.len())?;
            for (index, guess) in guesses.iter_mut().enumerate() {
                let (text, _) = records.field(index);
                if !config.is_null(text) {
                    guess.see(text);
                }
            }
            rows += 1;
        }
        if names.is_empty() {
            names = declared_names(config).unwrap_or_default();
            guesses = vec![Guess::default(); names.len()];
        }
        if names.is_empty() {
            return Err(Error::invalid_data(format!("`{}` is empty", config.file_path))
                .hint("a CSV file needs a header; for a file without one, set `header: false` and `schema`"));
        }
        let inferred = names.into_iter().zip(&guesses);
        let columns = inferred
            .map(|(name, guess)| Column {
                kind: guess.kind(),
                name,
            })
            .collect();
        Ok(Self {
            columns: declare(config, columns)?,
            data_offset,
            data_line,
        })
    }

    pub fn schema(&self) -> SchemaRef {
        columns::schema(&self.columns)
    }
}

fn header_names<R: Read>(records: &mut Records<R>) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for index in 0..records.fields.len() {
        let (text, _) = records.field(index);
        let name = match std::str::from_utf8(text) {
            Ok("") => format!("column_{}", index + 1),
            Ok(name) => name.to_owned(),
            Err(_) => {
                return Err(records
                    .error(index, "the name of a column is not UTF-8")
                    .hint("convert the file to UTF-8"));
            }
        };
        if names.contains(&name) {
            return Err(records
                .error(index, &format!("two columns are called `{name}`"))
                .hint(
                    "rename one in the file, or set `header: false`, `skip_rows: 1` and `schema`",
                ));
        }
        names.push(name);
    }
    Ok(names)
}

/// Names of the columns of a file without a header.
fn unnamed(config: &Config, count: usize) -> Result<Vec<String>> {
    match declared_names(config) {
        None => Ok((1..=count)
            .map(|number| format!("column_{number}"))
            .collect()),
        Some(names) if names.len() == count => Ok(names),
        Some(names) => Err(Error::invalid_config(format!(
            "`schema` declares {} columns, and `{}` has {count}",
            names.len(),
            config.file_path
        ))
        .hint("without a header, `schema` must name every column in order")),
    }
}

fn declared_names(config: &Config) -> Option<Vec<String>> {
    let declared = config.schema.as_ref().filter(|_| !config.header)?;
    Some(declared.iter().map(|column| column.name.clone()).collect())
}

/// The types that the job declares in place of the inferred ones.
fn declare(config: &Config, mut columns: Vec<Column>) -> Result<Vec<Column>> {
    for declared in config.schema.iter().flatten() {
        let Some(column) = columns
            .iter_mut()
            .find(|column| column.name == declared.name)
        else {
            let names: Vec<String> = columns
                .iter()
                .map(|column| format!("`{}`", column.name))
                .collect();
            return Err(Error::invalid_config(format!(
                "`schema` declares `{}`, which is no column of `{}`",
                declared.name, config.file_path
            ))
            .hint(format!("its columns are {}", names.join(", "))));
        };
        column.kind = declared.kind;
    }
    Ok(columns)
}

/// The rows of a piece, batch by batch.
pub struct Rows<R> {
    records: Records<R>,
    columns: Vec<Column>,
    builders: Vec<Builder>,
    schema: SchemaRef,
    /// Fields that stand for null.
    nulls: Vec<Vec<u8>>,
    batch_rows: usize,
}

impl<R: Read> Rows<R> {
    pub fn open(config: &Config, table: Table, input: R, range: Range) -> Result<Self> {
        let mut records = Records::new(config, input, range);
        if range.start == 0 {
            records.skip_preamble()?;
            if config.header {
                records.next()?;
            }
        }
        let builders = table
            .columns
            .iter()
            .map(|column| Builder::new(column.kind))
            .collect();
        Ok(Self {
            records,
            schema: table.schema(),
            builders,
            columns: table.columns,
            nulls: config
                .null_values
                .iter()
                .map(|null| null.clone().into_bytes())
                .collect(),
            batch_rows: config.batch_size,
        })
    }

    /// The next batch of 1 to `max_rows` rows; none at the end.
    pub fn next_batch(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let max_rows = max_rows.min(self.batch_rows);
        let (mut rows, mut bytes) = (0, 0);
        while rows < max_rows && bytes < BATCH_BYTES && self.records.next()? {
            if self.records.is_blank(self.columns.len()) {
                continue;
            }
            self.records.check_width(self.columns.len())?;
            self.push()?;
            rows += 1;
            bytes += self.records.record_bytes();
        }
        match rows {
            0 => Ok(None),
            _ => columns::finish(&mut self.builders, &self.schema).map(Some),
        }
    }

    /// Share of the piece that was read; none where its length is not known.
    pub fn progress(&self, file_bytes: u64) -> Option<f32> {
        let range = self.records.range;
        if self.records.config.is_compressed() {
            return None;
        }
        let length = range
            .end
            .unwrap_or(file_bytes)
            .saturating_sub(range.start)
            .max(1);
        let read = self.records.place().0.saturating_sub(range.start);
        Some((read as f64 / length as f64) as f32)
    }

    fn push(&mut self) -> Result<()> {
        for (index, builder) in self.builders.iter_mut().enumerate() {
            let (text, form) = self.records.field(index);
            let may_be_null = form == Form::Plain || !builder.is_text();
            if may_be_null && self.nulls.iter().any(|null| null == text) {
                builder.push_null();
            } else if !builder.push(text) {
                return Err(self.mismatch(index));
            }
        }
        Ok(())
    }

    /// The error of a field that is not of its column's type.
    fn mismatch(&mut self, index: usize) -> Error {
        let Some(Column { name, kind }) = self.columns.get(index).cloned() else {
            return Error::internal("a field without a column");
        };
        let (text, _) = self.records.field(index);
        let shown = shown(text);
        if kind == Kind::String {
            return self
                .records
                .error(index, &format!("`{shown}` in `{name}` is not UTF-8"))
                .hint("convert the file to UTF-8");
        }
        self.records.error(index, &format!("`{shown}` in `{name}` is no {}", kind.name())).hint(
            format!(
                "correct the value, or declare the column: `schema: [{{ name: {name}, type: string }}]`; \
                 `null_values` names fields that stand for null, `sample_rows` how many are looked at"
            ),
        )
    }
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().count() > SHOWN_CHARACTERS {
        shown.push('…');
    }
    shown
}

/// Records of a stream, one at a time, with their place in the file.
struct Records<R> {
    config: Config,
    dialect: Dialect,
    input: R,
    range: Range,
    buffer: Vec<u8>,
    /// Where the current record begins in the buffer, and where the next one does.
    record: usize,
    next: usize,
    /// Where the buffer begins in the file.
    buffer_offset: u64,
    /// The first line of the current record, and of the next one.
    line: u64,
    next_line: u64,
    is_last: bool,
    fields: Vec<Field>,
    scratch: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn new(config: &Config, input: R, range: Range) -> Self {
        Self {
            config: config.clone(),
            dialect: config.dialect(),
            input,
            range,
            buffer: Vec::new(),
            record: 0,
            next: 0,
            buffer_offset: range.start,
            line: range.line,
            next_line: range.line,
            is_last: false,
            fields: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Where the next record begins: offset in the file, and line.
    fn place(&self) -> (u64, u64) {
        (self.buffer_offset + self.next as u64, self.next_line)
    }

    fn record_bytes(&self) -> usize {
        self.next - self.record
    }

    /// Passes the byte order mark and the lines that are no part of the table.
    fn skip_preamble(&mut self) -> Result<()> {
        while self.buffer.len() < 3 && !self.is_last {
            self.fill()?;
        }
        if self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.next = 3;
        }
        for _ in 0..self.config.skip_rows {
            loop {
                if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.next..]) {
                    self.next += at + 1;
                    self.next_line += 1;
                    break;
                }
                self.next = self.buffer.len();
                if self.is_last {
                    return Ok(());
                }
                self.fill()?;
            }
        }
        Ok(())
    }

    /// Moves to the next record; false at the end.
    fn next(&mut self) -> Result<bool> {
        self.line = self.next_line;
        loop {
            let rest = &self.buffer[self.next..];
            match self.dialect.scan(rest, self.is_last, &mut self.fields) {
                Ok(Found::Record { length, lines }) => {
                    self.record = self.next;
                    self.next += length;
                    self.next_line += lines;
                    return Ok(true);
                }
                Ok(Found::End) => return Ok(false),
                Ok(Found::Incomplete) if rest.len() > MAX_RECORD_BYTES => {
                    return Err(Error::new(
                        ErrorKind::LimitExceeded,
                        format!(
                            "{}: a record is longer than 32 MiB",
                            self.file_and_line(self.line)
                        ),
                    )
                    .hint("look for a quote that is never closed"));
                }
                Ok(Found::Incomplete) => self.fill()?,
                Err(malformed) => return Err(self.malformed(malformed)),
            }
        }
    }

    /// Reads on, keeping what is not consumed.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.next);
        self.buffer_offset += self.next as u64;
        (self.record, self.next) = (0, 0);
        let wanted = match self.range.end {
            None => BLOCK_BYTES as u64,
            Some(end) => {
                let read = self.buffer_offset + self.buffer.len() as u64;
                (BLOCK_BYTES as u64).min(end.saturating_sub(read))
            }
        };
        let mut block = self.input.by_ref().take(wanted);
        let count = block
            .read_to_end(&mut self.buffer)
            .map_err(ByteReader::error)?;
        self.is_last = (count as u64) < wanted || wanted == 0;
        Ok(())
    }

    /// The text of a field of the current record.
    fn field(&mut self, index: usize) -> (&[u8], Form) {
        match self.fields.get(index) {
            Some(field) => {
                let record = &self.buffer[self.record..];
                (
                    self.dialect.text(record, *field, &mut self.scratch),
                    field.form,
                )
            }
            None => (&[], Form::Plain),
        }
    }

    /// A line without anything is no row, unless rows are that short.
    fn is_blank(&self, width: usize) -> bool {
        width > 1
            && matches!(*self.fields, [Field { start, end, form: Form::Plain }] if start == end)
    }

    fn check_width(&self, width: usize) -> Result<()> {
        let found = self.fields.len();
        if found == width {
            return Ok(());
        }
        let column = found.min(width);
        Err(self
            .error(
                column.saturating_sub(1),
                &format!("the row has {found} fields where {width} are expected"),
            )
            .hint("correct the row, or the `delimiter` and `quote` of the job"))
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        let rest = &self.buffer[self.next..];
        let before = &rest[..malformed.at.min(rest.len())];
        let line = self.next_line + memchr::memchr_iter(b'\n', before).count() as u64;
        let column = self.fields.len() + 1;
        let (what, hint) = match malformed.problem {
            Problem::Unbalanced => (
                "a quote opens here and is never closed",
                "close it, double quotes inside quotes, or set another `quote`",
            ),
            Problem::TextAfterQuote => (
                "text follows a closing quote",
                "double quotes inside quotes, or set another `quote`",
            ),
        };
        let place = self.file_and_line(line);
        Error::invalid_data(format!("{place}, column {column}: {what}")).hint(hint)
    }

    /// An error about a field of the current record.
    fn error(&self, index: usize, what: &str) -> Error {
        let start = self.fields.get(index).map_or(0, |field| field.start);
        let before = &self.buffer[self.record..self.record + start];
        let line = self.line + memchr::memchr_iter(b'\n', before).count() as u64;
        let place = self.file_and_line(line);
        Error::invalid_data(format!("{place}, column {}: {what}", index + 1))
    }

    fn file_and_line(&self, line: u64) -> String {
        format!("`{}`, line {line}", self.config.file_path)
    }
}
