//! The objects of a list as one batch: records are taken apart into cells, then each column reads its own.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use serde::Deserialize;

use super::columns::{Columns, schema};
use super::extract::digest_bytes;
use super::infer::not_an_object;
use super::nested::{Builder, Fault};
use super::tape::{Kind, Value};
use super::{Refusal, Result};

/// What a component may say beside the columns; `wit/json.wit` describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    new_fields: NewFields,
    skip: HashSet<String>,
    constants: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NewFields {
    #[default]
    Error,
    Ignore,
}

impl Options {
    pub fn parse(text: &str) -> Result<Self> {
        let options: Self = serde_json::from_str(text)
            .map_err(|error| Refusal::config(format!("the options cannot be used: {error}")))?;
        match options
            .constants
            .iter()
            .find(|(_, value)| !value.is_string())
        {
            Some((name, _)) => Err(Refusal::config(format!(
                "the constant `{name}` is not a text"
            ))),
            None => Ok(options),
        }
    }
}

/// The batch takes no more than about `max_bytes`.
pub fn rows(
    records: Value<'_>,
    columns: &Columns,
    options: &Options,
    max_bytes: u64,
) -> Result<RecordBatch> {
    let mut objects = Vec::with_capacity(records.count() as usize);
    // Which record of the list each of them is.
    let mut places = Vec::with_capacity(records.count() as usize);
    for (place, record) in records.elements().enumerate() {
        if record.kind() != Kind::Object {
            return Err(not_an_object(place, record));
        }
        if !options.skip.is_empty() && options.skip.contains(&hex(digest_bytes(record))) {
            continue;
        }
        objects.push(record.at);
        places.push(place);
    }
    let schema = schema(columns, options.constants.keys().map(String::as_str))?;
    let builder = Builder::new(records, options.new_fields, max_bytes);
    let built = builder.columns(columns, &objects);
    let mut arrays = built.map_err(|fault: Fault| fault.refusal(&places))?;
    for value in options.constants.values() {
        let text = value.as_str().unwrap_or_default();
        builder
            .charge(objects.len(), text.len() as u64 + 4)
            .map_err(|fault| fault.refusal(&places))?;
        let repeated = std::iter::repeat_n(text, objects.len());
        arrays.push(Arc::new(StringArray::from_iter_values(repeated)) as ArrayRef);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(objects.len()));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &rows)
        .map_err(|error| Refusal::limit(format!("the records do not fit into a batch: {error}")))
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::super::extract::digest;
    use super::super::tape::Tape;
    use super::*;

    fn read(records: &str, columns: &str, options: &str) -> Result<RecordBatch> {
        let tape = Tape::parse(records.as_bytes(), false, u64::MAX)?;
        let document = tape.document();
        let (columns, options) = (Columns::parse(columns)?, Options::parse(options)?);
        rows(document.root(), &columns, &options, 1 << 30)
    }

    #[track_caller]
    fn refused(kind: &str, value: &str, message: &str, hint: &str) {
        let records = format!(r#"[{{}},{{"a":{value}}}]"#);
        let refusal = read(&records, &format!(r#"{{"a":{kind}}}"#), "{}").unwrap_err();
        assert_eq!(refusal.message, message);
        assert!(
            refusal.hint.as_deref().unwrap_or_default().contains(hint),
            "{refusal:?}"
        );
    }

    #[test]
    fn refuses_values_of_another_type_and_names_the_remedy() {
        let is_not =
            |value: &str, what: &str| format!("record 2: column `a`: `{value}` is not {what}");
        for (kind, value, what, hint) in [
            ("bool", "1", "a boolean", "{ a: string }"),
            ("bool", "\"true\"", "a boolean", "{ a: string }"),
            ("int64", "1.0", "an int64", "{ a: number }"),
            ("int64", "1e3", "an int64", "{ a: number }"),
            ("int64", "\"7\"", "an int64", "{ a: string }"),
            ("int64", "9223372036854775808", "an int64", "{ a: string }"),
            ("int32", "2147483648", "an int32", "{ a: int64 }"),
            ("int64", "[1]", "an int64", "{ a: json }"),
            (
                "number",
                "0.1234567890123456789",
                "a number",
                "{ a: string }",
            ),
            ("number", "9007199254740993", "a number", "{ a: string }"),
            ("float64", "1e999", "a float64", "{ a: string }"),
            ("decimal(4,2)", "1.234", "a decimal(4,2)", "{ a: string }"),
            ("decimal(4,2)", "\"x\"", "a decimal(4,2)", "{ a: string }"),
            ("date", "\"2013-02-29\"", "a date", "{ a: string }"),
            (
                "timestamp",
                "\"2013-01-31T00:00:00Z\"",
                "a timestamp",
                "{ a: string }",
            ),
            (
                "timestamptz",
                "\"2013-01-31T00:00:00\"",
                "a timestamptz",
                "{ a: string }",
            ),
            (
                "timestamptz",
                "\"2013-01-31T00:00:00.1234567Z\"",
                "a timestamptz",
                "{ a: string }",
            ),
            ("timestamptz", "1", "a timestamptz", "{ a: string }"),
            ("string", "{}", "a text", "{ a: json }"),
        ] {
            refused(&format!("\"{kind}\""), value, &is_not(value, what), hint);
        }
        refused("[\"int64\"]", "1", &is_not("1", "an array"), "{ a: json }");
        refused(
            "{\"b\":\"int64\"}",
            "[]",
            &is_not("[]", "an object"),
            "{ a: json }",
        );
        refused(
            "{\"b\":[\"int64\"]}",
            r#"{"b":[1,2,"x"]}"#,
            "record 2: column `a.b[2]`: `\"x\"` is not an int64",
            "{ a: { b: [string] } }",
        );
        refused(
            "[{\"b\":\"int64\"}]",
            r#"[{"b":1},{},null,{"b":1,"c":2}]"#,
            "record 2: `a[3].c` is no column",
            "new_fields: ignore",
        );
        let long = format!("\"{}\n\"", "x".repeat(200).replace('\n', "\\n"));
        let refusal = read(
            &format!("[{{\"a\":{}}}]", long.replace('\n', "\\n")),
            r#"{"a":"date"}"#,
            "{}",
        );
        assert!(refusal.unwrap_err().message.len() < 150);
    }

    #[test]
    fn refuses_what_is_no_record_column_or_option() {
        for (records, columns, options, part) in [
            ("[1]", "{}", "{}", "record 1: it is a number, not an object"),
            (
                r#"[{"b":1}]"#,
                r#"{"a":"int64"}"#,
                "{}",
                "record 1: `b` is no column",
            ),
            (
                r#"[{"":1}]"#,
                r#"{"a":"int64"}"#,
                "{}",
                "record 1: `` is no column",
            ),
            (
                "[]",
                r#"{"a":"int64"}"#,
                r#"{"constants":{"a":"1"}}"#,
                "two columns `a`",
            ),
            (
                "[]",
                r#"{"a":"int64"}"#,
                r#"{"constants":{"b":1}}"#,
                "is not a text",
            ),
            (
                "[]",
                r#"{"a":"int64"}"#,
                r#"{"new_field":"error"}"#,
                "unknown field",
            ),
            (
                "[]",
                r#"{"a":"int64"}"#,
                r#"{"new_fields":"drop"}"#,
                "unknown variant",
            ),
        ] {
            let refusal = read(records, columns, options).unwrap_err();
            assert!(refusal.message.contains(part), "{}", refusal.message);
        }
    }

    #[test]
    fn columns_that_would_take_too_much_memory_are_refused() {
        let columns: Vec<_> = (0..1000).map(|at| format!(r#""k{at}":"string""#)).collect();
        let records = format!("[{}]", vec!["{}"; 100_000].join(","));
        let tape = Tape::parse(records.as_bytes(), false, u64::MAX).unwrap();
        let document = tape.document();
        let columns = Columns::parse(&format!("{{{}}}", columns.join(","))).unwrap();
        let refusal = rows(document.root(), &columns, &Options::default(), 256 << 20).unwrap_err();
        assert_eq!(refusal.kind, super::super::RefusalKind::Limit);
    }

    #[test]
    fn every_type_arrives_as_it_is() {
        let columns = r#"{"b":"bool","i":"int32","l":"int64","f":"float64","n":"number","d":"decimal(6,2)","day":"date",
            "ts":"timestamp","tz":"timestamptz","s":"string","j":"json","z":"null","list":["int64"],"o":{"x":"string","y":["number"]}}"#;
        let records = r#"[
            {"b":true,"i":-1,"l":9223372036854775807,"f":0.1,"n":1e2,"d":"1.50","day":"2024-02-29",
             "ts":"2024-02-29T01:02:03.5","tz":"2024-02-29T01:02:03+01:00","s":"a\"\u00e9\ud83d\ude00","j":{"k": [1, 2]},
             "z":null,"list":[1,null,3],"o":{"y":[0.5],"x":"in"}},
            {"s":1.50,"j":"t","list":[],"o":{},"d":2},
            {"s":true,"list":null,"o":null,"z":{"late":1}},
            {}
        ]"#;
        let batch = read(records, columns, r#"{"constants":{"user":"17"}}"#).unwrap();
        let expected = "
| b    | i  | l                   | f   | n     | d    | day        | ts                    | tz                   | s    | j             | z          | list      | o                 | user |
| true | -1 | 9223372036854775807 | 0.1 | 100.0 | 1.50 | 2024-02-29 | 2024-02-29T01:02:03.500 | 2024-02-29T00:02:03Z | a\"é😀 | {\"k\": [1, 2]} |            | [1, , 3]  | {x: in, y: [0.5]} | 17   |
|      |    |                     |     |       | 2.00 |            |                       |                      | 1.50 | \"t\"           |            | []        | {x: , y: }        | 17   |
|      |    |                     |     |       |      |            |                       |                      | true |               | {\"late\":1} |           |                   | 17   |
|      |    |                     |     |       |      |            |                       |                      |      |               |            |           |                   | 17   |";
        let squeezed = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with('|'));
            lines
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        let got = pretty_format_batches(&[batch]).unwrap().to_string();
        assert_eq!(squeezed(&got), squeezed(expected), "\n{got}");
    }

    #[test]
    fn keys_may_come_in_any_order_and_escaped() {
        let records = r#"[{"a":1,"b":2},{"b":3,"\u0061":4},{"x":9,"b":5}]"#;
        let batch = read(
            records,
            r#"{"a":"int64","b":"int64"}"#,
            r#"{"new_fields":"ignore"}"#,
        )
        .unwrap();
        let text = pretty_format_batches(&[batch]).unwrap().to_string();
        let cells: Vec<_> = text.lines().skip(3).take(3).collect();
        assert_eq!(cells, ["| 1 | 2 |", "| 4 | 3 |", "|   | 5 |"]);
    }

    #[test]
    fn skips_known_records_and_counts_on() {
        let text = r#"[{"a":1},{"a":2},{"a":"x"}]"#;
        let tape = Tape::parse(text.as_bytes(), false, u64::MAX).unwrap();
        let document = tape.document();
        let known: Vec<_> = document.root().elements().map(digest).take(2).collect();
        let options = Options::parse(&serde_json::json!({ "skip": known }).to_string()).unwrap();
        let columns = Columns::parse(r#"{"a":"string"}"#).unwrap();
        let batch = rows(document.root(), &columns, &options, 1 << 20).unwrap();
        assert_eq!(batch.num_rows(), 1);
        let columns = Columns::parse(r#"{"a":"int64"}"#).unwrap();
        let refusal = rows(document.root(), &columns, &options, 1 << 20).unwrap_err();
        assert!(
            refusal.message.starts_with("record 3:"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn records_without_columns_are_rows() {
        let batch = read("[{},{}]", "{}", "{}").unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 0));
    }
}
