//! Records to batches, and errors with their place in the file.
//!
//! Knows no host: any [`BufRead`] will do.

use std::io::BufRead;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dativo_connector::{Error, Result};

use crate::columns::{Builder, Chunk, Encoding, Misfit, Nulls};
use crate::scan::{Bounds, Broken, Field, Format, Found, MAX_FIELDS, Why, scan};
use crate::types::{Column, Origin, arrow_schema};
use crate::window::{MAX_RECORD_BYTES, Window};

/// Arrow data in a batch, in bytes, save for a longer record. Smaller ones stay in the caches from the parser to
/// the encoder, and in memory that the host's allocator keeps at hand: above a megabyte it asks the system each time.
const BATCH_BYTES: usize = 900 << 10;

/// What a column adds to a batch at least, in bytes, so that a wide table does not send its schema over and over.
const COLUMN_BYTES: usize = 2 << 10;

/// Most Arrow data in a batch of a wide table, in bytes.
const WIDE_BATCH_BYTES: usize = 4 << 20;

/// Text that is scanned before its values are parsed, in bytes: it and its fields stay in the caches.
const CHUNK_BYTES: usize = 64 << 10;

/// Longest value that an error shows, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// Collects the records of texts into batches.
pub struct Rows {
    columns: Vec<Column>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    fields: Vec<Field>,
    /// Bytes of Arrow data of a record, beside its text.
    record_width: usize,
    batch_bytes: usize,
    /// Of the batch that is being filled.
    rows: usize,
    bytes: usize,
}

/// One text being read.
pub struct Text<R> {
    pub window: Window<R>,
    pub source: Source,
    /// For each column its place in a record, where that is another one.
    pub order: Option<Vec<usize>>,
}

/// What is read, and by which rules.
#[derive(Clone, Debug)]
pub struct Source {
    /// Named in errors.
    pub file: String,
    pub format: Format,
    pub nulls: Nulls,
    pub encoding: Encoding,
}

impl Rows {
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            schema: arrow_schema(&columns),
            builders: columns.iter().map(Builder::new).collect(),
            record_width: columns.iter().map(|column| column.kind.width()).sum(),
            fields: Vec::new(),
            batch_bytes: (columns.len() * COLUMN_BYTES).clamp(BATCH_BYTES, WIDE_BATCH_BYTES),
            columns,
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds records of `text` to the batch, which has at most `max_rows`. False where the text ended before the
    /// batch was full.
    pub fn fill<R: BufRead>(&mut self, text: &mut Text<R>, max_rows: usize) -> Result<bool> {
        while self.rows < max_rows && self.bytes < self.batch_bytes {
            let room = (self.batch_bytes - self.bytes).div_ceil(self.record_width + 1);
            let bounds = Bounds {
                records: room.min(max_rows - self.rows),
                bytes: CHUNK_BYTES.min(self.batch_bytes - self.bytes),
                width: Some(self.columns.len()),
                at_end: text.window.is_at_end(),
            };
            let Text { window, source, .. } = text;
            let found = scan(window.text(), source.format, bounds, &mut self.fields)
                .map_err(|broken| source.broken(window, &broken, self.columns.len()))?;
            if found.bytes == 0 {
                if window.is_at_end() {
                    return Ok(false);
                }
                source.grow(window, &found)?;
                continue;
            }
            source.check_utf8(window, &found)?;
            self.append(text, found.is_ascii)?;
            text.window.consume(found.bytes);
            self.rows += found.records;
            self.bytes += found.bytes + found.records * self.record_width;
        }
        Ok(true)
    }

