//! Rows of PostgreSQL's protocol, decoded into Arrow batches.
//!
//! Pure: no socket, no clock, no wasm. The catalog's answer and the description of a result make a [`Layout`]; the
//! bytes that follow go through a [`Decoder`]. Nothing on the wire is trusted: not a length, not a count, not a type.
//!
//! Rows are decoded in blocks. First the fields of some rows are found, then each column takes its own in one loop
//! that knows its type: one choice for each column and block, not for each value.

mod appender;
mod bits;
mod bytes;
mod catalog;
mod fixed;
mod form;
mod labels;
mod layout;
mod list;
mod nested;
mod numeric;
mod options;
mod print;
mod text;
mod wire;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};

pub use catalog::Catalog;
pub use layout::{Column, Invalid, Layout};
pub use options::Decoding;

use appender::Appender;
use wire::{Fault, Hint, Span, array};

/// Rows of one block. What is found of them must fit the first caches of a core with the bytes that it was found in.
const BLOCK_ROWS: usize = 128;

/// Bytes of the input that a block ends behind.
const BLOCK_BYTES: usize = 128 << 10;

/// Places for the fields of one block, at most: types with very many parts get shorter blocks.
const BLOCK_NODES: usize = 1 << 17;

/// Rows whose fields are found at the same time. Where a field begins is only known after the one before it; with
/// several rows a core has something to do while it waits.
const LANES: usize = 4;

/// Before the fields of a row: `D`, the length, and the number of fields.
const ROW_HEADER_BYTES: usize = 7;

/// A batch ends here whatever the caller allows: offsets of Arrow have 31 bits.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// Decodes the rows of one result.
pub struct Decoder {
    layout: Arc<Layout>,
    columns: Vec<Appender>,
    /// Of the open batch.
    rows: usize,
    bytes: usize,
    /// Before the open batch.
    rows_before: u64,
    block_rows: usize,
    /// Where the rows of the block begin and end.
    bodies: Vec<(usize, usize)>,
    /// Where the fields of the block lie, column by column.
    spans: Vec<Span>,
}

/// What [`Decoder::feed`] has done.
#[derive(Debug, PartialEq)]
pub struct Fed {
    /// Bytes of the input that are not needed any more.
    pub consumed: usize,
    pub next: Next,
}

/// What stands behind the bytes that were consumed.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A message that is not whole: it takes this many bytes, or at least so many.
    Input { wanted: usize },
    /// Whatever it is, the batch is full.
    Full,
    /// A message of this type, which is not a row.
    Message(u8),
}

/// Rows that cannot be decoded. The decoder is of no use after it.
#[derive(Debug, PartialEq)]
pub struct Broken {
    pub message: String,
    pub hint: Option<String>,
}

impl Decoder {
    pub fn new(layout: Arc<Layout>) -> Self {
        let width = layout.forms.len();
        let block_rows = (BLOCK_NODES / layout.nodes.max(1)).clamp(LANES, BLOCK_ROWS);
        Self {
            columns: layout.forms.iter().map(Appender::new).collect(),
            rows: 0,
            bytes: 0,
            rows_before: 0,
            block_rows,
            bodies: Vec::with_capacity(block_rows),
            spans: vec![Span::NULL; width * stride(block_rows)],
            layout,
        }
    }

    /// Decodes the rows at the start of `input`: until the open batch has `max_rows` rows or about `max_bytes` bytes,
    /// or to the end of those that are whole, or to a message that is not a row.
    pub fn feed(&mut self, input: &[u8], max_rows: usize, max_bytes: usize) -> Result<Fed, Broken> {
        // Positions have 32 bits.
        let input = &input[..input.len().min(u32::MAX as usize)];
        let max_bytes = max_bytes.min(MAX_BATCH_BYTES);
        let mut consumed = 0;
        loop {
            if self.rows > 0 && (self.rows >= max_rows || self.bytes >= max_bytes) {
                let next = Next::Full;
                return Ok(Fed { consumed, next });
            }
            let most = self.block_rows.min(max_rows.max(1) - self.rows);
            let (end, next) = self.find_rows(input, consumed, most)?;
            self.find_fields(input)?;
            self.append(input)?;
            consumed = end;
            if let Some(next) = next {
                return Ok(Fed { consumed, next });
            }
        }
    }

