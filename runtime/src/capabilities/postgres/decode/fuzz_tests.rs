//! What holds for whatever bytes come: the decoder does not panic, reads no further than it may, takes memory within
//! bounds, does the same whatever the pieces, and hands out valid Arrow or nothing.
//!
//! Used by the tests and, with the same names in scope, by the fuzz target.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, RecordBatch};

use super::{Broken, Catalog, Column, Decoder, Decoding, Layout, Next};

/// What a server sent for each type, see `fuzz/record.py`.
pub const ROWS: &[u8] = include_bytes!("recorded/types.rows");

/// What a decoder may take for a stream of some bytes: the constants that bound the blocks, and some to spare.
const FREE_BYTES: usize = 256 << 20;
const BYTES_PER_WIRE_BYTE: usize = 4096;

/// The layout of the recorded rows, with decoding options that differ.
pub static LAYOUTS: LazyLock<Vec<Arc<Layout>>> = LazyLock::new(|| {
    let options = [
        r#"{}"#,
        r#"{"numeric": "float64", "infinity": "null", "nan": "null"}"#,
        r#"{"numeric": "decimal(50,9)", "infinity": "saturate", "columns": {"int4": {"not_null": true}}}"#,
    ];
    options.map(layout).into()
});

pub fn layout(decoding: &str) -> Arc<Layout> {
    #[derive(serde::Deserialize)]
    struct Recorded {
        columns: Vec<(String, u32, i32)>,
        catalog: Vec<Vec<Option<String>>>,
    }
    let recorded: Recorded = serde_json::from_str(include_str!("recorded/types.json")).unwrap();
    let columns: Vec<Column> = recorded
        .columns
        .into_iter()
        .map(|(name, oid, typmod)| Column { name, oid, typmod })
        .collect();
    let mut decoding: Decoding = serde_json::from_str(decoding).unwrap();
    let two = decoding.columns.entry("int4[] 2d".to_owned()).or_default();
    two.dimensions = 2;
    let catalog = Catalog::from_rows(&recorded.catalog).unwrap();
    Arc::new(Layout::new(&columns, &catalog, &decoding).unwrap())
}

/// The first byte chooses options, the second whether the rest is a stream or the value of one column.
#[cfg(not(test))]
pub fn check(input: &[u8]) {
    let [options, column, rest @ ..] = input else {
        return;
    };
    let layout = &LAYOUTS[usize::from(*options) % LAYOUTS.len()];
    match usize::from(*column).checked_sub(1) {
        None => check_stream(layout, rest),
        Some(column) => check_value(layout, column % layout.formats.len(), rest),
    }
}

/// `value` in one column, NULL in all others.
pub fn check_value(layout: &Arc<Layout>, column: usize, value: &[u8]) {
    let mut fields = vec![None; layout.formats.len()];
    fields[column] = Some(value);
    let mut stream = row(&fields);
    stream.extend(row(&fields));
    check_stream(layout, &stream);
}

pub fn check_stream(layout: &Arc<Layout>, stream: &[u8]) {
    let whole = decode(layout, stream, stream.len().max(1), usize::MAX);
    let pieces = decode(layout, stream, 1 + stream.len() / 7, 3);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            let rows = |batches: &[RecordBatch]| batches.iter().map(|batch| batch.num_rows()).sum();
            let count: usize = rows(&whole);
            assert_eq!(count, rows(&pieces));
            let mut start = 0;
            for piece in pieces {
                for (number, column) in piece.columns().iter().enumerate() {
                    let same = whole[0].column(number).slice(start, piece.num_rows());
                    assert_eq!(&same, column, "column {number}");
                }
                start += piece.num_rows();
            }
        }
        // Which of several faults is found first depends on the pieces.
        (whole, pieces) => assert_eq!(whole.is_err(), pieces.is_err()),
    }
}

/// Decodes a stream that arrives `piece` bytes at a time into batches of `max_rows`.
fn decode(
    layout: &Arc<Layout>,
    stream: &[u8],
    piece: usize,
    max_rows: usize,
) -> Result<Vec<RecordBatch>, Broken> {
    let mut decoder = Decoder::new(layout.clone());
    let mut batches = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        let input = &stream[start..end];
        let fed = decoder.feed(input, max_rows, 1 << 20)?;
        assert!(fed.consumed <= input.len());
        let bound = FREE_BYTES + BYTES_PER_WIRE_BYTE * stream.len();
        assert!(decoder.bytes() <= bound, "{} bytes", decoder.bytes());
        start += fed.consumed;
        match fed.next {
            Next::Full => batches.push(finish(&mut decoder)?),
            Next::Message(kind) => {
                assert_eq!(stream[start], kind);
                assert_ne!(kind, b'D');
                break;
            }
            Next::Input { wanted } => {
                assert!(wanted > end - start);
                if end == stream.len() {
                    break;
                }
                end = (end + piece).min(stream.len());
            }
        }
    }
    batches.push(finish(&mut decoder)?);
    Ok(batches)
}

fn finish(decoder: &mut Decoder) -> Result<RecordBatch, Broken> {
    let rows = decoder.rows();
    let batch = decoder.finish()?;
    assert_eq!(batch.num_rows(), rows);
    for column in batch.columns() {
        column.to_data().validate_full().unwrap();
    }
    Ok(batch)
}

/// A row as it is sent.
pub fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (fields.len() as i16).to_be_bytes().to_vec();
    for field in fields {
        let len = field.map_or(-1, |field| field.len() as i32);
        body.extend(len.to_be_bytes());
        body.extend(field.unwrap_or_default());
    }
    let mut message = vec![b'D'];
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend(body);
    message
}