    /// The batch that was filled; none where nothing was.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        (self.rows, self.bytes) = (0, 0);
        let arrays = self
            .builders
            .iter_mut()
            .map(Builder::finish)
            .collect::<Result<_, _>>();
        let batch = arrays.and_then(|arrays| RecordBatch::try_new(self.schema.clone(), arrays));
        batch
            .map(Some)
            .map_err(|error| Error::internal(error.to_string()))
    }

    /// Parses the records in `fields`.
    fn append<R: BufRead>(&mut self, text: &Text<R>, is_ascii: bool) -> Result<()> {
        let chunk = Chunk {
            text: text.window.text(),
            format: text.source.format,
            nulls: &text.source.nulls,
            is_latin1: text.source.encoding == Encoding::Latin1 && !is_ascii,
            fields: &self.fields,
            width: self.columns.len(),
        };
        // In order of columns for speed: with several misfits in a chunk, the first column's is shown.
        for (index, builder) in self.builders.iter_mut().enumerate() {
            let place = text.place(index);
            if let Err(Misfit(record)) = builder.append(&chunk, place) {
                let field = self.fields[record * self.columns.len() + place];
                return Err(text.misfit(field, place, &self.columns[index]));
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Text<R> {
    /// Where in a record column `index` is.
    fn place(&self, index: usize) -> usize {
        self.order.as_ref().map_or(index, |order| order[index])
    }

    /// A value that is not of its column's type.
    #[cold]
    fn misfit(&self, field: Field, place: usize, column: &Column) -> Error {
        let Column { name, kind, origin } = column;
        let Self { source, window, .. } = self;
        let mut scratch = Vec::new();
        let value = field.value(window.text(), source.format, &mut scratch);
        let line = window.line_of(field.start());
        let declare = format!(
            "schema: [{{name: {}, type: string}}]",
            quoted_if_needed(name)
        );
        let error = Error::invalid_data(format!(
            "{}: {} is not {}",
            source.place(line, place, Some(name)),
            shown(source.encoding.decode(value).as_bytes()),
            kind.with_article(),
        ));
        error.hint(match origin {
            Origin::Declared => format!("correct the file, or declare another type: `{declare}`"),
            Origin::Sampled => format!(
                "the sample suggested {kind}; declare the type, `{declare}`, or raise `sample_rows`"
            ),
            Origin::Remembered => format!(
                "earlier runs read this column as {kind}; declare the type, `{declare}`, or correct the file"
            ),
        })
    }
}

impl Source {
    /// Makes the text longer, within the limit on a record.
    pub fn grow<R: BufRead>(&self, window: &mut Window<R>, found: &Found) -> Result<()> {
        if window.text().len() <= MAX_RECORD_BYTES {
            return window.fill();
        }
        let limit = MAX_RECORD_BYTES >> 20;
        let error = Error::invalid_data(match found.open_quote {
            Some(at) => format!(
                "{} line {}: the quote that opens here does not close within {limit} MiB",
                self.file,
                window.line_of(at)
            ),
            None => format!(
                "{} line {}: the record that begins here is longer than {limit} MiB",
                self.file,
                window.line()
            ),
        });
        Err(error.hint("check `quote` and `delimiter`, or correct the file"))
    }

    /// Refuses scanned records that are not UTF-8.
    pub fn check_utf8<R: BufRead>(&self, window: &Window<R>, found: &Found) -> Result<()> {
        if found.is_ascii || self.encoding != Encoding::Utf8 {
            return Ok(());
        }
        let text = &window.text()[..found.bytes];
        let Err(error) = std::str::from_utf8(text) else {
            return Ok(());
        };
        let at = error.valid_up_to();
        let line_start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1);
        Err(Error::invalid_data(format!(
            "{} line {}, byte {}: `0x{:02x}` is not UTF-8",
            self.file,
            window.line_of(at),
            at - line_start + 1,
            text[at]
        ))
        .hint("set `encoding: latin-1` if that is what it is, or convert the file: `iconv -f CODE -t utf-8 IN > OUT`"))
    }

    /// The error of a text that breaks the rules; `width` is how many fields a record should have.
    #[cold]
    pub fn broken<R: BufRead>(&self, window: &Window<R>, broken: &Broken, width: usize) -> Error {
        let line = window.line_of(broken.at);
        let place = |name| self.place(line, broken.column, name);
        match broken.why {
            Why::UnclosedQuote => Error::invalid_data(format!(
                "{}: the quote that opens here never closes",
                place(None)
            ))
            .hint("close it, or turn quoting off with `quote: \"\"`"),
            Why::TextAfterQuote => Error::invalid_data(format!(
                "{}: text follows a closing quote: {}",
                place(None),
                shown(&window.text()[broken.at..(broken.at + 20).min(window.text().len())])
            ))
            .hint("double a quote that is part of a value, or check `delimiter` and `quote`"),
            Why::LoneCarriageReturn => Error::invalid_data(format!(
                "{}: a carriage return without a line feed outside quotes",
                place(None)
            ))
            .hint("quote the field, or convert line ends: `tr '\\r' '\\n' < IN > OUT`"),
            Why::TooManyFields => Error::invalid_data(format!(
                "{} line {line}: the record has more than {MAX_FIELDS} fields",
                self.file
            ))
            .hint("check `delimiter` and `quote`, or correct the record"),
            Why::Width(count) => Error::invalid_data(format!(
                "{}: the record has {} where {width} are expected",
                place(None),
                fields(count)
            ))
            .hint("check `delimiter` and `quote`, or correct the record"),
        }
    }

    fn place(&self, line: u64, index: usize, name: Option<&str>) -> String {
        let column = index + 1;
        match name {
            Some(name) => format!("{} line {line}, column {column} `{name}`", self.file),
            None => format!("{} line {line}, column {column}", self.file),
        }
    }
}

fn fields(count: usize) -> String {
    if count == 1 {
        "1 field".to_owned()
    } else {
        format!("{count} fields")
    }
}

/// A value for a message: cut, and in backticks.
pub fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN_CHARACTERS * 4 + 4)]);
    let mut characters = text.chars();
    let cut: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!(
        "`{}{more}`",
        cut.escape_debug()
            .to_string()
            .replace("\\\"", "\"")
            .replace("\\'", "'")
    )
}

/// A name as YAML takes it.
fn quoted_if_needed(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&name.to_ascii_lowercase().as_str());
    if is_plain {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}
