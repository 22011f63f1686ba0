//! Where records begin near given offsets, found by one pass over the text.
//!
//! It follows the rules of [`crate::scan`], but only has to look at quotes: outside quotes a quote
//! opens where the byte before it ends a field, and inside it closes unless another one follows.

use std::io::BufRead;

use dativo_connector::{ByteReader, Result};

use crate::scan::Format;
use crate::simd::{BLOCK, marks_of};
use crate::window::newlines;

/// The first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    pub offset: u64,
    /// Physical line, from 1.
    pub line: u64,
}

/// For each of `targets`, which ascend, the first record that begins there or after; `first` is a
/// record's start, and `source` begins there. None that falls on another, and none at the end.
pub fn boundaries(
    mut source: impl BufRead,
    format: Format,
    first: Boundary,
    targets: &[u64],
) -> Result<Vec<Boundary>> {
    let mut found: Vec<Boundary> = Vec::new();
    let mut cursor = Cursor {
        format,
        state: State::Plain,
        before: b'\n',
    };
    let mut here = first;
    let mut targets = targets.iter().copied().peekable();
    // A record's start is only that once a byte follows it.
    let mut pending = None;
    while targets.peek().is_some() || pending.is_some() {
        let block = source.fill_buf().map_err(ByteReader::error)?;
        if block.is_empty() {
            break;
        }
        found.extend(pending.take());
        let Some(&target) = targets.peek() else { break };
        if found.last().unwrap_or(&first).offset >= target {
            targets.next();
            continue;
        }
        // The newline before `target` makes a record start of it, and so belongs to the slow part.
        let far = usize::try_from((target - 1).saturating_sub(here.offset)).unwrap_or(usize::MAX);
        let length = if far > 0 {
            let length = far.min(block.len());
            cursor.skim(&block[..length]);
            length
        } else {
            match cursor.record_end(block) {
                Some(length) => {
                    targets.next();
                    let line = here.line + newlines(&block[..length]);
                    pending = Some(Boundary {
                        offset: here.offset + length as u64,
                        line,
                    });
                    length
                }
                None => block.len(),
            }
        };
        here.offset += length as u64;
        here.line += newlines(&block[..length]);
        source.consume(length);
    }
    Ok(found)
}

struct Cursor {
    format: Format,
    state: State,
    /// The byte before the next one.
    before: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Quoted,
    /// After a quote inside quotes: the next byte tells whether it was the closing one.
    Ending,
    /// After an escape character inside quotes: the next byte is plain.
    Escaped,
}

impl Cursor {
    /// Passes over `text`, quote by quote.
    fn skim(&mut self, text: &[u8]) {
        let (Some(quote), Some(&last)) = (self.format.quote, text.last()) else {
            return;
        };
        if self.format.escape.is_some() {
            text.iter().for_each(|byte| self.pass(*byte));
            return;
        }
        for (index, block) in text.chunks(BLOCK).enumerate() {
            let mut quotes = marks_of(block, quote);
            if quotes == 0 && self.state != State::Ending {
                continue;
            }
            let base = index * BLOCK;
            // Whether a quote that ended the last block was the closing one.
            if self.state == State::Ending {
                self.state = if quotes & 1 == 0 {
                    State::Plain
                } else {
                    State::Quoted
                };
                quotes &= !1;
            }
            while quotes != 0 {
                let bit = quotes.trailing_zeros() as usize;
                quotes &= quotes - 1;
                let at = base + bit;
                match self.state {
                    State::Quoted => match block.get(bit + 1) {
                        Some(&next) if next == quote => quotes &= quotes - 1,
                        Some(_) => self.state = State::Plain,
                        None => self.state = State::Ending,
                    },
                    State::Plain | State::Ending | State::Escaped => {
                        let before = if at == 0 { self.before } else { text[at - 1] };
                        if self.begins_field(before) {
                            self.state = State::Quoted;
                        }
                    }
                }
            }
        }
        self.before = last;
    }

    fn begins_field(&self, before: u8) -> bool {
        before == self.format.delimiter || before == b'\n'
    }

