//! Values that other programs lose on the way: what the server wrote is what the Parquet file holds, or the run says why not.

use serde_json::json;

use super::{Case, message};
use crate::support::http::{Scripted, send};
use crate::support::read_parquet;

/// A server of these records, as text.
fn serving(records: &'static str) -> Scripted {
    Scripted::start(move |_, stream| send(stream, "200 OK", "", records))
}

fn case(server: &Scripted, more: &str) -> Case {
    Case::new(&format!(
        "api_url: \"{}\", pagination_type: none{more}",
        server.url("/")
    ))
}

#[test]
fn named_types_hold_what_was_written() {
    let server = serving(
        r#"[{"id": 9223372036854775807, "small": -2147483648, "price": 12345678901234.5678, "text_price": "0.10",
             "day": "2024-02-29", "at": "2025-03-30T02:30:00.123456+05:45", "local": "2025-03-30T02:30:00", "rate": 0.1,
             "code": 1.10, "raw": {"b": 1, "a": [1.0, null]}, "tags": ["x", null, "é\u00e9\ud83d\ude00"],
             "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": null}], "is_new": true},
            {"id": -9223372036854775808, "price": null}]"#,
    );
    let case = case(
        &server,
        ", schema: { id: int64, small: int32, price: 'decimal(20,4)', text_price: 'decimal(5,2)', day: date, at: timestamptz, \
         local: timestamp, rate: number, code: string, raw: json, tags: [string], lines: [{ sku: string, n: int64 }], is_new: bool }",
    );
    assert_eq!(case.read(), 2);
    let row = case.query(
        "select id, small, price, text_price, day, \"at\"::text, local, rate, code, raw::text, tags[3], len(tags), \
         lines[1].sku, lines[2].n, is_new from rows order by id desc",
    );
    assert_eq!(
        json!(row[0]),
        json!([
            "9223372036854775807",
            "-2147483648",
            "12345678901234.5678",
            "0.10",
            "2024-02-29",
            "2025-03-29 20:45:00.123456+00",
            "2025-03-30 02:30:00",
            "0.1",
            "1.10",
            "{\"b\": 1, \"a\": [1.0, null]}",
            "éé😀",
            "3",
            "a",
            null,
            "True"
        ])
    );
    assert_eq!(row[1][0].as_deref(), Some("-9223372036854775808"));
    assert!(row[1][1..].iter().all(Option::is_none), "{row:?}");
    let found = read_parquet("pyarrow", &case.0.path().join("out"));
    let types = [
        "id", "day", "at", "local", "rate", "is_new", "small", "price",
    ]
    .map(|name| found["columns"][name]["type"].clone());
    assert_eq!(
        json!(types),
        json!([
            "int64",
            "date",
            "timestamptz",
            "timestamp",
            "float64",
            "bool",
            "int32",
            "decimal128(20, 4)"
        ])
    );
}

#[test]
fn inferred_types_lose_nothing() {
    let server = serving(
        r#"[{"whole": 1, "mixed": 1, "big": 1, "exact": 0.5, "form": {"a": 1}, "list": [], "never": null, "late": null},
            {"whole": 2, "mixed": 0.5, "big": 9223372036854775808, "exact": 0.12345678901234567890123, "form": [1],
             "list": [1], "never": null, "late": {"x": true}, "new": "n"},
            {"whole": 3, "mixed": 2, "big": -1, "exact": 1e400, "form": "f", "list": [0.5], "never": null,
             "late": {"y": "z"}}]"#,
    );
    let case = case(&server, "");
    assert_eq!(case.read(), 3);
    let found = read_parquet("pyarrow", &case.0.path().join("out"));
    let types = ["whole", "mixed", "big", "exact", "new"]
        .map(|name| found["columns"][name]["type"].clone());
    assert_eq!(
        json!(types),
        json!(["int64", "float64", "string", "string", "string"])
    );
    let rows = case.query(
        "select whole, mixed, big, exact, form::text, list::text, never::text, late.x, late.y, new from rows order by whole",
    );
    assert_eq!(
        json!(rows),
        json!([
            [
                "1",
                "1.0",
                "1",
                "0.5",
                "{\"a\": 1}",
                "[]",
                null,
                null,
                null,
                null
            ],
            [
                "2",
                "0.5",
                "9223372036854775808",
                "0.12345678901234567890123",
                "[1]",
                "[1.0]",
                null,
                "True",
                null,
                "n"
            ],
            [
                "3", "2.0", "-1", "1e400", "\"f\"", "[0.5]", null, null, "z", null
            ]
        ])
    );
}

#[test]
fn a_value_that_does_not_fit_is_refused_where_it_is() {
    for (schema, records, part) in [
        (
            "v: int64",
            r#"[{"v":1},{"v":1.5}]"#,
            "`1.5` is not an int64",
        ),
        ("v: int64", r#"[{"v":1},{"v":"1"}]"#, "is not an int64"),
        (
            "v: int64",
            r#"[{"v":1},{"v":9223372036854775808}]"#,
            "is not an int64",
        ),
        (
            "v: int32",
            r#"[{"v":1},{"v":2147483648}]"#,
            "is not an int32",
        ),
        (
            "v: number",
            r#"[{"v":1},{"v":9007199254740993}]"#,
            "`9007199254740993`",
        ),
        ("v: 'decimal(4,2)'", r#"[{"v":1},{"v":0.125}]"#, "`0.125`"),
        ("v: 'decimal(4,2)'", r#"[{"v":1},{"v":100}]"#, "`100`"),
        (
            "v: date",
            r#"[{"v":null},{"v":"2025-02-29"}]"#,
            "`\"2025-02-29\"` is not a date",
        ),
        (
            "v: timestamptz",
            r#"[{"v":null},{"v":"2025-01-01T00:00:00"}]"#,
            "`\"2025-01-01T00:00:00\"` is not a timestamptz",
        ),
        (
            "v: timestamp",
            r#"[{"v":null},{"v":"2025-01-01T00:00:00.1234567"}]"#,
            "is not a timestamp",
        ),
        ("v: bool", r#"[{"v":true},{"v":0}]"#, "`0` is not a bool"),
        ("v: string", r#"[{"v":"a"},{"v":{}}]"#, "`{}` is not a text"),
        (
            "v: { w: int64 }",
            r#"[{"v":null},{"v":{"w":"x"}}]"#,
            "column `v.w`",
        ),
        (
            "v: { w: int64 }",
            r#"[{"v":null},{"v":{"x":1}}]"#,
            "`v.x` is no column",
        ),
        ("v: int64", r#"[{"v":1},{"v":1,"w":1}]"#, "`w` is no column"),
    ] {
        let server = serving(records);
        let case = case(&server, &format!(", schema: {{ {schema} }}"));
        let error = case.fail("contract_broken");
        assert!(
            message(&error).contains("record 2") && message(&error).contains(part),
            "{schema} {records}: {error}"
        );
        assert!(
            !error["hint"].as_str().unwrap_or_default().is_empty(),
            "{schema} {records}: {error}"
        );
    }
}
