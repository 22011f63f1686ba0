//! The grammar of RFC 8259 case by case, and whole documents against serde_json.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::fuzz_tests::check;
use super::text::is_same;
use super::{Tape, find};

fn parse(body: &[u8], has_lines: bool) -> Result<Tape, String> {
    Tape::parse(body, has_lines, u64::MAX).map_err(|refusal| refusal.message)
}

#[test]
fn refuses_what_is_not_json() {
    for (body, part) in [
        ("", "ends within a value"),
        (" ", "ends within a value"),
        ("[", "ends within a value"),
        ("[1", "ends within a value"),
        ("[1,", "ends within a value"),
        ("[1,]", "at byte 3 in `/1`: a value was expected, not `]`"),
        ("[,1]", "a value was expected"),
        ("[1 2]", "`,` or `]` was expected, not `2`"),
        ("[1]]", "more after the end"),
        ("1 2", "more after the end"),
        ("{", "ends within a value"),
        ("{1:2}", "a key or `}` was expected"),
        ("{\"a\"}", "`:` was expected"),
        ("{\"a\":}", "a value was expected"),
        ("{\"a\":1,}", "a key was expected"),
        ("{\"a\":1 \"b\":2}", "`,` or `}` was expected"),
        ("{'a':1}", "a key or `}` was expected"),
        ("[{\"a\":1,\"a\":2}]", "the object has the key `a` twice"),
        ("{\"a\":1,\"\\u0061\":2}", "the key `a` twice"),
        ("nul", "ends within a value"),
        ("nulx", "a value was expected, not `nulx`"),
        ("True", "a value was expected"),
        ("NaN", "a value was expected"),
        ("[Infinity]", "a value was expected"),
        ("-Infinity", "a digit was expected"),
        ("01", "zero that says nothing"),
        ("-01", "zero that says nothing"),
        ("+1", "a value was expected"),
        (".5", "a value was expected"),
        ("1.", "ends within a value"),
        ("[1.]", "a digit was expected"),
        ("1e", "ends within a value"),
        ("[1e+]", "a digit was expected"),
        ("-", "ends within a value"),
        ("0x1", "more after the end"),
        ("\"a", "ends within a value"),
        ("\"\n\"", "control character"),
        ("\"\\x\"", "must begin an escape"),
        ("\"\\u12\"", "four hexadecimal digits"),
        ("\"\\ud800\"", "surrogate"),
        ("\"\\ud800\\u0061\"", "surrogate"),
        ("\"\\udc00\"", "surrogate"),
        ("[1] // x", "more after the end"),
        ("/* x */ 1", "a value was expected"),
    ] {
        let message = parse(body.as_bytes(), false).err().unwrap_or_default();
        assert!(message.contains(part), "{body}: {message}");
    }
    for body in [
        &b"\"\xff\""[..],
        b"\xc3",
        b"[\"\xed\xa0\x80\"]",
        b"\xff\xfe1\0",
    ] {
        assert!(
            parse(body, false)
                .err()
                .unwrap()
                .contains("not UTF-8 at byte"),
            "{body:?}"
        );
    }
}

#[test]
fn takes_what_is() {
    for body in [
        "1",
        "-0",
        "-0.0e-0",
        "1E+2",
        "\"\"",
        "null",
        " [ ] ",
        "{ }",
        "\u{feff}[1]",
        "[[],{},[{}]]",
        "\"\\u0000\\ud83d\\ude00\"",
        "{\"\":1}",
        "{\"a\":{\"a\":1}}",
        "\t\r\n 1 \t\r\n",
        "123456789012345678901234567890.12345e-678",
    ] {
        assert!(parse(body.as_bytes(), false).is_ok(), "{body}");
    }
}

#[test]
fn depth_size_and_memory_are_bounded() {
    let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(128).as_bytes(), false).is_ok());
    assert!(
        parse(nested(129).as_bytes(), false)
            .err()
            .unwrap()
            .contains("deeper than 128")
    );
    assert!(
        parse("[".repeat(1 << 20).as_bytes(), false)
            .err()
            .unwrap()
            .contains("deeper than 128")
    );
    let long = format!("\"{}\"", "x".repeat((16 << 20) + 1));
    assert!(
        parse(long.as_bytes(), false)
            .err()
            .unwrap()
            .contains("longer than 16777216 bytes")
    );
    let dense = format!("[{}1]", "1,".repeat(1 << 20));
    let tape = parse(dense.as_bytes(), false).unwrap();
    assert!(
        tape.memory_bytes() < 6 * dense.len() as u64,
        "{}",
        tape.memory_bytes()
    );
    let refusal = Tape::parse(dense.as_bytes(), false, 1 << 20).err().unwrap();
    assert!(
        refusal.message.contains("too many values"),
        "{}",
        refusal.message
    );
}

