//! Any bytes through scanner, boundaries and batches, held against a reader that is slow and plain.
//!
//! [`check`] is one trial. The tests below run it on arbitrary bytes and on mutated tables; `fuzz/` runs it on
//! what libFuzzer comes up with.

use std::io::BufReader;

use arrow_array::cast::AsArray;
use serde_json::json;

use crate::boundary::{Boundary, boundaries};
use crate::config::Config;
use crate::head::Table;
use crate::rows::{Rows, Text};
use crate::scan::{Bounds, Format, Why, scan};
use crate::split::State;
use crate::window::Window;

/// Bytes before the text that say how it is read.
const SETTINGS: usize = 4;

/// Reads the text behind the settings in every way, which must agree.
pub fn check(input: &[u8]) {
    let Some((&[shape, block, cut, batch], text)) = input.split_first_chunk::<SETTINGS>() else {
        return;
    };
    let format = format(shape);
    let block = usize::from(block) + 1;
    for width in [None, Some(usize::from(batch % 4) + 1)] {
        check_scan(text, format, width, block, usize::from(batch) + 1);
    }
    check_boundaries(text, format, block, usize::from(cut) + 1);
    let is_latin1 = shape & 0x80 != 0;
    check_batches(text, format, is_latin1, usize::from(batch) + 1);
}

fn format(shape: u8) -> Format {
    let quote = [None, Some(b'"'), Some(b'"'), Some(b'\'')][usize::from(shape >> 2 & 3)];
    let escape = [None, None, Some(b'\\'), Some(b'~')][usize::from(shape >> 4 & 3)];
    Format {
        delimiter: b",;\t|"[usize::from(shape & 3)],
        quote,
        escape: escape.filter(|_| quote.is_some()),
    }
}

/// Where a record begins, and its values with whether they were quoted.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    start: usize,
    fields: Vec<(Vec<u8>, bool)>,
}

/// The records before the first mistake, and that mistake with its place, which is left open where the width is wrong.
type Reading = (Vec<Record>, Option<(Why, Option<usize>)>);

/// The rules at the top of `scan`, byte by byte. And how far the text follows them.
fn reference(text: &[u8], format: Format, width: Option<usize>) -> (Reading, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let begin = at;
        let mut record = Record {
            start: begin,
            fields: Vec::new(),
        };
        loop {
            let field = match field(text, format, &mut at) {
                Ok(field) => field,
                Err((why, at)) => return ((records, Some((why, Some(at)))), begin),
            };
            record.fields.push(field);
            if text.get(at) != Some(&format.delimiter) {
                break;
            }
            at += 1;
        }
        at += match &text[at..] {
            [] => 0,
            [b'\n', ..] | [b'\r'] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return ((records, Some((Why::LoneCarriageReturn, Some(at)))), begin),
        };
        let count = record.fields.len();
        match width {
            Some(width) if width != count => {
                if record.fields != [(Vec::new(), false)] {
                    return ((records, Some((Why::Width(count), None))), begin);
                }
            }
            _ => records.push(record),
        }
    }
    ((records, None), at)
}

fn field(text: &[u8], format: Format, at: &mut usize) -> Result<(Vec<u8>, bool), (Why, usize)> {
    let begin = *at;
    let mut value = Vec::new();
    if format.quote.is_none() || text.get(begin).copied() != format.quote {
        while let Some(&byte) = text.get(*at)
            && ![format.delimiter, b'\n', b'\r'].contains(&byte)
        {
            value.push(byte);
            *at += 1;
        }
        return Ok((value, false));
    }
    *at += 1;
    loop {
        let Some(&byte) = text.get(*at) else {
            return Err((Why::UnclosedQuote, begin));
        };
        let next = text.get(*at + 1).copied();
        *at += 1;
        if Some(byte) == format.escape || (Some(byte) == format.quote && next == format.quote) {
            value.extend(next);
            *at += 1;
        } else if Some(byte) == format.quote {
            break;
        } else {
            value.push(byte);
        }
    }
    match text.get(*at) {
        Some(&byte) if ![format.delimiter, b'\n', b'\r'].contains(&byte) => {
            Err((Why::TextAfterQuote, *at))
        }
        _ => Ok((value, true)),
    }
}

