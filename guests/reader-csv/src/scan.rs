//! Records and fields in bytes, after RFC 4180: quotes open at the start of a field only, are doubled
//! inside, and may hold delimiters and line ends; a line ends in LF or CRLF.
//!
//! Pure: bytes in, positions out. Nothing is copied and nothing is interpreted.

use memchr::{memchr, memchr_iter, memchr2};

/// The two characters that shape a file.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    pub delimiter: u8,
    pub quote: u8,
}

/// Where a field is in the bytes that were scanned, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub start: usize,
    pub end: usize,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    Quoted,
    /// Quoted, with doubled quotes inside.
    Escaped,
}

/// What was found at the start of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record of this many bytes, its line end included, that spans this many lines.
    Record { length: usize, lines: u64 },
    /// The record goes on behind the bytes.
    Incomplete,
    /// Nothing is left.
    End,
}

/// What is wrong, and how far from the start of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    pub problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A quote that was opened here is never closed.
    Unbalanced,
    /// Between a closing quote and the next delimiter stands something else.
    TextAfterQuote,
}

impl Dialect {
    /// Finds the first record of `bytes` and its `fields`. At the `last` bytes of a file a record
    /// need not end in a line end.
    pub fn scan(
        self,
        bytes: &[u8],
        last: bool,
        fields: &mut Vec<Field>,
    ) -> Result<Found, Malformed> {
        fields.clear();
        if bytes.is_empty() {
            return Ok(if last { Found::End } else { Found::Incomplete });
        }
        let (mut at, mut lines) = (0, 1);
        loop {
            let (field, end) = if bytes.get(at) == Some(&self.quote) {
                match self.quoted(bytes, at, last)? {
                    Some((field, end)) => {
                        lines += memchr_iter(b'\n', &bytes[field.start..field.end]).count() as u64;
                        (field, end)
                    }
                    None => return Ok(Found::Incomplete),
                }
            } else {
                match self.plain(bytes, at, last) {
                    Some(found) => found,
                    None => return Ok(Found::Incomplete),
                }
            };
            fields.push(field);
            match bytes.get(end) {
                Some(&byte) if byte == self.delimiter => at = end + 1,
                Some(b'\r') => {
                    return Ok(Found::Record {
                        length: end + 2,
                        lines,
                    });
                }
                Some(_) => {
                    return Ok(Found::Record {
                        length: end + 1,
                        lines,
                    });
                }
                None => return Ok(Found::Record { length: end, lines }),
            }
        }
    }

    /// A field without quotes, and where it ends: at a delimiter, at a line end, or with the file.
    fn plain(self, bytes: &[u8], start: usize, last: bool) -> Option<(Field, usize)> {
        let end = match memchr2(self.delimiter, b'\n', &bytes[start..]) {
            Some(found) => start + found,
            None if last => bytes.len(),
            None => return None,
        };
        let is_line_end = bytes.get(end) != Some(&self.delimiter);
        let text_end = match is_line_end && end > start && bytes[end - 1] == b'\r' {
            true => end - 1,
            false => end,
        };
        let end = if bytes.get(end) == Some(&b'\n') {
            text_end
        } else {
            end
        };
        Some((
            Field {
                start,
                end: text_end,
                form: Form::Plain,
            },
            end,
        ))
    }

    /// A field in quotes, and where it ends; none where its end is behind the bytes.
    fn quoted(
        self,
        bytes: &[u8],
        open: usize,
        last: bool,
    ) -> Result<Option<(Field, usize)>, Malformed> {
        let start = open + 1;
        let (mut at, mut form) = (start, Form::Quoted);
        loop {
            let Some(found) = memchr(self.quote, &bytes[at..]) else {
                return match last {
                    true => Err(Malformed {
                        at: open,
                        problem: Problem::Unbalanced,
                    }),
                    false => Ok(None),
                };
            };
            let close = at + found;
            let field = Field {
                start,
                end: close,
                form,
            };
            match (bytes.get(close + 1), bytes.get(close + 2)) {
                (Some(&byte), _) if byte == self.quote => {
                    (at, form) = (close + 2, Form::Escaped);
                    continue;
                }
                (Some(&byte), _) if byte == self.delimiter || byte == b'\n' => {}
                (Some(b'\r'), Some(b'\n')) => {}
                (None, _) if last => {}
                (None, _) => return Ok(None),
                (Some(b'\r'), None) if !last => return Ok(None),
                // A carriage return that ends the file ends its last line.
                (Some(b'\r'), None) => return Ok(Some((field, bytes.len()))),
                _ => {
                    return Err(Malformed {
                        at: close + 1,
                        problem: Problem::TextAfterQuote,
                    });
                }
            }
            return Ok(Some((field, close + 1)));
        }
    }

