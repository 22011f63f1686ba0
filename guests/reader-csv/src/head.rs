//! The start of each file: what is skipped, the header, and a sample for the types.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use dativo_connector::{Error, Result};

use crate::columns::Encoding;
use crate::config::{Config, Declared};
use crate::infer::Evidence;
use crate::rows::{Source, shown};
use crate::scan::{Bounds, Field, Found, scan};
use crate::split::State;
use crate::types::{Column, Origin, Type};
use crate::window::Window;

/// Text that a sample reads at most, in bytes, but for one longer record.
const SAMPLE_BYTES: usize = 4 << 20;

/// What columns of the state are from, for messages.
const EARLIER_RUNS: &str = "what earlier runs read";

const OTHER_COLUMNS: &str = "all files of a job have the same columns; read others with a job of their own, or everything \
    again after `dativo-wasm state reset`";

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where the records of a file begin, and in which order its columns are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the first data record may begin, in bytes of text.
    pub offset: u64,
    /// Its physical line, from 1.
    pub line: u64,
    /// For each column of the table its place in a record, where that is another one.
    pub order: Option<Vec<usize>>,
}

/// The columns of a table, as earlier runs read them, or as the starts of its files show them.
pub struct Table<'a> {
    config: &'a Config,
    state: &'a State,
    /// None until a file has a record or a header.
    known: Option<Known>,
    /// The first file that is empty.
    empty: Option<Error>,
    /// Records and bytes that the sample may still read.
    left: (usize, usize),
}

struct Known {
    /// Where they are from, for messages.
    from: String,
    columns: Vec<Named>,
    evidence: Vec<Evidence>,
}

impl<'a> Table<'a> {
    pub fn new(config: &'a Config, state: &'a State) -> Result<Self> {
        let mut table = Self {
            config,
            state,
            known: None,
            empty: None,
            left: (config.sample_rows, SAMPLE_BYTES),
        };
        // Without a header columns have no names that could be held against others.
        if config.header && !state.columns().is_empty() {
            let names = state.columns().iter().map(|column| column.name.clone());
            table.know(names.collect(), EARLIER_RUNS.to_owned())?;
        }
        Ok(table)
    }

    /// Reads the head of the file that begins with `text`.
    pub fn add(&mut self, text: impl BufRead, source: &Source) -> Result<Head> {
        let mut reader = Reader {
            window: Window::new(text, None, 1),
            source,
            fields: Vec::new(),
        };
        reader.mark()?;
        reader.skip_lines(self.config.skip_rows)?;
        let header = if self.config.header {
            reader.header()?
        } else {
            None
        };
        let (offset, line) = (reader.window.consumed(), reader.window.line());
        let width = match &header {
            Some(names) => Some(names.len()),
            None if self.config.header => None,
            None => reader.peek()?.map(<[Field]>::len),
        };
        let order = match width {
            Some(width) => {
                let order = self.enter(header, width, source)?;
                self.sample(&mut reader, order.as_deref())?;
                order
            }
            None => {
                self.empty.get_or_insert_with(|| empty(self.config, source));
                None
            }
        };
        Ok(Head {
            offset,
            line,
            order,
        })
    }

    /// The columns, with the job's types, those of earlier runs, or what the sample suggests.
    pub fn columns(self) -> Result<Vec<Column>> {
        let Some(known) = self.known else {
            return match self.empty {
                _ if !self.config.declared.is_empty() => {
                    Ok(self.config.declared.iter().map(Declared::column).collect())
                }
                _ if !self.state.columns().is_empty() => Ok(self.state.columns().to_vec()),
                Some(error) => Err(error),
                None => Ok(Vec::new()),
            };
        };
        let columns = known.columns.into_iter().zip(known.evidence);
        let columns = columns.map(|(Named { name, known }, evidence)| {
            let (kind, origin) = known.unwrap_or_else(|| (evidence.resolve(), Origin::Sampled));
            Column { name, kind, origin }
        });
        Ok(columns.collect())
    }