/// The scanner's reading where `block` more bytes arrive whenever it asks, and `batch` records are taken at a time.
fn scanned(
    text: &[u8],
    format: Format,
    width: Option<usize>,
    block: usize,
    batch: usize,
) -> Reading {
    let (mut records, mut fields, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    let (mut from, mut to) = (0, block.min(text.len()));
    loop {
        let bounds = Bounds {
            records: batch,
            bytes: usize::MAX,
            width,
            at_end: to == text.len(),
        };
        let here = &text[from..to];
        let found = match scan(here, format, bounds, &mut fields) {
            Ok(found) => found,
            Err(broken) => {
                let place = (!matches!(broken.why, Why::Width(_))).then_some(from + broken.at);
                return (records, Some((broken.why, place)));
            }
        };
        assert!(found.records <= batch, "{found:?}");
        let mut values = fields.iter().map(|field| {
            let value = field.value(here, format, &mut scratch).to_vec();
            let start = from + field.start() - usize::from(field.is_quoted());
            (start, (value, field.is_quoted()))
        });
        // Without a width only a record at a time says which fields it has.
        let count = width.unwrap_or(values.len());
        for _ in 0..found.records {
            let (starts, fields): (Vec<_>, Vec<_>) = values.by_ref().take(count).unzip();
            records.push(Record {
                start: starts[0],
                fields,
            });
        }
        assert!(values.next().is_none(), "fields without a record");
        from += found.bytes;
        if found.bytes == 0 {
            if to == text.len() {
                assert_eq!(from, to, "the end of the text was lost");
                return (records, None);
            }
            to = (to + block).min(text.len());
        }
    }
}

/// The records are those of the reference, however the text arrives.
fn check_scan(text: &[u8], format: Format, width: Option<usize>, block: usize, batch: usize) {
    let (expected, _) = reference(text, format, width);
    for block in [block, text.len().max(1)] {
        let found = scanned(text, format, width, block, 1);
        assert_eq!(found, expected, "{format:?} {width:?} block {block}");
    }
    if width.is_some() {
        // A batch with a mistake in it is not handed over at all.
        let (records, mistake) = scanned(text, format, width, block, batch);
        assert_eq!(mistake, expected.1, "{format:?} {width:?} batch {batch}");
        let is_start = expected.0.starts_with(&records);
        assert!(is_start && (mistake.is_some() || records.len() == expected.0.len()));
    }
}

/// A text is cut at the first record from each target on, as far as it follows the rules.
fn check_boundaries(text: &[u8], format: Format, block: usize, step: usize) {
    let ((records, _), sound) = reference(text, format, None);
    let mut starts: Vec<u64> = records.iter().map(|record| record.start as u64).collect();
    let sound = sound as u64;
    if sound < text.len() as u64 {
        // A broken record begins here. What is found behind it means nothing.
        starts.push(sound);
    }
    let targets: Vec<u64> = (1..=text.len() as u64 + 1).step_by(step).collect();
    let first = Boundary { offset: 0, line: 1 };
    let source = BufReader::with_capacity(block, text);
    let found = boundaries(source, format, first, &targets).unwrap();
    let mut expected: Vec<u64> = Vec::new();
    for target in targets {
        if expected.last().copied().unwrap_or(0) < target {
            expected.extend(starts.iter().find(|start| **start >= target));
        }
    }
    let offsets = found.iter().map(|boundary| boundary.offset);
    let offsets: Vec<u64> = offsets.take_while(|offset| *offset <= sound).collect();
    assert_eq!(offsets, expected, "{format:?} block {block} step {step}");
    for Boundary { offset, line } in found {
        let before = &text[..offset as usize];
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(line, 1 + newlines as u64);
    }
}

/// Batches hold the cells of the reference where all columns are strings; and whatever the sample suggests, batches
/// of any size hold the same.
fn check_batches(text: &[u8], format: Format, is_latin1: bool, batch: usize) {
    let body = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| !is_latin1);
    let ((records, _), _) = reference(body.unwrap_or(text), format, None);
    let is_record = |record: &&Record| record.fields != [(Vec::new(), false)];
    let Some(width) = records
        .iter()
        .find(is_record)
        .map(|record| record.fields.len())
    else {
        return;
    };
    let names =
        (1..=width).map(|number| json!({"name": format!("column_{number}"), "type": "string"}));
    let strings = read(text, format, is_latin1, names.collect(), batch);
    let ((records, mistake), _) = reference(body.unwrap_or(text), format, Some(width));
    let is_sound = mistake.is_none() && (is_latin1 || std::str::from_utf8(text).is_ok());
    match strings {
        Ok(rows) => {
            assert!(is_sound, "{format:?} {mistake:?}");
            let decoded = |bytes: &[u8]| match is_latin1 {
                true => bytes.iter().copied().map(char::from).collect(),
                false => String::from_utf8(bytes.to_vec()).unwrap(),
            };
            let cells = |record: &Record| -> Vec<String> {
                let values = record.fields.iter();
                values.map(|(value, _)| decoded(value)).collect()
            };
            let expected: Vec<Vec<String>> = records.iter().map(cells).collect();
            assert_eq!(rows, expected, "{format:?}");
        }
        // What begins like an archive, for one, is not taken for a table.
        Err(message) => assert!(!is_sound || message.ends_with("not text"), "{message}"),
    }
    let inferred = read(text, format, is_latin1, Vec::new(), batch);
    let one_by_one = read(text, format, is_latin1, Vec::new(), 1);
    // Of several mistakes in a batch, another one may be seen first.
    assert_eq!(inferred.ok(), one_by_one.ok(), "{format:?} batch {batch}");
}