    /// The text of a field, with doubled quotes made single.
    pub fn text<'a>(self, bytes: &'a [u8], field: Field, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let text = &bytes[field.start..field.end];
        if field.form != Form::Escaped {
            return text;
        }
        scratch.clear();
        let mut rest = text;
        while let Some(at) = memchr(self.quote, rest) {
            scratch.extend_from_slice(&rest[..=at]);
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        scratch.extend_from_slice(rest);
        scratch
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const COMMA: Dialect = Dialect {
        delimiter: b',',
        quote: b'"',
    };

    /// All records of a whole text.
    pub fn records(text: &[u8]) -> Result<Vec<Vec<String>>, Malformed> {
        let (mut records, mut fields, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            let rest = &text[at..];
            match COMMA.scan(rest, true, &mut fields)? {
                Found::Record { length, .. } => {
                    let mut scratch = Vec::new();
                    let text = |field: &Field| {
                        String::from_utf8(COMMA.text(rest, *field, &mut scratch).to_vec()).unwrap()
                    };
                    records.push(fields.iter().map(text).collect());
                    at += length;
                }
                Found::End => return Ok(records),
                Found::Incomplete => panic!("the whole text is there"),
            }
        }
    }

    fn check(text: &str, expected: &[&[&str]]) {
        assert_eq!(records(text.as_bytes()).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn refuses_what_cannot_be_told_apart() {
        let refused = |text: &str| records(text.as_bytes()).unwrap_err();
        assert_eq!(
            refused("a,\"b\nc"),
            Malformed {
                at: 2,
                problem: Problem::Unbalanced
            }
        );
        assert_eq!(
            refused("\"a\"b,c"),
            Malformed {
                at: 3,
                problem: Problem::TextAfterQuote
            }
        );
        assert_eq!(
            refused("\"a\"\rb"),
            Malformed {
                at: 3,
                problem: Problem::TextAfterQuote
            }
        );
    }

    #[test]
    fn finds_fields_as_rfc_4180_has_them() {
        check("", &[]);
        check("a,b\n", &[&["a", "b"]]);
        check("a,b", &[&["a", "b"]]);
        check("a,b\r\nc,d\r\n", &[&["a", "b"], &["c", "d"]]);
        check("a,b\r\nc,d\ne,f", &[&["a", "b"], &["c", "d"], &["e", "f"]]);
        check("a,\n,b\n", &[&["a", ""], &["", "b"]]);
        check("\n\n", &[&[""], &[""]]);
        check("\"a,b\",c\n", &[&["a,b", "c"]]);
        check("\"a\nb\",\"c\r\nd\"\n", &[&["a\nb", "c\r\nd"]]);
        check("\"say \"\"hi\"\"\",\"\"\n", &[&["say \"hi\"", ""]]);
        check("\"\"\"\"", &[&["\""]]);
        check("a\"b,c\"d\n", &[&["a\"b", "c\"d"]]);
        check("\"a\"\r\n\"b\"", &[&["a"], &["b"]]);
        check("a\rb,c\n", &[&["a\rb", "c"]]);
        check("a,\r\n", &[&["a", ""]]);
        check("é,日本\n", &[&["é", "日本"]]);
    }

    #[test]
    fn a_cut_record_is_incomplete_wherever_it_is_cut() {
        let text = b"\"a \"\"b\"\",\r\n\",c,\"d\"\r\nnext";
        let mut fields = Vec::new();
        let whole = COMMA.scan(text, true, &mut fields).unwrap();
        let Found::Record { length, lines: 2 } = whole else {
            panic!("{whole:?}")
        };
        for cut in 0..length {
            let found = COMMA.scan(&text[..cut], false, &mut fields).unwrap();
            assert_eq!(found, Found::Incomplete, "cut at {cut}");
        }
        assert_eq!(COMMA.scan(&text[..length], false, &mut fields), Ok(whole));
    }
}
