//! What the decoder makes of bytes, beginning with those that it refuses.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::fuzz_tests::{LAYOUTS, ROWS, check_stream, check_value, layout, row};
use super::layout::NOTE;
use super::{Broken, Catalog, Column, Decoder, Decoding, Fed, Invalid, Layout, Next};

/// A layout of one column `v`. `catalog`: rows of the catalog's answer, of which the last columns may be left out.
fn plan(
    oid: u32,
    typmod: i32,
    catalog: &[&[&str]],
    decoding: &str,
) -> Result<Arc<Layout>, Invalid> {
    let text = |text: &&str| Some((*text).to_owned()).filter(|text| !text.is_empty());
    let rows: Vec<Vec<Option<String>>> = catalog
        .iter()
        .map(|row| {
            row.iter()
                .map(text)
                .chain(std::iter::repeat(None))
                .take(8)
                .collect()
        })
        .collect();
    let column = Column {
        name: "v".to_owned(),
        oid,
        typmod,
    };
    let decoding: Decoding = serde_json::from_str(decoding).unwrap();
    Layout::new(&[column], &Catalog::from_rows(&rows).unwrap(), &decoding).map(Arc::new)
}

fn one_column(oid: u32, typmod: i32, catalog: &[&[&str]], decoding: &str) -> Arc<Layout> {
    plan(oid, typmod, catalog, decoding).unwrap()
}

fn decode(layout: &Arc<Layout>, values: &[Option<Vec<u8>>]) -> Result<RecordBatch, Broken> {
    let stream: Vec<u8> = values
        .iter()
        .flat_map(|value| row(&[value.as_deref()]))
        .collect();
    let mut decoder = Decoder::new(layout.clone());
    let fed = decoder.feed(&stream, usize::MAX, usize::MAX)?;
    assert_eq!(fed.consumed, stream.len());
    decoder.finish()
}

/// The values of a column as text, NULL as `NULL`.
fn shown(column: &dyn Array) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len())
        .map(|index| formatter.value(index).to_string())
        .collect()
}

/// One value of a column: how it is shown, or the message.
fn check(layout: &Arc<Layout>, value: impl Into<Vec<u8>>, expected: Result<&str, &str>) {
    let value = value.into();
    let result = decode(layout, &[Some(value.clone())]);
    let result = result.map(|batch| shown(batch.column(0)).remove(0));
    let result = result.map_err(|broken| broken.message);
    let expected = expected.map(str::to_owned);
    let expected = expected.map_err(|what| format!("row 1, column `v`: {what}"));
    assert_eq!(result, expected, "{value:?}");
}

/// A numeric as it is sent.
fn numeric(groups: &[u16], weight: i16, sign: u16, places: u16) -> Vec<u8> {
    let header = [groups.len() as u16, weight as u16, sign, places];
    header
        .iter()
        .chain(groups)
        .flat_map(|part| part.to_be_bytes())
        .collect()
}

/// Parts of a value: what is in front, then each with its length.
fn parts(head: &[i32], parts: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = head.iter().flat_map(|part| part.to_be_bytes()).collect();
    for part in parts {
        bytes.extend(part.map_or(-1, |part| part.len() as i32).to_be_bytes());
        bytes.extend(part.unwrap_or_default());
    }
    bytes
}

const NUMERIC: u32 = 1700;
const TEXT: u32 = 25;

/// numeric(12,2)
const TWELVE_TWO: i32 = (12 << 16 | 2) + 4;

const INT4_ARRAY: &[&[&str]] = &[&["1007", "_int4", "a", "23"], &["23", "int4", "b"]];