    /// Takes in the columns of one more file. For each column of the table its place in this file, where that is
    /// another one.
    fn enter(
        &mut self,
        header: Option<Vec<String>>,
        width: usize,
        source: &Source,
    ) -> Result<Option<Vec<usize>>> {
        let Some(header) = header else {
            return self.enter_numbered(width, source).map(|()| None);
        };
        let names = numbered_where_empty(header);
        let places = places(&names, self.config, source)?;
        let Some(known) = &self.known else {
            self.know(names, source.file.clone())?;
            return Ok(None);
        };
        let refused = |verb: &str, name: &str, stands: &str| {
            let (file, name, from) = (&source.file, shown(name.as_bytes()), &known.from);
            Error::invalid_data(format!(
                "{file} {verb} column {name}, which {stands} in {from}"
            ))
            .hint(OTHER_COLUMNS)
        };
        let mut order = Vec::with_capacity(known.columns.len());
        for Named { name, .. } in &known.columns {
            let place = places.get(name.as_str());
            order.push(*place.ok_or_else(|| refused("lacks", name, "is"))?);
        }
        if names.len() > order.len() {
            let known_names: HashSet<&str> = known
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            let mut more = names
                .iter()
                .filter(|name| !known_names.contains(name.as_str()));
            return Err(refused(
                "has",
                more.next().map_or("", String::as_str),
                "is not",
            ));
        }
        let is_same = order
            .iter()
            .enumerate()
            .all(|(column, place)| column == *place);
        Ok((!is_same).then_some(order))
    }

    /// As [`enter`](Self::enter), of a file without a header.
    fn enter_numbered(&mut self, width: usize, source: &Source) -> Result<()> {
        let (expected, from) = match (&self.known, self.state.columns()) {
            (Some(known), _) => (known.columns.len(), known.from.as_str()),
            (None, []) => (width, ""),
            (None, before) => (before.len(), EARLIER_RUNS),
        };
        if width != expected {
            return Err(Error::invalid_data(format!(
                "{} has {width} columns, and there are {expected} in {from}",
                source.file
            ))
            .hint(OTHER_COLUMNS));
        }
        if self.known.is_none() {
            let names = name_by_number(width, self.config, source)?;
            self.know(names, source.file.clone())?;
        }
        Ok(())
    }

    /// Takes `names` for the columns of the table.
    fn know(&mut self, names: Vec<String>, from: String) -> Result<()> {
        let declared = declared_types(&names, self.config, &from)?;
        let columns = names.into_iter().zip(declared).map(|(name, declared)| {
            let remembered = || Some((self.state.type_of(&name)?, Origin::Remembered));
            let known = declared
                .map(|kind| (kind, Origin::Declared))
                .or_else(remembered);
            Named { name, known }
        });
        let columns: Vec<Named> = columns.collect();
        self.known = Some(Known {
            from,
            evidence: vec![Evidence::default(); columns.len()],
            columns,
        });
        Ok(())
    }

    /// Adds what the first records of a file show.
    fn sample<R: BufRead>(
        &mut self,
        reader: &mut Reader<'_, R>,
        order: Option<&[usize]>,
    ) -> Result<()> {
        let (records, bytes) = self.left;
        let Some(known) = &mut self.known else {
            return Ok(());
        };
        let is_needed = known.columns.iter().any(|named| named.known.is_none());
        if !is_needed || records == 0 || bytes == 0 {
            return Ok(());
        }
        let width = known.columns.len();
        let (found, length) = reader.scan(records, bytes, Some(width))?;
        self.left = (records - found, bytes.saturating_sub(length));
        let text = reader.window.text();
        let mut scratch = Vec::new();
        for record in reader.fields.chunks_exact(width) {
            for (column, evidence) in known.evidence.iter_mut().enumerate() {
                let place = order.map_or(column, |order| order[column]);
                let value = record[place].value(text, reader.source.format, &mut scratch);
                if !reader.source.nulls.contain(value) {
                    evidence.add(value);
                }
            }
        }
        Ok(())
    }
}

