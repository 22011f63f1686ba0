//! The start of a file: what is skipped, the header, and a sample for the types.

use std::collections::HashMap;
use std::io::BufRead;

use dativo_connector::{Error, Result};

use crate::config::{Config, Declared};
use crate::infer::Evidence;
use crate::rows::{Source, shown};
use crate::scan::{Bounds, Field, Found, scan};
use crate::types::{Column, Type};
use crate::window::Window;

/// Text that a sample reads at most, in bytes, but for one longer record.
const SAMPLE_BYTES: usize = 4 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What the start of a file says about the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub columns: Vec<Column>,
    /// Where the first data record may begin, in bytes of text.
    pub offset: u64,
    /// Its physical line, from 1.
    pub line: u64,
}

/// Reads the head of the file that begins with `text`.
pub fn read(text: impl BufRead, config: &Config, source: &Source) -> Result<Head> {
    let mut reader = Reader {
        window: Window::new(text, None, 1),
        source,
        fields: Vec::new(),
    };
    reader.mark()?;
    for skipped in 0..config.skip_rows {
        if !reader.skip_line()? {
            return Err(Error::invalid_data(format!(
                "{} ends after line {skipped}; `skip_rows` is {}",
                source.file, config.skip_rows
            ))
            .hint("lower `skip_rows`"));
        }
    }
    let header = if config.header {
        reader.header()?
    } else {
        None
    };
    let (offset, line) = (reader.window.consumed(), reader.window.line());
    let width = match &header {
        Some(names) => Some(names.len()),
        None => reader.peek()?.map(|first| first.len()),
    };
    let columns = match (width, header) {
        (None, _) => {
            if config.declared.is_empty() {
                let what = if config.header {
                    "no header"
                } else {
                    "no record"
                };
                return Err(Error::invalid_data(format!(
                    "{} has {what}: it is empty{}",
                    source.file,
                    if config.skip_rows > 0 { " after `skip_rows`" } else { "" },
                ))
                .hint("declare the columns of a file that may be empty: `schema: [{name: id, type: int64}]`"));
            }
            config.declared.iter().map(Declared::column).collect()
        }
        (Some(width), header) => {
            let names = name_columns(header, width, config, source)?;
            reader.infer(names, config)?
        }
    };
    Ok(Head {
        columns,
        offset,
        line,
    })
}

struct Reader<'a, R> {
    window: Window<R>,
    source: &'a Source,
    fields: Vec<Field>,
}

