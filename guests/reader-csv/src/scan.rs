//! Where records and fields begin and end. Knows bytes, not types, files or lines.
//!
//! RFC 4180 with these rules where it is silent. Records end in LF or CR LF. A quote opens only at the
//! start of a field; anywhere else in an unquoted field it is text. After a closing quote comes a
//! delimiter or the end of the record. A carriage return without a line feed outside quotes is an
//! error, since it would join lines without a word. An empty line is no record, but in a file of one
//! column, where it is an empty value. Inside quotes a quote is doubled; where there is an escape
//! character, that makes the byte after it plain as well, inside quotes only.
//!
//! [`crate::boundary`] finds record starts with the same rules and a faster eye; a test holds them equal.

use crate::simd::{BLOCK, Marks, marks};

/// The bytes that give a file its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub delimiter: u8,
    pub quote: Option<u8>,
    /// Another character than the quote, which is always doubled.
    pub escape: Option<u8>,
}

/// The text of one field, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    start: u32,
    /// Length in the low bits, [`QUOTED`] and [`ESCAPED`] above: a third word would cost a third of
    /// the memory traffic.
    length: u32,
}

const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;

impl Field {
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// The bytes between the quotes, as they are written.
    pub fn raw(self, text: &[u8]) -> &[u8] {
        &text[self.start()..self.start() + self.length()]
    }

    /// The text up to the end of what [`raw`](Self::raw) gives.
    #[inline(always)]
    pub fn upto(self, text: &[u8]) -> &[u8] {
        &text[..self.start() + self.length()]
    }

    /// Bytes between the quotes.
    #[inline(always)]
    pub fn length(self) -> usize {
        (self.length & !(QUOTED | ESCAPED)) as usize
    }

    /// Whether the value is another text than what is written.
    #[inline(always)]
    pub fn is_escaped(self) -> bool {
        self.length & ESCAPED != 0
    }

    pub fn is_quoted(self) -> bool {
        self.length & QUOTED != 0
    }

    /// The value: without doubled quotes and escapes. `scratch` is only there to be reused.
    #[inline(always)]
    pub fn value<'a>(self, text: &'a [u8], format: Format, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = self.raw(text);
        if !self.is_escaped() {
            return raw;
        }
        unescape(raw, format, scratch);
        scratch
    }
}

/// Leaves out the first of two quotes, and every escape character.
#[cold]
fn unescape(raw: &[u8], format: Format, into: &mut Vec<u8>) {
    into.clear();
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        let is_first = Some(byte) == format.quote || Some(byte) == format.escape;
        match rest.clone().next() {
            Some(&plain) if is_first => {
                into.push(plain);
                rest.next();
            }
            _ => into.push(byte),
        }
    }
}

/// How much to scan at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub records: usize,
    /// A scan ends with the record that reaches this many bytes.
    pub bytes: usize,
    /// Fields of each record; any number where it is not known yet.
    pub width: Option<usize>,
    /// Whether the text ends where the data ends, so that the last record needs no newline.
    pub at_end: bool,
}

/// What a scan found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole records, empty lines left out.
    pub records: usize,
    /// Bytes up to the end of the last of them.
    pub bytes: usize,
    /// No byte of the scanned text is above 127.
    pub is_ascii: bool,
    /// Where the quote stands that the record after the last one opened and did not close.
    pub open_quote: Option<usize>,
}

/// What breaks the rules, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Byte of the text.
    pub at: usize,
    /// Fields before it in its record.
    pub column: usize,
    pub why: Why,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    UnclosedQuote,
    TextAfterQuote,
    LoneCarriageReturn,
    /// Fields of the record; another number was expected.
    Width(usize),
    /// More than [`MAX_FIELDS`], so that a line of delimiters does not take eight times its length.
    TooManyFields,
}

/// Fields of a record: as many as the host takes columns.
pub const MAX_FIELDS: usize = 16_384;

/// Where the scan is in a field.
#[derive(Clone, Copy)]
enum State {
    Plain,
    Quoted {
        escaped: bool,
    },
    /// The closing quote is at `close`.
    Closed {
        close: usize,
        escaped: bool,
    },
}

/// Finds whole records from the start of `text`, and puts their fields after one another into `fields`.
pub fn scan(
    text: &[u8],
    format: Format,
    bounds: Bounds,
    fields: &mut Vec<Field>,
) -> Result<Found, Broken> {
    fields.clear();
    Scan {
        text,
        format,
        bounds,
        fields,
        found: Found {
            is_ascii: true,
            ..Found::default()
        },
        first: 0,
        start: 0,
        state: State::Plain,
    }
    .run()
}

