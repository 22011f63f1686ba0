//! Whole files: text in, rows or the error's text out.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use dativo_connector::{Error, Result};
use proptest::prelude::*;

use crate::boundary::{Boundary, boundaries};
use crate::config::Config;
use crate::head::{Head, Table};
use crate::rows::{Rows, Text};
use crate::split::{State, targets};
use crate::types::Column;
use crate::window::Window;

fn config(text: &str) -> Config {
    let mut config: Config = serde_json::from_str(text).unwrap();
    config.file_path = "f.csv".to_owned();
    config
}

/// Reads `text` as `pieces` splits at most, in batches of `batch` rows.
fn read(
    text: &[u8],
    config: &Config,
    pieces: u32,
    batch: usize,
) -> Result<(Vec<Column>, Vec<Vec<String>>)> {
    let source = config.source("f.csv")?;
    let (head, columns) = head(text, config)?;
    let first = Boundary {
        offset: head.offset,
        line: head.line,
    };
    let rest = &text[head.offset as usize..];
    let targets: Vec<u64> = targets(&[rest.len() as u64], 1, pieces)
        .concat()
        .iter()
        .map(|target| head.offset + target)
        .collect();
    let mut starts = vec![first];
    starts.extend(boundaries(rest, source.format, first, &targets)?);
    let mut ends: Vec<usize> = starts[1..]
        .iter()
        .map(|next| next.offset as usize)
        .collect();
    ends.push(text.len());
    let mut rows = Vec::new();
    for (start, end) in starts.iter().zip(ends) {
        let piece = &text[start.offset as usize..end];
        let window = Window::new(piece, Some(piece.len() as u64), start.line);
        let text = Text {
            window,
            source: source.clone(),
            order: head.order.clone(),
        };
        for next in collect(text, columns.clone(), batch)? {
            rows.extend((0..next.num_rows()).map(|row| shown(&next, row)));
        }
    }
    Ok((columns, rows))
}

fn head(text: &[u8], config: &Config) -> Result<(Head, Vec<Column>)> {
    let state = State::default();
    let mut table = Table::new(config, &state)?;
    let head = table.add(text, &config.source("f.csv")?)?;
    Ok((head, table.columns()?))
}

/// The batches of `text`, of at most `max` rows.
fn collect(mut text: Text<&[u8]>, columns: Vec<Column>, max: usize) -> Result<Vec<RecordBatch>> {
    let mut rows = Rows::new(columns);
    let mut batches = Vec::new();
    loop {
        let is_full = rows.fill(&mut text, max)?;
        if let Some(batch) = rows.finish()? {
            assert!((1..=max).contains(&batch.num_rows()));
            batches.push(batch);
        }
        if !is_full {
            return Ok(batches);
        }
    }
}

/// The batches of a whole file.
fn batches(text: &[u8], config: &Config, max: usize) -> Vec<RecordBatch> {
    let (head, columns) = head(text, config).unwrap();
    let rest = &text[head.offset as usize..];
    let text = Text {
        window: Window::new(rest, None, head.line),
        source: config.source("f.csv").unwrap(),
        order: head.order,
    };
    collect(text, columns, max).unwrap()
}

