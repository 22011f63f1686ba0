//! Where records begin in a file that is cut into splits, without finding their fields.
//!
//! A line end inside quotes ends no record, and whether a byte stands inside quotes depends on every
//! quote before it. So the bytes up to the last cut are looked through once, for quotes and line ends
//! alone. It must agree with [`scan`](crate::scan): there too, quotes open at the start of a field only.

use memchr::{memchr, memchr_iter};

use crate::scan::Dialect;

/// The start of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// In bytes from the start of the file.
    pub offset: u64,
    /// The line that begins there, from 1.
    pub line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// `field_start`: the byte before was a delimiter or ended a record.
    Plain {
        field_start: bool,
    },
    Quotes,
    /// Behind a quote inside quotes: it closed the field, or the next quote doubles it.
    Closing,
}

/// Takes a file piece by piece and finds the first record at or after each of some offsets.
pub struct Boundaries {
    dialect: Dialect,
    /// Offsets that are looked for, the next one last.
    wanted: Vec<u64>,
    found: Vec<Start>,
    at: Start,
    within: Within,
}

impl Boundaries {
    /// `from` is the start of a record; `wanted` are the offsets, ascending.
    pub fn new(dialect: Dialect, from: Start, mut wanted: Vec<u64>) -> Self {
        wanted.reverse();
        let within = Within::Plain { field_start: true };
        Self {
            dialect,
            wanted,
            found: Vec::new(),
            at: from,
            within,
        }
    }

    /// Whether every offset was found: the rest of the file need not be looked at.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The records found, ascending, each once.
    pub fn found(self) -> Vec<Start> {
        self.found
    }

    /// Looks through the bytes that follow those of the last call.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            let taken = match self.within {
                Within::Plain { field_start } => self.plain(rest, field_start),
                Within::Quotes => {
                    let taken = memchr(self.dialect.quote, rest).map(|at| at + 1);
                    if taken.is_some() {
                        self.within = Within::Closing;
                    }
                    taken.unwrap_or(rest.len())
                }
                Within::Closing if rest[0] == self.dialect.quote => {
                    self.within = Within::Quotes;
                    1
                }
                Within::Closing => {
                    self.within = Within::Plain { field_start: false };
                    0
                }
            };
            self.advance(&rest[..taken]);
            rest = &rest[taken..];
        }
    }

    /// Takes bytes outside quotes, up to and with the quote that opens the next field.
    fn plain(&mut self, rest: &[u8], field_start: bool) -> usize {
        let (mut from, mut field_start) = (0, field_start);
        loop {
            let Some(at) = memchr(self.dialect.quote, &rest[from..]).map(|at| from + at) else {
                self.starts(rest);
                let field_start = self.begins_field(rest.last().copied(), field_start);
                self.within = Within::Plain { field_start };
                return rest.len();
            };
            let before = at.checked_sub(1).map(|before| rest[before]);
            if self.begins_field(before, field_start) {
                self.starts(&rest[..at]);
                self.within = Within::Quotes;
                return at + 1;
            }
            // A quote inside a field that began without one is text.
            (from, field_start) = (at + 1, false);
            if from == rest.len() {
                self.starts(rest);
                self.within = Within::Plain { field_start: false };
                return from;
            }
        }
    }

    fn begins_field(&self, before: Option<u8>, otherwise: bool) -> bool {
        before.map_or(otherwise, |byte| {
            byte == self.dialect.delimiter || byte == b'\n'
        })
    }

    /// Records the starts of wanted records among `plain` bytes, which begin at `self.at`.
    fn starts(&mut self, plain: &[u8]) {
        while let Some(&wanted) = self.wanted.last() {
            // The line end before the wanted offset already ends a record there.
            let skip = wanted.saturating_sub(self.at.offset).saturating_sub(1);
            let Some(tail) = usize::try_from(skip)
                .ok()
                .and_then(|skip| plain.get(skip..))
            else {
                return;
            };
            let Some(line_end) = memchr(b'\n', tail) else {
                return;
            };
            let length = plain.len() - tail.len() + line_end + 1;
            let start = Start {
                offset: self.at.offset + length as u64,
                line: self.at.line + memchr_iter(b'\n', &plain[..length]).count() as u64,
            };
            self.found.push(start);
            while self
                .wanted
                .last()
                .is_some_and(|wanted| *wanted <= start.offset)
            {
                self.wanted.pop();
            }
        }
    }

    fn advance(&mut self, bytes: &[u8]) {
        self.at.offset += bytes.len() as u64;
        self.at.line += memchr_iter(b'\n', bytes).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Found;
    use crate::scan::tests::COMMA;
    use proptest::prelude::*;

    /// Where the scanner finds records to begin.
    fn by_scanning(text: &[u8]) -> Option<Vec<Start>> {
        let (mut starts, mut fields) = (Vec::new(), Vec::new());
        let mut at = Start { offset: 0, line: 1 };
        loop {
            starts.push(at);
            match COMMA
                .scan(&text[at.offset as usize..], true, &mut fields)
                .ok()?
            {
                Found::Record { length, lines } => {
                    at = Start {
                        offset: at.offset + length as u64,
                        line: at.line + lines,
                    };
                }
                _ => return Some(starts),
            }
        }
    }

    fn by_looking(text: &[u8], wanted: Vec<u64>, piece: usize) -> Vec<Start> {
        let mut boundaries = Boundaries::new(COMMA, Start { offset: 0, line: 1 }, wanted);
        text.chunks(piece).for_each(|piece| boundaries.feed(piece));
        boundaries.found()
    }

    #[test]
    fn a_line_end_in_quotes_begins_no_record() {
        let text = b"a,\"x\ny\"\nb,\"\"\"\n\"\nc,d\"\ne,f\n";
        let expected = by_scanning(text).unwrap();
        for wanted in 1..text.len() as u64 {
            let first = expected
                .iter()
                .find(|start| start.offset >= wanted)
                .copied();
            for piece in 1..=text.len() {
                assert_eq!(
                    by_looking(text, vec![wanted], piece),
                    Vec::from_iter(first),
                    "{wanted} {piece}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_scanner_on_any_text(
            text in "[ab,\"\r\n]{0,60}", wanted in prop::collection::btree_set(1_u64..60, 1..4),
            piece in 1_usize..20,
        ) {
            let text = text.as_bytes();
            let Some(starts) = by_scanning(text) else { return Ok(()) };
            let ends_in_line_end = text.last() == Some(&b'\n');
            let is_start = |start: &&Start| (start.offset as usize) < text.len() || ends_in_line_end;
            let mut expected: Vec<Start> = wanted
                .iter()
                .filter_map(|at| starts.iter().filter(is_start).find(|start| start.offset >= *at))
                .copied()
                .collect();
            expected.dedup();
            prop_assert_eq!(by_looking(text, wanted.into_iter().collect(), piece), expected);
        }
    }
}