struct Scan<'a> {
    text: &'a [u8],
    format: Format,
    bounds: Bounds,
    fields: &'a mut Vec<Field>,
    found: Found,
    /// Index of the first field of this record.
    first: usize,
    /// First byte of this field, its quote included.
    start: usize,
    state: State,
}

/// Whether to go on with the next byte, to leave one out, or to stop.
enum Step {
    On,
    Skip,
    Stop,
}

impl Scan<'_> {
    fn run(mut self) -> Result<Found, Broken> {
        let mut base = 0;
        let mut skip = false;
        while base < self.text.len() {
            let Marks {
                delimiters,
                line_ends,
                quotes,
                is_ascii,
            } = marks(&self.text[base..], self.format);
            self.found.is_ascii &= is_ascii;
            let mut live = if skip { !1 } else { !0 };
            skip = false;
            loop {
                if matches!(self.state, State::Plain) {
                    let stops = live & (line_ends | quotes);
                    let before = stops.wrapping_sub(1) & !stops;
                    self.push_plain(base, live & before & delimiters);
                    live &= !before;
                }
                let quoted = matches!(self.state, State::Quoted { .. });
                let outside = delimiters | line_ends | quotes;
                let bits = live & if quoted { quotes } else { outside };
                if bits == 0 {
                    break;
                }
                let bit = bits.trailing_zeros();
                live = !1 << bit;
                let at = base + bit as usize;
                let step = if quoted {
                    self.quote_in_quotes(at)?
                } else {
                    self.mark(at)?
                };
                match step {
                    Step::On => {}
                    Step::Skip if bit == 63 => skip = true,
                    Step::Skip => live &= !(1 << (bit + 1)),
                    Step::Stop => return Ok(self.stopped()),
                }
            }
            if self.fields.len() - self.first > MAX_FIELDS + BLOCK {
                return Err(self.broken(self.start, Why::TooManyFields));
            }
            base += BLOCK;
        }
        self.end_of_text()
    }

    /// Ends a field at each of these delimiters of the block at `base`, with nothing but text between them.
    #[inline(always)]
    fn push_plain(&mut self, base: usize, mut delimiters: u64) {
        let mut start = self.start;
        // As many at once: room is made once.
        self.fields.extend((0..delimiters.count_ones()).map(|_| {
            let at = base + delimiters.trailing_zeros() as usize;
            delimiters &= delimiters - 1;
            let field = Field {
                start: start as u32,
                length: (at - start) as u32,
            };
            start = at + 1;
            field
        }));
        self.start = start;
    }

    /// A delimiter, a newline or a quote outside quotes.
    #[inline(always)]
    fn mark(&mut self, at: usize) -> Result<Step, Broken> {
        let byte = self.text[at];
        if byte == self.format.delimiter {
            self.push(at);
            self.start = at + 1;
            return Ok(Step::On);
        }
        match byte {
            b'\n' => self.end_record(at, at + 1, Step::On),
            b'\r' => match self.text.get(at + 1) {
                Some(b'\n') => self.end_record(at, at + 2, Step::Skip),
                None if self.bounds.at_end => self.end_record(at, at + 1, Step::On),
                None => Ok(Step::Stop),
                Some(_) => Err(self.broken(at, Why::LoneCarriageReturn)),
            },
            _ if at == self.start && Some(byte) == self.format.quote => {
                self.state = State::Quoted { escaped: false };
                Ok(Step::On)
            }
            _ => Ok(Step::On),
        }
    }

    /// A quote inside quotes: doubled, or the end of the field. Or an escape character.
    #[inline(always)]
    fn quote_in_quotes(&mut self, at: usize) -> Result<Step, Broken> {
        let State::Quoted { escaped } = self.state else {
            return Ok(Step::On);
        };
        let is_escape = Some(self.text[at]) == self.format.escape;
        match self.text.get(at + 1) {
            Some(&next) if is_escape || Some(next) == self.format.quote => {
                self.state = State::Quoted { escaped: true };
                Ok(Step::Skip)
            }
            // The quote never closes, and the end of the text says so.
            None if is_escape && self.bounds.at_end => Ok(Step::On),
            Some(&next) if next == self.format.delimiter || next == b'\n' || next == b'\r' => {
                self.state = State::Closed { close: at, escaped };
                Ok(Step::On)
            }
            Some(_) => Err(self.broken(at + 1, Why::TextAfterQuote)),
            None if self.bounds.at_end => {
                self.state = State::Closed { close: at, escaped };
                Ok(Step::On)
            }
            None => Ok(Step::Stop),
        }
    }

    /// Ends a field before `end`.
    #[inline(always)]
    fn push(&mut self, end: usize) {
        let (start, end, flags) = match self.state {
            State::Closed { close, escaped } => (
                self.start + 1,
                close,
                if escaped { QUOTED | ESCAPED } else { QUOTED },
            ),
            State::Plain | State::Quoted { .. } => (self.start, end, 0),
        };
        self.state = State::Plain;
        // Texts are far shorter than a gigabyte: see `window::MAX_RECORD_BYTES`.
        self.fields.push(Field {
            start: start as u32,
            length: (end - start) as u32 | flags,
        });
    }

    /// Ends a record whose last field ends before `end`; the next one starts at `next`.
    #[inline(always)]
    fn end_record(&mut self, end: usize, next: usize, step: Step) -> Result<Step, Broken> {
        self.push(end);
        let count = self.fields.len() - self.first;
        if self.bounds.width != Some(count) && !self.accept_width(count)? {
            self.fields.truncate(self.first);
        } else {
            self.found.records += 1;
            self.first = self.fields.len();
        }
        self.start = next;
        self.found.bytes = next;
        let full =
            self.found.records >= self.bounds.records || self.found.bytes >= self.bounds.bytes;
        Ok(if full { Step::Stop } else { step })
    }

    /// Whether a record of an unexpected width counts; an empty line does not.
    #[cold]
    fn accept_width(&self, count: usize) -> Result<bool, Broken> {
        let Some(width) = self.bounds.width else {
            return Ok(true);
        };
        let only = self.fields[self.first];
        if count == 1 && only.length == 0 {
            return Ok(false);
        }
        // Where the first surplus field begins, or where the record ends.
        let at = match self.fields.get(self.first + width) {
            Some(field) => field.start(),
            None => self.fields.last().map_or(self.start, |field| field.start()),
        };
        Err(Broken {
            at,
            column: count.min(width),
            why: Why::Width(count),
        })
    }

    /// What is left of the text holds no whole record.
    fn end_of_text(mut self) -> Result<Found, Broken> {
        if !self.bounds.at_end {
            return Ok(self.stopped());
        }
        if let State::Quoted { .. } = self.state {
            return Err(self.broken(self.start, Why::UnclosedQuote));
        }
        if self.found.bytes < self.text.len() {
            self.end_record(self.text.len(), self.text.len(), Step::On)?;
        }
        Ok(self.stopped())
    }

    fn stopped(mut self) -> Found {
        self.fields.truncate(self.first);
        self.found.open_quote = match self.state {
            State::Quoted { .. } => Some(self.start),
            _ => None,
        };
        self.found
    }

    #[cold]
    fn broken(&self, at: usize, why: Why) -> Broken {
        Broken {
            at,
            column: self.fields.len() - self.first,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Format = Format {
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
    };

    fn bounds(width: Option<usize>) -> Bounds {
        Bounds {
            records: usize::MAX,
            bytes: usize::MAX,
            width,
            at_end: true,
        }
    }

    /// Records of `text`; a quoted value stands in `<>`.
    fn records(text: &str, width: usize) -> Result<Vec<Vec<String>>, Broken> {
        let mut fields = Vec::new();
        let found = scan(text.as_bytes(), CSV, bounds(Some(width)), &mut fields)?;
        assert_eq!(found.bytes, text.len());
        assert_eq!(found.records * width, fields.len());
        let mut scratch = Vec::new();
        let values: Vec<String> = fields
            .iter()
            .map(|field| {
                let value = field.value(text.as_bytes(), CSV, &mut scratch).to_vec();
                let value = String::from_utf8(value).unwrap();
                if field.is_quoted() {
                    format!("<{value}>")
                } else {
                    value
                }
            })
            .collect();
        Ok(values.chunks(width).map(<[String]>::to_vec).collect())
    }

    #[test]
    fn refuses_what_breaks_the_rules_and_says_where() {
        let check = |text: &str, at, column, why| {
            assert_eq!(
                records(text, 2),
                Err(Broken { at, column, why }),
                "{text:?}"
            );
        };
        check("a,b\nc,\"d\ne,f\n", 6, 1, Why::UnclosedQuote);
        check("\"", 0, 0, Why::UnclosedQuote);
        check("a,\"b\"\"", 2, 1, Why::UnclosedQuote);
        check("a,\"b\"c\n", 5, 1, Why::TextAfterQuote);
        check("a,\"b\" \n", 5, 1, Why::TextAfterQuote);
        check("a,b\rc,d\r", 3, 1, Why::LoneCarriageReturn);
        check("a,b\nc\n", 4, 1, Why::Width(1));
        check("a,b\nc,d,e\n", 8, 2, Why::Width(3));
        check("a,b\n\"\"\n", 5, 1, Why::Width(1));
        check("a,b\nc", 4, 1, Why::Width(1));
    }

    #[test]
    fn finds_the_fields_of_hard_texts() {
        let check = |text: &str, width, expected: &[&[&str]]| {
            assert_eq!(records(text, width).unwrap(), expected, "{text:?}");
        };
        check("", 2, &[]);
        check("\n\r\n\n", 2, &[]);
        check("a,b\nc,d\n", 2, &[&["a", "b"], &["c", "d"]]);
        check(
            "a,b\r\nc,d\ne,f\r\n",
            2,
            &[&["a", "b"], &["c", "d"], &["e", "f"]],
        );
        check("a,b\r\n\r\n\nc,d", 2, &[&["a", "b"], &["c", "d"]]);
        check("a,b\r", 2, &[&["a", "b"]]);
        check(",\n,", 2, &[&["", ""], &["", ""]]);
        check("\"a,\n\r\nb\",\"\"\n", 2, &[&["<a,\n\r\nb>", "<>"]]);
        check("\"a\"\"b\",\"\"\"\"\n", 2, &[&["<a\"b>", "<\">"]]);
        check("\"\"\"\"\"a\"\"\",x\n", 2, &[&["<\"\"a\">", "x"]]);
        check("a\"b\",c\"\"\n", 2, &[&["a\"b\"", "c\"\""]]);
        check(" \"a\",b\n", 2, &[&[" \"a\"", "b"]]);
        check("a\n\nb\n\"\"\n", 1, &[&["a"], &[""], &["b"], &["<>"]]);
        check("a,\"b\"", 2, &[&["a", "<b>"]]);
        check("a,\u{0}\n", 2, &[&["a", "\u{0}"]]);
    }

    #[test]
    fn a_quote_is_text_where_quoting_is_off() {
        let format = Format {
            delimiter: b';',
            quote: None,
            escape: None,
        };
        let mut fields = Vec::new();
        let text = b"\"a;b\"\n";
        assert_eq!(
            scan(text, format, bounds(Some(2)), &mut fields)
                .unwrap()
                .records,
            1
        );
        assert_eq!(fields[0].raw(text), b"\"a");
    }

    /// Marks at every place of a block, and across its end.
    #[test]
    fn blocks_do_not_show() {
        for padding in 0..140 {
            let long = "x".repeat(padding);
            let text = format!("{long},\"{long}\"\"\n\"\r\n\"\",\"{long}\"\n{long},b");
            let expected = [
                [long.clone(), format!("<{long}\"\n>")],
                ["<>".to_owned(), format!("<{long}>")],
                [long.clone(), "b".to_owned()],
            ];
            assert_eq!(records(&text, 2).unwrap(), expected, "{padding}");
        }
    }

    /// Whatever the text is cut into, whole records come out and the rest is left.
    #[test]
    fn a_cut_text_yields_only_its_whole_records() {
        let text = "a,\"b\n\"\"\"\r\nc,d\r\n\"e\",\"\"\n";
        let ends = [0, 10, 15, 22];
        let mut fields = Vec::new();
        for cut in 0..=text.len() {
            let bounds = Bounds {
                at_end: false,
                ..bounds(Some(2))
            };
            let found = scan(&text.as_bytes()[..cut], CSV, bounds, &mut fields).unwrap();
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            assert_eq!((found.records, found.bytes), (whole, ends[whole]), "{cut}");
            assert_eq!(fields.len(), whole * 2);
        }
    }

    #[test]
    fn stops_at_its_bounds() {
        let mut fields = Vec::new();
        let mut check = |bounds, records, bytes| {
            let found = scan(b"a,b\r\nc,d\r\ne,f\r\n", CSV, bounds, &mut fields).unwrap();
            assert_eq!((found.records, found.bytes), (records, bytes));
        };
        check(
            Bounds {
                records: 2,
                ..bounds(Some(2))
            },
            2,
            10,
        );
        check(
            Bounds {
                bytes: 1,
                ..bounds(Some(2))
            },
            1,
            5,
        );
        check(
            Bounds {
                bytes: 6,
                ..bounds(Some(2))
            },
            2,
            10,
        );
        check(
            Bounds {
                records: 1,
                ..bounds(None)
            },
            1,
            5,
        );
    }

    #[test]
    fn tells_where_a_quote_is_open_and_whether_all_is_ascii() {
        let mut fields = Vec::new();
        let bounds = Bounds {
            at_end: false,
            ..bounds(Some(2))
        };
        let found = scan("a,b\nc,\"ä".as_bytes(), CSV, bounds, &mut fields).unwrap();
        assert_eq!(found.open_quote, Some(6));
        assert!(!found.is_ascii);
        assert!(
            scan(b"a,b\nc,\"", CSV, bounds, &mut fields)
                .unwrap()
                .is_ascii
        );
    }
}