/// The cells of all rows as text, or the error's message.
fn read(
    text: &[u8],
    format: Format,
    is_latin1: bool,
    declared: Vec<serde_json::Value>,
    batch: usize,
) -> Result<Vec<Vec<String>>, String> {
    let character = |byte: Option<u8>| byte.map_or(String::new(), |byte| char::from(byte).into());
    let config: Config = serde_json::from_value(json!({
        "file_path": "f.csv", "header": false, "null_values": [], "sample_rows": 3, "schema": declared,
        "delimiter": character(Some(format.delimiter)), "quote": character(format.quote),
        "escape": character(format.escape), "encoding": if is_latin1 { "latin-1" } else { "utf-8" },
    }))
    .unwrap();
    let rows = || -> dativo_connector::Result<Vec<Vec<String>>> {
        let source = config.source("f.csv")?;
        assert_eq!(source.format, format);
        let state = State::default();
        let mut table = Table::new(&config, &state).unwrap();
        let head = table.add(text, &source)?;
        let columns = table.columns()?;
        let rest = &text[head.offset as usize..];
        let mut text = Text {
            window: Window::new(rest, Some(rest.len() as u64), head.line),
            source,
            order: head.order,
        };
        let (mut rows, mut cells) = (Rows::new(columns), Vec::new());
        loop {
            let is_full = rows.fill(&mut text, batch)?;
            if let Some(batch) = rows.finish()? {
                cells.extend((0..batch.num_rows()).map(|row| shown(&batch, row)));
            }
            if !is_full {
                return Ok(cells);
            }
        }
    };
    rows().map_err(|error| error.message)
}

fn shown(batch: &arrow_array::RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow_array::ArrayRef| match column.as_string_opt::<i32>() {
        Some(texts) => texts.value(row).to_owned(),
        None => format!("{:?}", column.slice(row, 1)),
    };
    batch.columns().iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Read};

    use proptest::prelude::*;

    use super::*;
    use crate::window::MAX_RECORD_BYTES;

    /// Bytes that mean something are as frequent as all others together.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            prop::sample::select(b",;|\t\"'\\~\r\n\n".to_vec()),
            prop::sample::select(b"ab1-.:eT0\xc3\xa4\0".to_vec()),
            any::<u8>(),
        ];
        prop::collection::vec(byte, 0..200)
    }

    fn table() -> impl Strategy<Value = String> {
        let field = "[a-c1,;\n]{0,6}|\"[a-c,;\r\n]{0,9}\"|\"(\"\"|x{0,70}|\\\\[a\"\n]){0,3}\"";
        let line = (prop::collection::vec(field, 1..4), "\r?\n");
        prop::collection::vec(line, 0..20).prop_map(|lines| {
            let lines = lines.iter().map(|(fields, end)| fields.join(",") + end);
            lines.collect()
        })
    }

    /// Values of every type that a sample suggests, a line each.
    fn values() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "-9223372036854775808",
            "123456789.012345e-17",
            "2024-02-29",
            "1969-12-31T23:59:59.123456+05:45",
            "0001-01-01 00:00Z",
            "false",
            "-Infinity",
        ]);
        prop::collection::vec(value, 1..5).prop_map(|values| values.join("\n"))
    }

    /// At some places of a text, a few bytes are replaced by others.
    fn mutated(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
        let edit = (
            any::<prop::sample::Index>(),
            0..3usize,
            "[\"\\\\,\r\nx+-]{0,2}",
        );
        let edits = prop::collection::vec(edit, 0..4);
        (text, edits).prop_map(|(text, edits)| {
            let mut text = text.into_bytes();
            for (place, removed, added) in edits {
                let from = place.index(text.len() + 1);
                let to = (from + removed).min(text.len());
                text.splice(from..to, added.into_bytes());
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_alike_in_every_way(settings in any::<[u8; SETTINGS]>(), text in bytes()) {
            check(&[&settings[..], &text].concat());
        }

        #[test]
        fn mutated_tables_are_read_alike_in_every_way(settings in any::<[u8; SETTINGS]>(), text in mutated(table())) {
            check(&[&settings[..], &text].concat());
        }

        #[test]
        fn mutated_values_are_read_alike_in_every_way(settings in any::<[u8; SETTINGS]>(), text in mutated(values())) {
            check(&[&settings[..], &text].concat());
        }
    }

    /// A text of one byte without end, which counts what is taken of it.
    struct Endless {
        block: Vec<u8>,
        taken: usize,
    }

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            into.fill(self.block[0]);
            self.taken += into.len();
            Ok(into.len())
        }
    }

    impl BufRead for Endless {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            Ok(&self.block)
        }

        fn consume(&mut self, count: usize) {
            self.taken += count;
        }
    }

    #[test]
    fn a_record_without_end_is_held_up_to_the_limit() {
        let config: Config =
            serde_json::from_value(json!({"file_path": "f.csv", "header": false})).unwrap();
        for byte in [b'x', b'"'] {
            let mut source = Endless {
                block: vec![byte; 1 << 16],
                taken: 0,
            };
            let rules = config.source("f.csv").unwrap();
            let state = State::default();
            let mut table = Table::new(&config, &state).unwrap();
            let error = table.add(&mut source, &rules).unwrap_err();
            assert!(error.message.contains("32 MiB"), "{}", error.message);
            let taken = source.taken;
            assert!(
                (MAX_RECORD_BYTES..=MAX_RECORD_BYTES + 1).contains(&taken),
                "{taken}"
            );
        }
    }
}