fn empty(config: &Config, source: &Source) -> Error {
    let what = if config.header {
        "no header"
    } else {
        "no record"
    };
    let after = if config.skip_rows > 0 {
        " after `skip_rows`"
    } else {
        ""
    };
    Error::invalid_data(format!("{} has {what}: it is empty{after}", source.file)).hint(
        "declare the columns of a file that may be empty: `schema: [{name: id, type: int64}]`",
    )
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
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd data", "set `compression: zstd`"),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => {
                ("bzip2 data", "set `compression: bzip2`")
            }
            [b'P', b'A', b'R', b'1', ..] => ("a Parquet file", "name a CSV file in `file_path`"),
            text => {
                if self.source.encoding == Encoding::Utf8 && text.starts_with(BOM) {
                    self.window.consume(BOM.len());
                }
                return Ok(());
            }
        };
        Err(Error::invalid_data(format!("{} is {what}, not text", self.source.file)).hint(hint))
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

    fn skip_lines(&mut self, count: usize) -> Result<()> {
        for skipped in 0..count {
            if !self.skip_line()? {
                return Err(Error::invalid_data(format!(
                    "{} ends after line {skipped}; `skip_rows` is {count}",
                    self.source.file
                ))
                .hint("lower `skip_rows`"));
            }
        }
        Ok(())
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
            self.source.encoding.decode(name).into_owned()
        });
        let names = names.collect();
        let (_, bytes) = self.scan(1, usize::MAX, None)?;
        self.window.consume(bytes);
        Ok(Some(names))
    }
}

struct Named {
    name: String,
    /// Its type, where no sample is needed.
    known: Option<(Type, Origin)>,
}

/// The names of columns without a header: from `schema`, or their numbers.
fn name_by_number(width: usize, config: &Config, source: &Source) -> Result<Vec<String>> {
    let declared = &config.declared;
    let numbers: Vec<String> = (0..width).map(numbered).collect();
    if declared.iter().all(|column| numbers.contains(&column.name)) {
        return Ok(numbers);
    }
    if declared.len() == width {
        return Ok(declared.iter().map(|column| column.name.clone()).collect());
    }
    Err(Error::invalid_config(format!(
        "`schema` lists {} columns; {} has {width}",
        declared.len(),
        source.file
    ))
    .hint(
        "list all columns in order, or some by number: `schema: [{name: column_2, type: string}]`",
    ))
}

/// The job's types of the columns `names`, which are those of `from`.
fn declared_types(names: &[String], config: &Config, from: &str) -> Result<Vec<Option<Type>>> {
    let mut types: HashMap<&str, Type> = HashMap::new();
    let known: HashSet<&str> = names.iter().map(String::as_str).collect();
    for column in &config.declared {
        let name = column.name.as_str();
        if !known.contains(name) {
            let names: Vec<String> = names
                .iter()
                .take(20)
                .map(|name| shown(name.as_bytes()))
                .collect();
            return Err(Error::invalid_config(format!(
                "`schema` declares `{name}`, which is no column of {from}"
            ))
            .hint(format!("its columns are {}", names.join(", "))));
        }
        if types.insert(name, column.kind).is_some() {
            return Err(Error::invalid_config(format!(
                "`schema` declares `{name}` twice"
            )));
        }
    }
    let types = names.iter().map(|name| types.get(name.as_str()).copied());
    Ok(types.collect())
}

/// The place of every name in a record.
fn places<'a>(
    names: &'a [String],
    config: &Config,
    source: &Source,
) -> Result<HashMap<&'a str, usize>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(before) = places.insert(name, index) {
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
    Ok(places)
}

fn numbered_where_empty(names: Vec<String>) -> Vec<String> {
    let named = names.into_iter().enumerate();
    named
        .map(|(index, name)| match name.as_str() {
            "" => numbered(index),
            _ => name,
        })
        .collect()
}

fn numbered(index: usize) -> String {
    format!("column_{}", index + 1)
}