impl<R: BufRead> Reader<'_, R> {
    /// Passes over a byte order mark, and refuses files that are no text.
    fn mark(&mut self) -> Result<()> {
        self.window.fill()?;
        let (what, hint) = match self.window.text() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
                "UTF-16",
                "convert the file: `iconv -f utf-16 -t utf-8 IN > OUT`",
            ),
            [0x1f, 0x8b, ..] => ("gzip data", "set `compression: gzip`"),
            [b'P', b'K', 3, 4, ..] => ("a zip archive, as spreadsheets are", "export it as CSV"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd data", "decompress it: `zstd -d FILE`"),
            [b'P', b'A', b'R', b'1', ..] => ("a Parquet file", "name a CSV file in `file_path`"),
            text => {
                if text.starts_with(BOM) {
                    self.window.consume(BOM.len());
                }
                return Ok(());
            }
        };
        Err(
            Error::invalid_data(format!("{} is {what}, not UTF-8 text", self.source.file))
                .hint(hint),
        )
    }

    /// Scans whole records from the start of the text, at least one where there is one.
    fn scan(
        &mut self,
        records: usize,
        bytes: usize,
        width: Option<usize>,
    ) -> Result<(usize, usize)> {
        loop {
            let at_end = self.window.is_at_end();
            let bounds = Bounds {
                records,
                bytes,
                width,
                at_end,
            };
            let scanned = scan(
                self.window.text(),
                self.source.format,
                bounds,
                &mut self.fields,
            );
            let found = scanned.map_err(|broken| {
                self.source
                    .broken(&self.window, &broken, width.unwrap_or(0))
            })?;
            let is_full = found.records >= records || found.bytes >= bytes;
            // A sample of several records waits for all of its text.
            if is_full || at_end {
                self.source.check_utf8(&self.window, &found)?;
                return Ok((found.records, found.bytes));
            }
            if found.bytes == 0 || self.window.text().len() < bytes {
                self.source.grow(&mut self.window, &found)?;
            } else {
                self.source.check_utf8(&self.window, &found)?;
                return Ok((found.records, found.bytes));
            }
        }
    }

    /// Passes over a line, whatever its quotes. False at the end.
    fn skip_line(&mut self) -> Result<bool> {
        loop {
            let text = self.window.text();
            let length = match memchr::memchr(b'\n', text) {
                Some(newline) => newline + 1,
                None => text.len(),
            };
            if length > 0 && (text[length - 1] == b'\n' || self.window.is_at_end()) {
                self.window.consume(length);
                return Ok(true);
            }
            if self.window.is_at_end() {
                return Ok(false);
            }
            self.source.grow(&mut self.window, &Found::default())?;
        }
    }

    /// Passes over empty lines, and returns the fields of the record that follows. None at the end.
    fn peek(&mut self) -> Result<Option<&[Field]>> {
        loop {
            let (records, bytes) = self.scan(1, usize::MAX, None)?;
            if records == 0 {
                return Ok(None);
            }
            let is_empty =
                |field: &Field| field.raw(self.window.text()).is_empty() && !field.is_quoted();
            match self.fields.as_slice() {
                [only] if is_empty(only) => self.window.consume(bytes),
                _ => return Ok(Some(&self.fields)),
            }
        }
    }

    /// Passes over the header.
    fn header(&mut self) -> Result<Option<Vec<String>>> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let text = self.window.text();
        let mut scratch = Vec::new();
        let names = self.fields.iter().map(|field| {
            let name = field.value(text, self.source.format, &mut scratch);
            String::from_utf8_lossy(name).into_owned()
        });
        let names = names.collect();
        let (_, bytes) = self.scan(1, usize::MAX, None)?;
        self.window.consume(bytes);
        Ok(Some(names))
    }

    /// Columns of these names, with the job's types or those that a sample suggests.
    fn infer(&mut self, names: Vec<Named>, config: &Config) -> Result<Vec<Column>> {
        let width = names.len();
        let mut evidence = vec![Evidence::default(); width];
        if names.iter().any(|named| named.declared.is_none()) {
            self.scan(config.sample_rows, SAMPLE_BYTES, Some(width))?;
            let text = self.window.text();
            let mut scratch = Vec::new();
            for record in self.fields.chunks_exact(width) {
                for (field, evidence) in record.iter().zip(&mut evidence) {
                    let value = field.value(text, self.source.format, &mut scratch);
                    if !self.source.nulls.contain(value) {
                        evidence.add(value);
                    }
                }
            }
        }
        let columns = names
            .into_iter()
            .zip(evidence)
            .map(|(named, evidence)| Column {
                name: named.name,
                kind: named.declared.unwrap_or_else(|| evidence.resolve()),
                declared: named.declared.is_some(),
            });
        Ok(columns.collect())
    }
}

struct Named {
    name: String,
    declared: Option<Type>,
}

/// The names of a file's columns, from its header, from `schema`, or by their numbers.
fn name_columns(
    header: Option<Vec<String>>,
    width: usize,
    config: &Config,
    source: &Source,
) -> Result<Vec<Named>> {
    let declared = &config.declared;
    let names = match header {
        Some(names) => names
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                if name.is_empty() {
                    numbered(index)
                } else {
                    name
                }
            })
            .collect(),
        None => {
            let numbers: Vec<String> = (0..width).map(numbered).collect();
            let by_name = declared.iter().all(|column| numbers.contains(&column.name));
            if by_name {
                numbers
            } else if declared.len() == width {
                declared.iter().map(|column| column.name.clone()).collect()
            } else {
                return Err(Error::invalid_config(format!(
                    "`schema` lists {} columns; {} has {width}",
                    declared.len(),
                    source.file
                ))
                .hint("list all columns in order, or some by number: `schema: [{name: column_2, type: string}]`"));
            }
        }
    };
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(before) = positions.insert(name, index) {
            return Err(Error::invalid_data(format!(
                "{}: columns {} and {} are both named {}",
                source.file,
                before + 1,
                index + 1,
                shown(name.as_bytes())
            ))
            .hint(format!(
                "rename one, or set `header: false` and `skip_rows: {}`, and name all columns in `schema`",
                config.skip_rows + 1
            )));
        }
    }
    let mut types: HashMap<&str, Type> = HashMap::new();
    for column in declared {
        let name = column.name.as_str();
        if !positions.contains_key(name) {
            let known: Vec<String> = names
                .iter()
                .take(20)
                .map(|name| shown(name.as_bytes()))
                .collect();
            return Err(Error::invalid_config(format!(
                "`schema` declares `{name}`, which is no column of {}",
                source.file
            ))
            .hint(format!("its columns are {}", known.join(", "))));
        }
        if types.insert(name, column.kind).is_some() {
            return Err(Error::invalid_config(format!(
                "`schema` declares `{name}` twice"
            )));
        }
    }
    let declared = names
        .iter()
        .map(|name| types.get(name.as_str()).copied())
        .collect::<Vec<_>>();
    let named = names
        .into_iter()
        .zip(declared)
        .map(|(name, declared)| Named { name, declared });
    Ok(named.collect())
}

fn numbered(index: usize) -> String {
    format!("column_{}", index + 1)
}