    /// Rows of the open batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What the open batch takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ends the open batch.
    pub fn finish(&mut self) -> Result<RecordBatch, Broken> {
        let schema = &self.layout.schema;
        let columns: Result<Vec<_>, _> = self
            .columns
            .iter_mut()
            .zip(schema.fields())
            .map(|(column, field)| column.finish(field.data_type()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = columns
            .and_then(|columns| {
                RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            })
            .map_err(|error| Broken {
                message: format!("the rows do not make a batch: {error}"),
                hint: None,
            })?;
        self.rows_before += self.rows as u64;
        self.rows = 0;
        self.bytes = 0;
        Ok(batch)
    }

    /// Finds up to `most` whole rows from `at` on. Answers where they end, and what stands there if it is no row.
    fn find_rows(
        &mut self,
        input: &[u8],
        mut at: usize,
        most: usize,
    ) -> Result<(usize, Option<Next>), Broken> {
        self.bodies.clear();
        let start = at;
        while self.bodies.len() < most && at - start < BLOCK_BYTES {
            match input.get(at) {
                Some(b'D') | None => {}
                Some(other) => return Ok((at, Some(Next::Message(*other)))),
            }
            let Some(length) = array(input, at + 1).map(i32::from_be_bytes) else {
                return Ok((at, Some(Next::Input { wanted: 5 })));
            };
            let length = usize::try_from(length).unwrap_or_default();
            if length < ROW_HEADER_BYTES - 1 {
                return Err(self.damaged(self.bodies.len()));
            }
            let Some(message) = input.get(at..at + 1 + length) else {
                return Ok((at, Some(Next::Input { wanted: 1 + length })));
            };
            let width = array(message, 5)
                .map(u16::from_be_bytes)
                .unwrap_or_default();
            if usize::from(width) != self.columns.len() {
                let what = format!("a row of {width} fields instead of {}", self.columns.len());
                return Err(self.broken(self.bodies.len(), None, &what, Hint::Nothing));
            }
            self.bodies.push((at + ROW_HEADER_BYTES, at + 1 + length));
            at += 1 + length;
        }
        Ok((at, None))
    }

    /// Finds the fields of the rows that were found.
    fn find_fields(&mut self, input: &[u8]) -> Result<(), Broken> {
        let stride = stride(self.block_rows);
        let (groups, rest) = self.bodies.as_chunks::<LANES>();
        for (number, group) in groups.iter().enumerate() {
            let row = number * LANES;
            if !split::<LANES>(input, group, &mut self.spans, stride, row) {
                return Err(self.damaged(row));
            }
        }
        let done = groups.len() * LANES;
        for (number, body) in rest.iter().enumerate() {
            let row = done + number;
            if !split(input, &[*body], &mut self.spans, stride, row) {
                return Err(self.damaged(row));
            }
        }
        Ok(())
    }

    fn append(&mut self, input: &[u8]) -> Result<(), Broken> {
        let count = self.bodies.len();
        let stride = stride(self.block_rows);
        let mut bytes = 0;
        for number in 0..self.columns.len() {
            let (column, field) = (&mut self.columns[number], self.layout.schema.field(number));
            let spans = &self.spans[number * stride..][..count];
            let nulls = column.validity().nulls();
            if let Err(fault) = column.append(input, spans) {
                let Fault { index, what, hint } = *fault;
                return Err(self.broken(index, Some(number), &what, hint));
            }
            bytes += column.bytes();
            if !field.is_nullable() && column.validity().nulls() > nulls {
                let index = column.validity().first_null(self.rows).unwrap_or(self.rows);
                let what = "a NULL in a column that is said to have none";
                return Err(self.broken(index - self.rows, Some(number), what, Hint::Nothing));
            }
        }
        self.bytes = bytes;
        self.rows += count;
        Ok(())
    }

    fn damaged(&self, index: usize) -> Broken {
        self.broken(
            index,
            None,
            "the fields of the row do not add up",
            Hint::Nothing,
        )
    }

    /// `index` is that of the row in the block.
    fn broken(&self, index: usize, column: Option<usize>, what: &str, hint: Hint) -> Broken {
        let row = self.rows_before + (self.rows + index) as u64 + 1;
        let name = column.map(|number| self.layout.schema.field(number).name().as_str());
        let place = match name {
            Some(name) => format!("row {row}, column `{name}`"),
            None => format!("row {row}"),
        };
        Broken {
            message: format!("{place}: {what}"),
            hint: name.and_then(|name| hint.words(name)),
        }
    }
}

/// Places from one column's fields to the next column's. Not a power of two, which would put those of all columns
/// into the same lines of a cache.
fn stride(block_rows: usize) -> usize {
    block_rows + 8
}

/// Finds the fields of `N` rows at once and puts them down from `row` on. Whether the fields fill the rows.
#[inline(always)]
fn split<const N: usize>(
    input: &[u8],
    bodies: &[(usize, usize); N],
    spans: &mut [Span],
    stride: usize,
    row: usize,
) -> bool {
    let mut at = bodies.map(|(start, _)| start);
    let mut is_whole = true;
    for column in spans.chunks_exact_mut(stride) {
        let Some(places) = column
            .get_mut(row..)
            .and_then(<[Span]>::first_chunk_mut::<N>)
        else {
            return false;
        };
        for (at, place) in at.iter_mut().zip(places) {
            let Some(len) = array(input, *at).map(i32::from_be_bytes) else {
                return false;
            };
            // Positions of the input have 32 bits.
            let start = (*at + 4) as u32;
            is_whole &= len >= -1;
            *place = Span { start, len };
            *at += 4 + len.max(0) as usize;
        }
    }
    // No field takes less than nothing: if the last one ends with its row, none went beyond it.
    is_whole && at.iter().zip(bodies).all(|(at, (_, end))| at == end)
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