#[test]
fn refuses_options_that_do_not_fit() {
    let check = |oid, decoding: &str, message: &str| {
        let invalid = plan(oid, -1, INT4_ARRAY, decoding).unwrap_err();
        assert_eq!(invalid.message, message);
    };
    check(23, r#"{"columns": {"w": {}}}"#, "there is no column `w`");
    check(
        23,
        r#"{"columns": {"v": {"as": "float64"}}}"#,
        "column `v` is of type `int4`, not numeric",
    );
    check(
        23,
        r#"{"columns": {"v": {"dimensions": 2}}}"#,
        "column `v` is no array and has no dimensions",
    );
    check(
        1007,
        r#"{"columns": {"v": {"dimensions": 7}}}"#,
        "column `v` cannot have 7 dimensions",
    );
    for wrong in [
        r#"{"numeric": "decimal"}"#,
        r#"{"numeric": "decimal(77,2)"}"#,
        r#"{"numeric": "decimal(4,5)"}"#,
        r#"{"numeric": "decimal(4,-1)"}"#,
        r#"{"infinity": "no"}"#,
        r#"{"nan": "saturate"}"#,
        r#"{"other": 1}"#,
        r#"{"columns": {"v": {"other": 1}}}"#,
    ] {
        assert!(serde_json::from_str::<Decoding>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn refuses_a_catalog_that_is_none() {
    let row = |fields: &[&str]| {
        let fields = fields.iter().map(|field| Some((*field).to_owned()));
        Catalog::from_rows(&[fields.collect()]).unwrap_err()
    };
    assert_eq!(row(&["1"]), "the catalog answered 1 columns instead of 8");
    let oid = row(&["x", "t", "b", "0", "-1", "", "", ""]);
    assert_eq!(oid, "the catalog's oid `x` is not a number");
    let labels = row(&["1", "t", "e", "0", "-1", "{", "", "0"]);
    assert!(labels.starts_with("the catalog's answer is not understood"));
}

#[test]
fn refuses_rows_that_do_not_add_up() {
    let layout = one_column(23, -1, &[], "{}");
    let check = |stream: &[u8], message: &str| {
        let mut decoder = Decoder::new(layout.clone());
        let broken = decoder.feed(stream, 10, 1 << 20).unwrap_err();
        assert_eq!(broken.message, message);
    };
    let good = row(&[Some(&[0, 0, 0, 7])]);
    check(&row(&[None, None]), "row 1: a row of 2 fields instead of 1");
    check(
        b"D\0\0\0\x05\0",
        "row 1: the fields of the row do not add up",
    );
    check(
        b"D\xFF\xFF\xFF\xFF\0",
        "row 1: the fields of the row do not add up",
    );
    for (place, byte) in [(10, 5), (10, 3), (10, 0xFF), (7, 0x80), (7, 0x7F)] {
        let mut bad = good.clone();
        bad[place] = byte;
        // The second row of five, so that it is found with others.
        let stream = [&good[..], &bad, &good, &good, &good].concat();
        let mut decoder = Decoder::new(layout.clone());
        assert!(
            decoder.feed(&stream, 10, 1 << 20).is_err(),
            "{place} {byte}"
        );
    }
    let mut short = row(&[Some(&[7])]);
    check(&short, "row 1, column `v`: a value of 1 bytes instead of 4");
    short.splice(0..0, good);
    check(&short, "row 2, column `v`: a value of 1 bytes instead of 4");
}

#[test]
fn refuses_a_null_where_there_is_none() {
    let layout = one_column(23, -1, &[], r#"{"columns": {"v": {"not_null": true}}}"#);
    assert!(!layout.schema.field(0).is_nullable());
    let some = || Some(vec![0, 0, 0, 1]);
    let broken = decode(&layout, &[some(), some(), None]).unwrap_err();
    let message = "row 3, column `v`: a NULL in a column that is said to have none";
    assert_eq!(broken.message, message);
    // A value that is read as NULL counts.
    let options = r#"{"infinity": "null", "columns": {"v": {"not_null": true}}}"#;
    let layout = one_column(1082, -1, &[], options);
    assert!(decode(&layout, &[Some(i32::MAX.to_be_bytes().into())]).is_err());
}

#[test]
fn refuses_text_that_is_not_utf8() {
    let layout = one_column(TEXT, -1, &[], "{}");
    let values: Vec<_> = ["a", "é", "b"]
        .map(|text| Some(text.as_bytes().to_vec()))
        .into();
    assert!(decode(&layout, &values).is_ok());
    // Half a character, and the other half in the next value.
    let halves = [vec![b'x', 0xC3], vec![0xA9, b'y']].map(Some);
    let broken = decode(&layout, &halves).unwrap_err();
    assert_eq!(
        broken.message,
        "row 1, column `v`: a text that is not UTF-8"
    );
    assert!(broken.hint.unwrap().contains("convert_to(v, 'SQL_ASCII')"));
    let broken = decode(&layout, &[None, Some(vec![b'a']), Some(vec![0xFF])]).unwrap_err();
    assert_eq!(
        broken.message,
        "row 3, column `v`: a text that is not UTF-8"
    );
}

#[test]
fn gives_nothing_out_after_a_refusal() {
    let layout = one_column(TEXT, -1, &[], "{}");
    let mut decoder = Decoder::new(layout);
    assert!(decoder.feed(&row(&[Some(&[0xFF])]), 10, 1 << 20).is_err());
    assert!(decoder.finish().is_err());
}

#[test]
fn decimals_are_exact_or_refused() {
    let layout = one_column(NUMERIC, TWELVE_TWO, &[], "{}");
    let over = "`10000000000.00` does not fit decimal(12,2)";
    check(&layout, numeric(&[100], 2, 0, 2), Err(over));
    let third = "`0.333` does not fit decimal(12,2)";
    check(&layout, numeric(&[3330], -1, 0, 3), Err(third));
    let small = "`0.00001` does not fit decimal(12,2)";
    check(&layout, numeric(&[1000], -2, 0, 5), Err(small));
    let nan = "a decimal has no value for `NaN`";
    check(&layout, numeric(&[], 0, 0xC000, 0), Err(nan));
    let infinity = "a decimal has no value for `-Infinity`";
    check(&layout, numeric(&[], 0, 0xF000, 0), Err(infinity));
    for damaged in [
        numeric(&[10_000], 0, 0, 0),
        numeric(&[1, 0x8000], 0, 0, 0),
        numeric(&[1], 0, 0x1234, 0),
        numeric(&[1], 0, 0, 0x4000),
        numeric(&[1], 0, 0, 0)[..9].to_vec(),
        vec![],
    ] {
        check(&layout, damaged, Err("a value that is no numeric"));
    }
    check(&layout, numeric(&[], 0, 0, 2), Ok("0.00"));
    check(&layout, numeric(&[1], 0, 0, 2), Ok("1.00"));
    check(&layout, numeric(&[1], 2, 0, 2), Ok("100000000.00"));
    check(
        &layout,
        numeric(&[1234, 5600], 0, 0x4000, 2),
        Ok("-1234.56"),
    );
    check(&layout, numeric(&[100], -1, 0, 2), Ok("0.01"));
    check(
        &layout,
        numeric(&[99, 9999, 9999, 9900], 2, 0, 2),
        Ok("9999999999.99"),
    );
    // Groups of zeros that a server would have left out.
    check(&layout, numeric(&[0, 1, 5000, 0, 0], 1, 0, 2), Ok("1.50"));
    let layout = one_column(NUMERIC, TWELVE_TWO, &[], r#"{"nan": "null"}"#);
    check(&layout, numeric(&[], 0, 0xC000, 0), Ok("NULL"));
}

#[test]
fn decimals_have_the_digits_of_their_type() {
    let check = |precision: i32, scale: i32, expected: &str| {
        let typmod = (precision << 16 | scale & 0x7FF) + 4;
        let layout = one_column(NUMERIC, typmod, &[], "{}");
        let field = layout.schema.field(0);
        let shown = match field.metadata().get(NOTE) {
            Some(note) => note.clone(),
            None => field.data_type().to_string(),
        };
        assert_eq!(shown, expected);
    };
    check(38, 0, "Decimal128(38, 0)");
    check(39, 39, "Decimal256(39, 39)");
    check(3, -2, "Decimal128(5, 0)");
    check(2, 4, "Decimal128(4, 4)");
    check(76, 10, "Decimal256(76, 10)");
    check(
        1000,
        -1000,
        "numeric(1000,-1000) has more digits than a decimal holds, 76: read as the text that the server prints",
    );
}

#[test]
fn a_numeric_without_a_precision_is_what_the_options_say() {
    let value = || numeric(&[12, 3400, 5000], 0, 0, 8);
    let layout = one_column(NUMERIC, -1, &[], "{}");
    assert_eq!(layout.formats, [0]);
    check(&layout, "12.34005000", Ok("12.34005000"));
    let layout = one_column(NUMERIC, -1, &[], r#"{"numeric": "float64"}"#);
    check(&layout, value(), Ok("12.34005"));
    check(&layout, numeric(&[], 0, 0xC000, 0), Ok("NaN"));
    check(&layout, numeric(&[], 0, 0xF000, 0), Ok("-inf"));
    check(&layout, numeric(&[1], i16::MAX, 0, 0), Ok("inf"));
    check(&layout, numeric(&[1], i16::MIN, 0, 0), Ok("0.0"));
    let layout = one_column(NUMERIC, -1, &[], r#"{"numeric": "decimal(10,4)"}"#);
    let message = "`12.34005000` does not fit decimal(10,4)";
    check(&layout, value(), Err(message));
    let options = r#"{"numeric": "decimal(10,4)", "columns": {"v": {"as": "decimal(60,8)"}}}"#;
    check(
        &one_column(NUMERIC, -1, &[], options),
        value(),
        Ok("12.34005000"),
    );
    let layout = one_column(
        NUMERIC,
        TWELVE_TWO,
        &[],
        r#"{"columns": {"v": {"as": "text"}}}"#,
    );
    check(&layout, "NaN", Ok("NaN"));
}

#[test]
fn dates_and_times_beyond_arrow_are_refused() {
    let date = |decoding| one_column(1082, -1, &[], decoding);
    let infinite = "an infinite date has no Arrow value";
    check(&date("{}"), i32::MAX.to_be_bytes(), Err(infinite));
    check(
        &date(r#"{"infinity": "null"}"#),
        i32::MIN.to_be_bytes(),
        Ok("NULL"),
    );
    let far = "the date is out of the range of Arrow";
    check(&date("{}"), (i32::MAX - 10_956).to_be_bytes(), Err(far));
    check(&date("{}"), 0_i32.to_be_bytes(), Ok("2000-01-01"));
    check(&date("{}"), (-10_958_i32).to_be_bytes(), Ok("1969-12-31"));

    let timestamp = |decoding| one_column(1114, -1, &[], decoding);
    let infinite = "an infinite timestamp has no Arrow value";
    check(&timestamp("{}"), i64::MIN.to_be_bytes(), Err(infinite));
    let far = "the timestamp is later than the year 294246, the last one of Arrow's";
    check(&timestamp("{}"), (i64::MAX - 1).to_be_bytes(), Err(far));
    check(
        &timestamp("{}"),
        (-1_i64).to_be_bytes(),
        Ok("1999-12-31T23:59:59.999999"),
    );
    let saturate = timestamp(r#"{"infinity": "saturate"}"#);
    let values = [i64::MAX, i64::MIN].map(|micros| Some(micros.to_be_bytes().to_vec()));
    let batch = decode(&saturate, &values).unwrap();
    let buffer = batch.column(0).to_data().buffers()[0].clone();
    assert_eq!(buffer.typed_data::<i64>(), [i64::MAX, i64::MIN]);

    let time = one_column(1083, -1, &[], "{}");
    check(&time, (-1_i64).to_be_bytes(), Err("`-1` is no time of day"));
    let late = "`86400000001` is no time of day";
    check(&time, 86_400_000_001_i64.to_be_bytes(), Err(late));
    let batch = decode(&time, &[Some(86_400_000_000_i64.to_be_bytes().to_vec())]).unwrap();
    let buffer = batch.column(0).to_data().buffers()[0].clone();
    assert_eq!(buffer.typed_data::<i64>(), [86_400_000_000]);

    let interval = |micros: i64, days: i32, months: i32| {
        [
            &micros.to_be_bytes()[..],
            &days.to_be_bytes(),
            &months.to_be_bytes(),
        ]
        .concat()
    };
    let layout = one_column(1186, -1, &[], "{}");
    let long = "the time of the interval is more than Arrow holds, 2562047 hours";
    check(&layout, interval(i64::MAX / 1000 + 1, 0, 0), Err(long));
    let infinite = "an infinite interval has no Arrow value";
    let value = interval(i64::MAX, i32::MAX, i32::MAX);
    check(&layout, value.clone(), Err(infinite));
    check(
        &one_column(1186, -1, &[], r#"{"infinity": "null"}"#),
        value,
        Ok("NULL"),
    );
}

#[test]
fn values_of_another_size_or_form_are_refused() {
    let sizes = [
        (16, 2),
        (21, 4),
        (23, 8),
        (20, 4),
        (26, 8),
        (700, 8),
        (701, 4),
        (790, 4),
    ];
    for (oid, size) in [(1082, 8), (1083, 4), (1114, 4), (1186, 12), (2950, 15)]
        .iter()
        .chain(&sizes)
    {
        let money: &[&[&str]] = &[&["790", "money", "b", "0", "-1", "", "", "2"]];
        let layout = one_column(*oid, -1, money, "{}");
        let broken = decode(&layout, &[None, Some(vec![0; *size])]).unwrap_err();
        assert!(
            broken.message.starts_with("row 2, column `v`: a value"),
            "{broken:?}"
        );
    }
    check(
        &one_column(16, -1, &[], "{}"),
        [2],
        Err("a value that is no boolean"),
    );
    let jsonb = one_column(3802, -1, &[], "{}");
    check(&jsonb, *b"\x02{}", Err("a jsonb of an unknown version"));
    check(&jsonb, [], Err("a jsonb of an unknown version"));
    check(&jsonb, *b"\x01{}", Ok("{}"));
}

#[test]
fn arrays_that_do_not_add_up_are_refused() {
    let layout = one_column(1007, -1, INT4_ARRAY, "{}");
    let one: Option<&[u8]> = Some(&[0, 0, 0, 1]);
    let damaged = Err("an array whose parts do not add up");
    check(&layout, parts(&[1, 0, 23, 2, 1], &[one]), damaged);
    check(&layout, parts(&[1, 0, 23, 1, 1], &[one, one]), damaged);
    check(&layout, parts(&[1, 0, 23, i32::MAX, 1], &[one]), damaged);
    check(&layout, parts(&[1, 0, 23, 0, 1], &[]), damaged);
    check(&layout, parts(&[1, 0, 23, -1, 1], &[]), damaged);
    check(&layout, parts(&[-1, 0, 23], &[]), damaged);
    check(&layout, parts(&[7, 0, 23], &[]), damaged);
    check(&layout, parts(&[0, 0], &[]), damaged);
    check(&layout, parts(&[0, 0, 23, 0], &[]), damaged);
    let other = "an array of type 20 instead of 23";
    check(&layout, parts(&[0, 0, 20], &[]), Err(other));
    let square = parts(&[2, 0, 23, 1, 1, 2, 1], &[one, None]);
    let message = "an array of 2 dimensions, not of 1";
    check(&layout, square.clone(), Err(message));
    check(&layout, parts(&[0, 0, 23], &[]), Ok("[]"));
    check(
        &layout,
        parts(&[1, 1, 23, 2, 1], &[one, None]),
        Ok("[1, NULL]"),
    );
    let size = "a value of 3 bytes instead of 4";
    check(
        &layout,
        parts(&[1, 0, 23, 2, 1], &[one, Some(&[1, 2, 3])]),
        Err(size),
    );

    let options = r#"{"columns": {"v": {"dimensions": 2}}}"#;
    let layout = one_column(1007, -1, INT4_ARRAY, options);
    check(&layout, square.clone(), Ok("[[1, NULL]]"));
    check(&layout, parts(&[0, 0, 23], &[]), Ok("[]"));
    let huge = parts(&[2, 0, 23, i32::MAX, 1, i32::MAX, 1], &[one]);
    check(&layout, huge, damaged);
    // The fault of an item is that of its row.
    let bad = parts(&[2, 0, 23, 2, 1, 1, 1], &[one, Some(&[1])]);
    let values = [Some(square.clone()), None, Some(square), Some(bad)];
    let broken = decode(&layout, &values).unwrap_err();
    assert_eq!(
        broken.message,
        "row 4, column `v`: a value of 1 bytes instead of 4"
    );
}

#[test]
fn a_short_array_cannot_take_a_lot_of_memory() {
    // A composite of a thousand attributes, and an array of NULLs of it.
    let attributes: Vec<_> = (0..1000).map(|n| format!(r#"["a{n}",23,-1]"#)).collect();
    let attributes = format!("[{}]", attributes.join(","));
    let catalog: &[&[&str]] = &[
        &["901", "_wide", "a", "900"],
        &["900", "wide", "c", "", "", &attributes],
    ];
    let layout = one_column(901, -1, catalog, "{}");
    let value = parts(&[1, 1, 900, 100_000, 1], &vec![None; 100_000]);
    check(&layout, value, Err("the arrays are too large in memory"));
    let value = parts(&[1, 1, 900, 10, 1], &[None; 10]);
    assert!(decode(&layout, &[Some(value)]).is_ok());
    // Numerics of ten bytes that print to 131,072 digits.
    let catalog: &[&[&str]] = &[&["1231", "_numeric", "a", "1700"]];
    let layout = one_column(1231, -1, catalog, "{}");
    let long = numeric(&[1], i16::MAX, 0, 0);
    let value = parts(&[1, 0, 1700, 500, 1], &vec![Some(&long[..]); 500]);
    check(
        &layout,
        value,
        Err("the values of the column are too long for one batch"),
    );
    let value = parts(&[1, 0, 1700, 2, 1], &[Some(&long[..]); 2]);
    assert!(decode(&layout, &[Some(value)]).is_ok());
}

#[test]
fn types_without_end_are_read_as_text() {
    let deep: Vec<Vec<String>> = (1000..1040)
        .map(|oid| {
            [
                oid.to_string(),
                "t".into(),
                "a".into(),
                (oid + 1).to_string(),
            ]
            .into()
        })
        .collect();
    // Each has two of the next: 2^30 parts.
    let wide: Vec<Vec<String>> = (2000..2030)
        .map(|oid| {
            let part = if oid == 2029 { 23 } else { oid + 1 };
            let detail = format!(r#"[["a",{part},-1],["b",{part},-1]]"#);
            [
                oid.to_string(),
                "t".into(),
                "c".into(),
                String::new(),
                String::new(),
                detail,
            ]
            .into()
        })
        .collect();
    let own = vec![
        "3000".into(),
        "t".into(),
        "d".into(),
        "3000".into(),
        "-1".into(),
    ];
    let all: Vec<Vec<String>> = deep.into_iter().chain(wide).chain([own]).collect();
    let rows: Vec<Vec<&str>> = all
        .iter()
        .map(|row| row.iter().map(String::as_str).collect())
        .collect();
    let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
    for oid in [1000, 2000, 3000] {
        let layout = one_column(oid, -1, &rows, "{}");
        assert_eq!(layout.formats, [0]);
        let note = &layout.schema.field(0).metadata()[NOTE];
        let end = "has too many parts: read as the text that the server prints";
        assert!(note.ends_with(end), "{note}");
    }
}

#[test]
fn composites_ranges_and_maps_that_do_not_add_up_are_refused() {
    let catalog: &[&[&str]] = &[&["900", "one", "c", "", "", r#"[["a",23,-1]]"#]];
    let layout = one_column(900, -1, catalog, "{}");
    let one: Option<&[u8]> = Some(&[0, 0, 0, 1]);
    let number = "a composite with another number of attributes than its type";
    check(&layout, parts(&[2, 23], &[one]), Err(number));
    check(&layout, parts(&[], &[]), Err(number));
    let kind = "an attribute of type 25 instead of 23";
    check(&layout, parts(&[1, 25], &[one]), Err(kind));
    let damaged = Err("a value whose parts do not add up");
    check(&layout, parts(&[1, 23, 5], &[]), damaged);
    check(&layout, parts(&[1, 23], &[one, one]), damaged);
    check(&layout, parts(&[1, 23], &[None]), Ok("{a: NULL}"));

    let catalog: &[&[&str]] = &[&["3904", "int4range", "r", "23"], &["23", "int4", "b"]];
    let layout = one_column(3904, -1, catalog, "{}");
    check(&layout, [], damaged);
    check(&layout, [0], damaged);
    check(&layout, [1, 0], damaged);
    check(&layout, [&[8][..], &parts(&[], &[None])].concat(), damaged);
    check(
        &layout,
        [&[0x02 | 0x10][..], &parts(&[], &[one])].concat(),
        Ok("{lower: 1, upper: NULL, lower_inclusive: true, upper_inclusive: false, empty: false}"),
    );

    let catalog: &[&[&str]] = &[&["16400", "hstore", "b", "0", "-1", "", "hstore"]];
    let layout = one_column(16400, -1, catalog, "{}");
    let (key, text): (Option<&[u8]>, &[u8]) = (Some(b"k"), b"\xFF");
    check(&layout, parts(&[1], &[None, key]), damaged);
    check(&layout, parts(&[1], &[key]), damaged);
    check(&layout, parts(&[-1], &[]), damaged);
    check(&layout, parts(&[i32::MAX], &[key, key]), damaged);
    check(
        &layout,
        parts(&[1], &[key, Some(text)]),
        Err("a text that is not UTF-8"),
    );
    check(&layout, parts(&[1], &[key, None]), Ok("{k: NULL}"));
    // A type of that name which is not the extension's.
    let catalog: &[&[&str]] = &[&["16400", "hstore", "b", "0", "-1"]];
    assert_eq!(one_column(16400, -1, catalog, "{}").formats, [0]);
}

#[test]
fn labels_keep_their_order_and_new_ones_follow() {
    let catalog: &[&[&str]] = &[&["900", "mood", "e", "", "", r#"["sad","ok","happy"]"#]];
    let layout = one_column(900, -1, catalog, "{}");
    let values = ["happy", "new", "sad", "new"].map(|label| Some(label.as_bytes().to_vec()));
    let batch = decode(&layout, &values).unwrap();
    assert_eq!(shown(batch.column(0)), ["happy", "new", "sad", "new"]);
    let labels = batch.column(0).to_data().child_data()[0].clone();
    let labels = arrow::array::make_array(labels);
    assert_eq!(shown(&labels), ["sad", "ok", "happy", "new"]);
    check(&layout, [0xFF], Err("a text that is not UTF-8"));
}

#[test]
fn batches_end_by_rows_and_by_bytes() {
    let layout = one_column(TEXT, -1, &[], "{}");
    let stream = row(&[Some(&[b'x'; 100])]).repeat(1000);
    let mut decoder = Decoder::new(layout);
    let next = Next::Full;
    let fed = decoder.feed(&stream, 300, usize::MAX).unwrap();
    assert_eq!(
        fed,
        Fed {
            consumed: 300 * 111,
            next
        }
    );
    assert_eq!(decoder.finish().unwrap().num_rows(), 300);
    let rest = &stream[fed.consumed..];
    let fed = decoder.feed(rest, usize::MAX, 20_000).unwrap();
    assert_eq!(fed.next, Next::Full);
    assert!(
        (20_000..40_000).contains(&decoder.bytes()),
        "{}",
        decoder.bytes()
    );
    let batch = decoder.finish().unwrap();
    let rest = &rest[fed.consumed..];
    let fed = decoder.feed(rest, usize::MAX, usize::MAX).unwrap();
    assert_eq!(fed.next, Next::Input { wanted: 5 });
    assert_eq!(decoder.rows() + batch.num_rows(), 700);
    // One row is decoded even if nothing is allowed.
    let mut decoder = Decoder::new(one_column(TEXT, -1, &[], "{}"));
    assert_eq!(decoder.feed(&stream, 0, 0).unwrap().consumed, 111);
}

#[test]
fn says_how_much_is_missing_and_what_comes_instead() {
    let layout = one_column(23, -1, &[], "{}");
    let check = |input: &[u8], consumed, next| {
        let mut decoder = Decoder::new(layout.clone());
        assert_eq!(
            decoder.feed(input, 10, 1000).unwrap(),
            Fed { consumed, next }
        );
    };
    let whole = row(&[None]);
    check(&[], 0, Next::Input { wanted: 5 });
    check(&whole[..3], 0, Next::Input { wanted: 5 });
    check(&whole[..10], 0, Next::Input { wanted: 11 });
    check(&[&whole[..], b"C"].concat(), 11, Next::Message(b'C'));
    check(b"Z\0\0\0\x05I", 0, Next::Message(b'Z'));
}

#[test]
fn rows_without_columns_are_counted() {
    let layout = Layout::new(&[], &Catalog::default(), &Decoding::default()).unwrap();
    let mut decoder = Decoder::new(Arc::new(layout));
    let fed = decoder.feed(&row(&[]).repeat(300), 1000, 1000).unwrap();
    assert_eq!(fed.next, Next::Input { wanted: 5 });
    assert_eq!(decoder.finish().unwrap().num_rows(), 300);
}

#[test]
fn nulls_are_where_they_were() {
    // Lengths around those of words and blocks, and a first NULL at each place.
    let layout = one_column(23, -1, &[], "{}");
    for count in [1, 63, 64, 65, 127, 128, 129, 300] {
        for null in 0..count {
            let is_null = |index: usize| index >= null && (index - null).is_multiple_of(3);
            let values: Vec<_> = (0..count)
                .map(|index| (!is_null(index)).then(|| (index as i32).to_be_bytes().to_vec()))
                .collect();
            let batch = decode(&layout, &values).unwrap();
            for index in 0..count {
                assert_eq!(
                    batch.column(0).is_null(index),
                    is_null(index),
                    "{count} {null} {index}"
                );
            }
        }
    }
}

#[test]
fn a_recorded_row_of_every_type_is_what_the_server_meant() {
    let layout = layout("{\"infinity\": \"null\"}");
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("recorded/types.json")).unwrap();
    assert_eq!(serde_json::json!(layout.formats), recorded["formats"]);
    let mut decoder = Decoder::new(layout.clone());
    let fed = decoder.feed(ROWS, usize::MAX, usize::MAX).unwrap();
    assert_eq!(fed.next, Next::Message(b'C'));
    let batch = decoder.finish().unwrap();
    let mut text = String::new();
    for (field, column) in layout.schema.fields().iter().zip(batch.columns()) {
        let mut metadata: Vec<_> = field
            .metadata()
            .values()
            .filter(|value| !value.is_empty())
            .collect();
        metadata.sort();
        text += &format!("{}: {} {metadata:?}\n", field.name(), field.data_type());
        for value in shown(column).iter().filter(|value| *value != "NULL") {
            text += &format!("    {value}\n");
        }
        let last = column.len() - 1;
        assert!(column.is_null(last), "{}", field.name());
    }
    let expected = include_str!("recorded/types.txt");
    assert_eq!(text, expected, "\n{text}");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(options in 0..3_usize, stream: Vec<u8>) {
        check_stream(&LAYOUTS[options], &stream);
    }

    #[test]
    fn a_damaged_stream_is_decoded_or_refused(
        options in 0..3_usize,
        edits in prop::collection::vec((0..ROWS.len(), any::<u8>()), 1..4),
        end in 0..ROWS.len() * 4,
    ) {
        let mut stream = ROWS.to_vec();
        for (place, byte) in edits {
            stream[place] = byte;
        }
        stream.truncate(end.max(1));
        check_stream(&LAYOUTS[options], &stream);
    }

    #[test]
    fn a_damaged_value_is_decoded_or_refused(
        options in 0..3_usize,
        column in 0..LAYOUTS[0].formats.len(),
        row in 0..5_usize,
        edits in prop::collection::vec((0..200_usize, any::<u8>()), 0..4),
        end in 0..400_usize,
    ) {
        let mut value = recorded_value(row, column);
        for (place, byte) in edits {
            let len = value.len().max(1);
            if let Some(old) = value.get_mut(place % len) {
                *old = byte;
            }
        }
        value.truncate(end);
        check_value(&LAYOUTS[options], column, &value);
    }
}

/// Empty for NULL.
fn recorded_value(row: usize, column: usize) -> Vec<u8> {
    let int = |at: usize| i32::from_be_bytes(ROWS[at..at + 4].try_into().unwrap());
    let mut at = 0;
    for _ in 0..row {
        at += 1 + int(at + 1) as usize;
    }
    if ROWS[at] != b'D' {
        return Vec::new();
    }
    at += 7;
    for _ in 0..column {
        at += 4 + int(at).max(0) as usize;
    }
    ROWS[at + 4..at + 4 + int(at).max(0) as usize].to_vec()
}