/// Every value of a row as text; null is `∅`.
fn shown(batch: &RecordBatch, row: usize) -> Vec<String> {
    let value = |column: &dyn Array| match column.data_type() {
        _ if column.is_null(row) => "∅".to_owned(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Date32 => format!("{}d", column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(_, zone) => format!(
            "{}us{}",
            column.as_primitive::<TimestampMicrosecondType>().value(row),
            zone.as_deref().unwrap_or_default()
        ),
        _ => column.as_string::<i32>().value(row).to_owned(),
    };
    batch
        .columns()
        .iter()
        .map(|column| value(column.as_ref()))
        .collect()
}

/// Lines of `a|b`, after a line of names and types.
fn table(text: &[u8], config_text: &str) -> Result<String> {
    let (columns, rows) = read(text, &config(config_text), 1, 1000)?;
    let names = columns
        .iter()
        .map(|column| format!("{}:{}", column.name, column.kind));
    let mut lines = vec![names.collect::<Vec<_>>().join("|")];
    lines.extend(rows.iter().map(|row| row.join("|")));
    Ok(lines.join("\n"))
}

fn check(text: &str, config_text: &str, expected: &str) {
    assert_eq!(
        table(text.as_bytes(), config_text).unwrap(),
        expected,
        "{text:?}"
    );
}

fn refused(text: impl AsRef<[u8]>, config_text: &str, message: &str, hint: &str) {
    let Error {
        message: found,
        hint: found_hint,
        ..
    } = table(text.as_ref(), config_text).expect_err(message);
    assert_eq!(found, message);
    let found_hint = found_hint.unwrap_or_default();
    assert!(
        found_hint.contains(hint) && !hint.is_empty(),
        "{message}: {found_hint}"
    );
}

#[test]
fn refuses_broken_texts_and_says_where() {
    refused(
        "a,b\n1,2\n3\n",
        "{}",
        "`f.csv` line 3, column 2: the record has 1 field where 2 are expected",
        "delimiter",
    );
    refused(
        "a,b\n\"x\ny\",2\n3,4,5\n",
        "{}",
        "`f.csv` line 4, column 3: the record has 3 fields where 2 are expected",
        "delimiter",
    );
    refused(
        "a,b\n1,\"2\n3,4\n",
        "{}",
        "`f.csv` line 2, column 2: the quote that opens here never closes",
        "quote: \"\"",
    );
    refused(
        "a,b\n1,\"2\"3\n",
        "{}",
        "`f.csv` line 2, column 2: text follows a closing quote: `3\\n`",
        "double a quote",
    );
    refused(
        "a,b\r1,2\r",
        "{}",
        "`f.csv` line 1, column 2: a carriage return without a line feed outside quotes",
        "tr '\\r' '\\n'",
    );
    refused(
        b"a,b\n1,\xe4\n",
        "{}",
        "`f.csv` line 2, byte 3: `0xe4` is not UTF-8",
        "encoding: latin-1",
    );
    refused(
        b"a,b\n\"x\ny\xff\",1\n",
        "{}",
        "`f.csv` line 3, byte 2: `0xff` is not UTF-8",
        "encoding: latin-1",
    );
    refused(
        b"\xe4,b\n1,2\n",
        "{}",
        "`f.csv` line 1, byte 1: `0xe4` is not UTF-8",
        "iconv",
    );
    refused(b"\xff\xfea\0", "{}", "`f.csv` is UTF-16, not text", "iconv");
    refused(
        b"\x1f\x8b\x08",
        "{}",
        "`f.csv` is gzip data, not text",
        "compression: gzip",
    );
}

#[test]
fn refuses_heads_that_name_no_columns() {
    refused("", "{}", "`f.csv` has no header: it is empty", "schema");
    refused(
        "\n\r\n",
        "{}",
        "`f.csv` has no header: it is empty",
        "schema",
    );
    refused(
        "",
        r#"{"header": false}"#,
        "`f.csv` has no record: it is empty",
        "schema",
    );
    refused(
        "a\n",
        r#"{"skip_rows": 1}"#,
        "`f.csv` has no header: it is empty after `skip_rows`",
        "schema",
    );
    refused(
        "a\n",
        r#"{"skip_rows": 2}"#,
        "`f.csv` ends after line 1; `skip_rows` is 2",
        "lower",
    );
    refused(
        "a,b,a\n",
        "{}",
        "`f.csv`: columns 1 and 3 are both named `a`",
        "`header: false` and `skip_rows: 1`",
    );
    refused(
        "column_2,\n",
        "{}",
        "`f.csv`: columns 1 and 2 are both named `column_2`",
        "rename one",
    );
    refused(
        "a,b\n",
        r#"{"schema": [{"name": "c", "type": "string"}]}"#,
        "`schema` declares `c`, which is no column of `f.csv`",
        "its columns are `a`, `b`",
    );
    refused(
        "1,2\n",
        r#"{"header": false, "schema": [{"name": "c", "type": "string"}]}"#,
        "`schema` lists 1 columns; `f.csv` has 2",
        "column_2",
    );
}

#[test]
fn refuses_a_value_that_breaks_its_type_and_names_the_remedy() {
    let one = r#"{"sample_rows": 1}"#;
    refused(
        "id,num\n1,2\n\n2,\"x\ny\"\n",
        one,
        "`f.csv` line 4, column 2 `num`: `x\\ny` is not an int64",
        "`schema: [{name: num, type: string}]`, or raise `sample_rows`",
    );
    refused(
        "a\n1\n007\n",
        one,
        "`f.csv` line 3, column 1 `a`: `007` is not an int64",
        "{name: a, type: string}",
    );
    refused(
        "a\n1\n1.5\n",
        one,
        "`f.csv` line 3, column 1 `a`: `1.5` is not an int64",
        "sample suggested int64",
    );
    refused(
        "a\n2024-01-31T12:00\n2024-01-31T12:00Z\n",
        one,
        "`f.csv` line 3, column 1 `a`: `2024-01-31T12:00Z` is not a timestamp",
        "raise `sample_rows`",
    );
    refused(
        "a b\ntrue\nyes\n",
        one,
        "`f.csv` line 3, column 1 `a b`: `yes` is not a bool",
        "{name: \"a b\", type: string}",
    );
    refused(
        "a\nx\n",
        r#"{"schema": [{"name": "a", "type": "date"}]}"#,
        "`f.csv` line 2, column 1 `a`: `x` is not a date",
        "correct the file, or declare another type",
    );
    refused(
        "a\n1\n\n",
        r#"{"null_values": ["NA"], "sample_rows": 1}"#,
        "`f.csv` line 3, column 1 `a`: `` is not an int64",
        "raise `sample_rows`",
    );
    let long = format!("a\n1\n{}\n", "y".repeat(1000));
    let message = format!(
        "`f.csv` line 3, column 1 `a`: `{}…` is not an int64",
        "y".repeat(60)
    );
    refused(long, one, &message, "raise `sample_rows`");
}

#[test]
fn columns_have_the_types_of_their_values() {
    check(
        "i,f,b,d,t,z,s,n\n1,1.5,true,1970-01-02,1970-01-01T00:00:01,1970-01-01 00:00:01Z,x,\n\
         -2,2,FALSE,1969-12-31,1970-01-01 00:00:00.5,1970-01-01T01:00:00+01:00,y z,\n,,,,,,,\n",
        "{}",
        "i:int64|f:float64|b:bool|d:date|t:timestamp|z:timestamptz|s:string|n:string\n\
         1|1.5|true|1d|1000000us|1000000usUTC|x|∅\n\
         -2|2.0|false|-1d|500000us|0usUTC|y z|∅\n\
         ∅|∅|∅|∅|∅|∅|∅|∅",
    );
}

#[test]
fn shapes_of_files() {
    check("a,b\n1,2", "{}", "a:int64|b:int64\n1|2");
    check(
        "\u{feff}a,b\r\n1,2\r\n3,4\n",
        "{}",
        "a:int64|b:int64\n1|2\n3|4",
    );
    check(
        "\u{feff}\"a,\nx\",b\n1,2\n",
        "{}",
        "a,\nx:int64|b:int64\n1|2",
    );
    check("a,b\n", "{}", "a:string|b:string");
    check("\n\na,b\n\n1,2\n\n", "{}", "a:int64|b:int64\n1|2");
    check("a\n1\n\n2\n", "{}", "a:int64\n1\n∅\n2");
    check(
        ",b,\n1,2,3\n",
        "{}",
        "column_1:int64|b:int64|column_3:int64\n1|2|3",
    );
    check(
        "1,x\n",
        r#"{"header": false}"#,
        "column_1:int64|column_2:string\n1|x",
    );
    check(
        "\"it's a file\n\na\tb\n1\t2\n",
        r#"{"skip_rows": 2, "delimiter": "\\t"}"#,
        "a:int64|b:int64\n1|2",
    );
    check(
        "a;b\n'x;''y';2,5\n",
        r#"{"delimiter": ";", "quote": "'"}"#,
        "a:string|b:string\nx;'y|2,5",
    );
    check("a,b\nä,\"ö\"\"\n\"\n", "{}", "a:string|b:string\nä|ö\"\n");
    check("a,b\n\u{0},x\n", "{}", "a:string|b:string\n\u{0}|x");
}

#[test]
fn nulls_and_empty_strings() {
    check(
        "a,b\n\"\",\"\"\nx,1\n,\n",
        "{}",
        "a:string|b:int64\n|∅\nx|1\n∅|∅",
    );
    check(
        "a,b\nNA,NA\n\"NA\",1\n,2\n",
        r#"{"null_values": ["NA"]}"#,
        "a:string|b:int64\n∅|∅\nNA|1\n|2",
    );
    check(
        "a\nx\n-\n\n",
        r#"{"null_values": ["", "-"]}"#,
        "a:string\nx\n∅\n∅",
    );
}

#[test]
fn declared_types_win_over_the_sample() {
    check(
        "id,zip,n\n1,007,1\n2,12,2.5\n",
        r#"{"sample_rows": 1, "schema": [{"name": "n", "type": "float64"}, {"name": "zip", "type": "int64"}]}"#,
        "id:int64|zip:int64|n:float64\n1|7|1.0\n2|12|2.5",
    );
    check(
        "1,2\n",
        r#"{"header": false, "schema": [{"name": "column_2", "type": "string"}]}"#,
        "column_1:int64|column_2:string\n1|2",
    );
    check(
        "1,2\n",
        r#"{"header": false, "schema": [{"name": "x", "type": "string"}, {"name": "y", "type": "float64"}]}"#,
        "x:string|y:float64\n1|2.0",
    );
    check(
        "",
        r#"{"schema": [{"name": "x", "type": "date"}]}"#,
        "x:date",
    );
}

#[test]
fn batches_end_at_their_rows_and_at_their_bytes() {
    let text = format!(
        "a,b\n{}",
        format!("{},1\n", "x".repeat(100_000)).repeat(200)
    );
    let config = config("{}");
    let sizes: Vec<usize> = batches(text.as_bytes(), &config, 150)
        .iter()
        .map(RecordBatch::num_rows)
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 200);
    assert!(
        sizes.iter().all(|rows| (1..=85).contains(rows)),
        "{sizes:?}"
    );
    let long_rows = read(text.as_bytes(), &config, 1, 7).unwrap().1;
    assert_eq!(long_rows.len(), 200);
}

#[test]
fn wide_records_make_small_batches() {
    let width = 10_000;
    let text = format!("{}\n", vec!["1"; width].join(",")).repeat(300);
    let config = config(r#"{"header": false}"#);
    let batches = batches(text.as_bytes(), &config, 65_536);
    let sizes = batches.iter().map(RecordBatch::get_array_memory_size);
    assert!(sizes.max() < Some(32 << 20));
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        300
    );
}

#[test]
fn a_record_may_be_long_but_not_without_end() {
    let field = "x".repeat(5 << 20);
    check(
        &format!("a,b\n1,\"{field}\"\n"),
        "{}",
        &format!("a:int64|b:string\n1|{field}"),
    );
    let endless = format!("a,b\n1,2\n3,\"{}", "x\n".repeat(17 << 20));
    refused(
        endless,
        "{}",
        "`f.csv` line 3: the quote that opens here does not close within 32 MiB",
        "check `quote`",
    );
    refused(
        format!("a\n1\n{}", "x".repeat(33 << 20)),
        r#"{"schema": [{"name": "a", "type": "string"}]}"#,
        "`f.csv` line 3: the record that begins here is longer than 32 MiB",
        "check `quote`",
    );
}

#[test]
fn lines_are_those_of_the_whole_file_in_every_split() {
    let text = format!("a,b\n{}x,\"y\n", "\"p\nq\",1\r\n".repeat(50));
    for pieces in 1..=8 {
        let error = read(
            text.as_bytes(),
            &config(r#"{"sample_rows": 5}"#),
            pieces,
            10,
        )
        .unwrap_err();
        assert_eq!(
            error.message,
            "`f.csv` line 102, column 2: the quote that opens here never closes"
        );
    }
}

proptest! {
    /// The cells of any table come back, whatever it is split into.
    #[test]
    fn splits_concatenate_to_the_whole(
        (width, cells) in (1usize..5).prop_flat_map(|width| {
            let cell = ("[ab1\",\n\r ü]{0,8}|[x,\"]{60,70}", any::<bool>());
            (Just(width), prop::collection::vec(cell, 0..40 * width))
        }),
        crlf in any::<bool>(),
        last_newline in any::<bool>(),
        batch in 1usize..20,
    ) {
        let newline = if crlf { "\r\n" } else { "\n" };
        let mut lines = vec![(0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",")];
        let mut expected = Vec::new();
        for row in cells.chunks_exact(width) {
            // Quoted where it must be, and always where a lone empty cell would be an empty line.
            let is_quoted = |(text, quoted): &(String, bool)| {
                *quoted || text.contains([',', '"', '\n', '\r'])
            };
            lines.push(row.iter().map(|cell| match is_quoted(cell) {
                true => format!("\"{}\"", cell.0.replace('"', "\"\"")),
                false => cell.0.clone(),
            }).collect::<Vec<_>>().join(","));
            expected.push(row.iter().map(|cell| match cell.0.is_empty() && !is_quoted(cell) {
                true => "∅".to_owned(),
                false => cell.0.clone(),
            }).collect::<Vec<_>>());
        }
        let mut text = lines.join(newline);
        let ends_in_empty_line = width == 1 && lines.len() > 1 && lines.last().is_some_and(String::is_empty);
        if last_newline || ends_in_empty_line {
            text.push_str(newline);
        }
        let columns: Vec<String> =
            (0..width).map(|i| format!(r#"{{"name": "c{i}", "type": "string"}}"#)).collect();
        let config = config(&format!(r#"{{"schema": [{}]}}"#, columns.join(",")));
        for pieces in 1..=8 {
            let (_, rows) = read(text.as_bytes(), &config, pieces, batch).unwrap();
            prop_assert_eq!(&rows, &expected, "{} pieces of {:?}", pieces, text);
        }
    }

    /// Any bytes are read or refused, and every split count agrees on which.
    #[test]
    fn any_bytes_are_read_or_refused(
        text in prop::collection::vec(prop::sample::select(b"ab1,\"\n\r\xc3\xa4".to_vec()), 0..200),
        pieces in 2u32..8,
    ) {
        let config = config(r#"{"header": false, "sample_rows": 1}"#);
        let whole = read(&text, &config, 1, 100);
        let split = read(&text, &config, pieces, 100);
        match (whole, split) {
            (Ok((_, whole)), Ok((_, split))) => prop_assert_eq!(whole, split),
            // Of several errors, another one may be the first to be seen.
            (Err(_), Err(_)) => {}
            (whole, split) => prop_assert!(false, "{whole:?} {split:?}"),
        }
    }
}

#[test]
fn an_escape_makes_the_next_byte_plain_inside_quotes_only() {
    let escape = r#"{"escape": "\\"}"#;
    check(
        "a,b\n\"x\\\"y\",\"\\\\\"\n\"p\\,\\q\"\"r\",c\\d\n\"\\\n\",\"\\,\"\n",
        escape,
        "a:string|b:string\nx\"y|\\\np,q\"r|c\\d\n\n|,",
    );
    refused(
        "a,b\n1,\"x\\",
        escape,
        "`f.csv` line 2, column 2: the quote that opens here never closes",
        "quote",
    );
    refused(
        "a,b\n1,\"x\\\"\n",
        escape,
        "`f.csv` line 2, column 2: the quote that opens here never closes",
        "quote",
    );
    // Without one a backslash is text.
    check("a,b\n\"x\\\",\"\\\"\n", "{}", "a:string|b:string\nx\\|\\");
}

#[test]
fn latin_1_is_read_as_its_characters() {
    let latin1 = r#"{"encoding": "latin-1", "null_values": ["n\u00fcll", "\u4e1c"]}"#;
    let text = b"n\xe4me,b\n\xff,\"\xe9\"\"x\"\nn\xfcll,plain\n";
    assert_eq!(
        table(text, latin1).unwrap(),
        "näme:string|b:string\nÿ|é\"x\n∅|plain"
    );
    refused(
        b"a\n1\n\xe4\n",
        r#"{"encoding": "latin-1", "sample_rows": 1}"#,
        "`f.csv` line 3, column 1 `a`: `ä` is not an int64",
        "declare",
    );
}

#[test]
fn declared_numbers_are_exact_or_refused() {
    let schema =
        r#"{"schema": [{"name": "n", "type": "int32"}, {"name": "d", "type": "decimal(5,2)"}]}"#;
    check(
        "n,d\n-2147483648,-999.99\n+7,.5\n,\n",
        schema,
        "n:int32|d:decimal(5,2)\n-2147483648|-999.99\n7|0.50\n∅|∅",
    );
    refused(
        "n,d\n2147483648,1\n",
        schema,
        "`f.csv` line 2, column 1 `n`: `2147483648` is not an int32",
        "declare another type",
    );
    refused(
        "n,d\n1,0.005\n",
        schema,
        "`f.csv` line 2, column 2 `d`: `0.005` is not a decimal(5,2)",
        "declare another type",
    );
}

/// Heads of several files, and the columns of their table.
fn heads(files: &[&str], config: &Config, state: &str) -> Result<(Vec<Head>, Vec<Column>)> {
    let state = State::parse(Some(state))?;
    let mut table = Table::new(config, &state)?;
    let names = ["a.csv", "b.csv", "c.csv"];
    let heads = names
        .iter()
        .zip(files)
        .map(|(name, text)| table.add(text.as_bytes(), &config.source(name)?));
    let heads = heads.collect::<Result<_>>()?;
    Ok((heads, table.columns()?))
}

#[test]
fn several_files_are_one_table() {
    let config = config("{}");
    let refused = |files: &[&str], message: &str| {
        let error = heads(files, &config, r#"{"files":{}}"#).unwrap_err();
        assert_eq!(error.message, message);
        assert!(error.hint.is_some());
    };
    refused(
        &["a,b\n1,2\n", "a\n1\n"],
        "`b.csv` lacks column `b`, which is in `a.csv`",
    );
    refused(
        &["a,b\n1,2\n", "a,b,c\n1,2,3\n"],
        "`b.csv` has column `c`, which is not in `a.csv`",
    );
    refused(&["", ""], "`a.csv` has no header: it is empty");
    // Found by name; types fit all; an empty file is one without rows.
    let files = ["", "a,b\n1,2\n", "b,a\nx,1.5\n"];
    let (heads, columns) = heads(&files, &config, r#"{"files":{}}"#).unwrap();
    assert_eq!(heads[1].order, None);
    assert_eq!(heads[2].order, Some(vec![1, 0]));
    let kinds: Vec<String> = columns
        .iter()
        .map(|c| format!("{}:{}", c.name, c.kind))
        .collect();
    assert_eq!(kinds, ["a:float64", "b:string"]);
    let text = Text {
        window: Window::new(&files[2].as_bytes()[4..], None, 2),
        source: config.source("c.csv").unwrap(),
        order: heads[2].order.clone(),
    };
    let batch = &collect(text, columns, 10).unwrap()[0];
    assert_eq!(shown(batch, 0), ["1.5", "x"]);
}

/// The state of a run that read columns `a` and `b`.
const EARLIER: &str = r#"{"files":{},"columns":[
    {"name":"a","type":"int64","origin":"sampled"},{"name":"b","type":"date","origin":"declared"}]}"#;

#[test]
fn a_type_that_was_inferred_once_is_kept() {
    let config = config("{}");
    let (heads, columns) = heads(&["b,a\n1,\n"], &config, EARLIER).unwrap();
    assert_eq!(heads[0].order, Some(vec![1, 0]));
    let kinds: Vec<String> = columns
        .iter()
        .map(|c| format!("{}:{}", c.name, c.kind))
        .collect();
    // What was declared and is no longer is inferred.
    assert_eq!(kinds, ["a:int64", "b:int64"]);
    let text = Text {
        window: Window::new("1,x\n".as_bytes(), None, 2),
        source: config.source("a.csv").unwrap(),
        order: heads[0].order.clone(),
    };
    let error = collect(text, columns, 10).unwrap_err();
    assert_eq!(
        error.message,
        "`a.csv` line 2, column 2 `a`: `x` is not an int64"
    );
    assert!(
        error
            .hint
            .unwrap()
            .contains("earlier runs read this column as int64")
    );
}

#[test]
fn later_runs_keep_to_the_columns_of_the_first() {
    let refused = |text: &str, config_text: &str, message: &str| {
        let error = heads(&[text], &config(config_text), EARLIER).unwrap_err();
        assert_eq!(error.message, message);
        assert!(error.hint.unwrap().contains("state reset"));
    };
    refused(
        "a\n1\n",
        "{}",
        "`a.csv` lacks column `b`, which is in what earlier runs read",
    );
    refused(
        "a,b,c\n1,2,3\n",
        "{}",
        "`a.csv` has column `c`, which is not in what earlier runs read",
    );
    refused(
        "1,2,3\n",
        r#"{"header": false}"#,
        "`a.csv` has 3 columns, and there are 2 in what earlier runs read",
    );
    // With no file, or an empty one, they are what they were.
    for files in [&[][..], &[""]] {
        let (_, columns) = heads(files, &config("{}"), EARLIER).unwrap();
        assert_eq!(columns.len(), 2);
    }
}

#[test]
fn a_line_of_delimiters_ends_before_it_fills_the_memory() {
    let line = ",".repeat(30 << 20);
    for text in [format!("{line}\n"), format!("a,b\n{line}")] {
        let line = text.lines().position(|text| text.len() > 10).unwrap() + 1;
        refused(
            text,
            "{}",
            &format!("`f.csv` line {line}: the record has more than 16384 fields"),
            "delimiter",
        );
    }
}