    /// Passes over the rest of a record, byte by byte. None where `text` ends before it.
    fn record_end(&mut self, text: &[u8]) -> Option<usize> {
        for (at, &byte) in text.iter().enumerate() {
            self.pass(byte);
            if byte == b'\n' && self.state == State::Plain {
                return Some(at + 1);
            }
        }
        None
    }

    /// Passes over one byte.
    #[inline(always)]
    fn pass(&mut self, byte: u8) {
        let is_quote = Some(byte) == self.format.quote;
        self.state = match self.state {
            State::Quoted if is_quote => State::Ending,
            State::Quoted if Some(byte) == self.format.escape => State::Escaped,
            State::Quoted | State::Escaped => State::Quoted,
            State::Ending if is_quote => State::Quoted,
            State::Plain if is_quote && self.begins_field(self.before) => State::Quoted,
            State::Plain | State::Ending => State::Plain,
        };
        self.before = byte;
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;
    use crate::scan::{Bounds, scan};

    const CSV: Format = Format {
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
    };
    const START: Boundary = Boundary { offset: 0, line: 1 };

    const ESCAPED: Format = Format {
        escape: Some(b'\\'),
        ..CSV
    };

    /// Every record start that the scanner sees.
    fn starts(text: &[u8], format: Format) -> Vec<u64> {
        let (mut at, mut starts, mut fields) = (0, Vec::new(), Vec::new());
        while at < text.len() {
            starts.push(at as u64);
            let bounds = Bounds {
                records: 1,
                bytes: usize::MAX,
                width: None,
                at_end: true,
            };
            at += scan(&text[at..], format, bounds, &mut fields)
                .unwrap()
                .bytes;
        }
        starts
    }

    fn check(text: &str, block: usize, format: Format) {
        let starts = starts(text.as_bytes(), format);
        for target in 1..text.len() as u64 + 2 {
            let source = BufReader::with_capacity(block, text.as_bytes());
            let found = boundaries(source, format, START, &[target]).unwrap();
            let expected = starts.iter().find(|start| **start >= target);
            assert_eq!(
                found.first().map(|b| b.offset),
                expected.copied(),
                "{text:?} {target}"
            );
            if let Some(Boundary { offset, line }) = found.first() {
                assert_eq!(*line, 1 + newlines(&text.as_bytes()[..*offset as usize]));
            }
        }
    }

    #[test]
    fn newlines_in_quotes_are_no_record_ends() {
        for block in [1, 2, 3, 7, 64, 1000] {
            check("a,b\nc,d\n", block, CSV);
            check("a,\"\n\n\n\"\nc,d\n", block, CSV);
            check("a,\"\\\"\n\\\\\"\nc,\\\"d\n", block, ESCAPED);
            check(
                "\"\"\"\n\",\"\"\n\"\"\"\"\n\n\"a\"\"\n\"\"\"\nx\"\ny\"\"\nz",
                block,
                CSV,
            );
            check(
                &format!("{}\"\n\",\"\n\"\n", "x,\"\"\r\n".repeat(30)),
                block,
                CSV,
            );
        }
    }

    #[test]
    fn several_targets_give_different_records() {
        let text = "a\nbbbbbbbb\nc\nd\n";
        let offsets = |targets: &[u64]| {
            let found = boundaries(text.as_bytes(), CSV, START, targets).unwrap();
            found
                .iter()
                .map(|boundary| boundary.offset)
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(&[1, 2, 3, 4, 5, 12]), [2, 11, 13]);
        assert_eq!(offsets(&[14]), Vec::<u64>::new());
        assert_eq!(offsets(&[]), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn agrees_with_the_scanner(
            rows in prop::collection::vec(
                prop::collection::vec(("[a\",\n\r]{0,9}|x{50,80}", any::<bool>()), 1..4), 0..20),
            block in 1usize..100,
        ) {
            let field = |(text, quoted): &(String, bool)| {
                if *quoted || text.contains([',', '\n', '\r']) || text.starts_with('"') {
                    format!("\"{}\"", text.replace('"', "\"\""))
                } else {
                    text.clone()
                }
            };
            let text: String = rows
                .iter()
                .map(|row| row.iter().map(field).collect::<Vec<_>>().join(",") + "\n")
                .collect();
            check(&text, block, CSV);
            check(&text.replace('x', "\\"), block, CSV);
        }
    }
}