#[test]
fn keys_chosen_to_be_slow_are_not() {
    // Every key of a wide object is compared with every other one, or none.
    let keys: Vec<String> = (0..200_000).map(|key| format!("\"{key}\":1")).collect();
    assert!(parse(format!("{{{}}}", keys.join(",")).as_bytes(), false).is_ok());
    let again = format!("{{{},\"77\":1}}", keys.join(","));
    assert!(
        parse(again.as_bytes(), false)
            .err()
            .unwrap()
            .contains("the key `77` twice")
    );
}

#[test]
fn texts_of_every_length_are_compared_whole() {
    for length in 0..40 {
        let text: Vec<u8> = (0..length).collect();
        assert!(is_same(&text, &text.clone()), "{length}");
        for place in 0..text.len() {
            let mut other = text.clone();
            other[place] ^= 1;
            assert!(!is_same(&text, &other), "{length} {place}");
        }
        assert!(
            !is_same(&text, &[text.as_slice(), b"x"].concat()),
            "{length}"
        );
    }
}

#[test]
fn lines_are_an_array() {
    let tape = parse(b"{\"a\":1}\r\n\n  \n[2]\n3", true).unwrap();
    let document = tape.document();
    assert_eq!(document.root().raw(), r#"[{"a":1},[2],3]"#);
    assert_eq!(parse(b"", true).unwrap().document().root().count(), 0);
    let message = parse(b"{\"a\":1}\n{\"a\":\n1}", true).err().unwrap();
    assert!(
        message.contains("the line ends within a value"),
        "{message}"
    );
    assert!(parse(b"1 2\n", true).is_err());
}

#[test]
fn pointers_lead_to_values() {
    let body = br#"{"a":[{"b/c":1,"d~e":2,"":3},null],"x":{"0":4}}"#;
    let tape = parse(body, false).unwrap();
    let document = tape.document();
    let at = |pointer: &str| {
        find(document.root(), pointer)
            .unwrap()
            .map(|value| value.raw().into_owned())
    };
    for (pointer, expected) in [
        ("/a/0/b~1c", Some("1")),
        ("/a/0/d~0e", Some("2")),
        ("/a/0/", Some("3")),
        ("/a/1", Some("null")),
        ("/x/0", Some("4")),
        ("/a/2", None),
        ("/a/00", None),
        ("/a/-", None),
        ("/a/b", None),
        ("/y", None),
    ] {
        assert_eq!(at(pointer).as_deref(), expected, "{pointer}");
    }
    assert_eq!(at("").unwrap().len(), body.len());
    for wrong in ["a", "a/b", "/a~", "/a~2"] {
        assert!(find(document.root(), wrong).is_err(), "{wrong}");
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[a-d\"\\\\\u{e9}\u{1f600}\n]{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
            prop::collection::btree_map("[a-e\"]{1,2}", inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn a_document_is_as_it_was_written(value in any_json(), is_pretty in any::<bool>()) {
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&value).unwrap(),
            false => value.to_string(),
        };
        let tape = parse(text.as_bytes(), false).unwrap();
        let document = tape.document();
        prop_assert_eq!(document.root().raw(), text.as_str());
        if let Json::Object(map) = &value {
            for (key, item) in map {
                let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                let found = find(document.root(), &pointer).unwrap().unwrap().raw().into_owned();
                prop_assert_eq!(&serde_json::from_str::<Json>(&found).unwrap(), item);
            }
        }
    }

    #[test]
    fn records_become_rows_of_the_columns_that_they_need(records in prop::collection::vec(prop::collection::btree_map("[a-e]", any_json(), 0..5), 0..12)) {
        let text = json!(records).to_string();
        check(&[&[0], text.as_bytes()].concat());
    }

    #[test]
    fn damage_is_refused_or_read_and_never_panics(value in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), mode in any::<u8>()) {
        let mut text = json!([value]).to_string().into_bytes();
        let place = at.index(text.len());
        text[place] = byte;
        check(&[&[mode], text.as_slice()].concat());
        text.truncate(place);
        check(&[&[mode], text.as_slice()].concat());
    }
}
