//! Single values and digests of records: what a component needs to know of them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::pointer::Pointer;
use super::tape::{Kind, Tape, Value};
use super::text::shown;
use super::{Refusal, Result, number, time};

/// The most that [`values`] gives, in bytes.
const MAX_VALUES_BYTES: usize = 16 << 20;

/// Bytes of a digest: half a SHA-256.
const DIGEST_BYTES: usize = 16;

/// One value of each record, as JSON text; `null` where there is none.
pub fn values(records: Value<'_>, field: &str) -> Result<Vec<String>> {
    let field = Pointer::parse(field)?;
    let mut left = MAX_VALUES_BYTES;
    let mut values = Vec::with_capacity(records.count() as usize);
    for record in records.elements() {
        let value = field.find(record).map_or(Cow::Borrowed("null"), Value::raw);
        left = left
            .checked_sub(value.len().max(size_of::<String>()))
            .ok_or_else(|| {
                Refusal::limit(format!(
                    "the values take more than {MAX_VALUES_BYTES} bytes"
                ))
                .hint("ask for smaller pages")
            })?;
        values.push(value.into_owned());
    }
    Ok(values)
}

/// The greatest value of `field` over the records and `so_far`, as JSON text; none where all are null.
pub fn greatest(records: Value<'_>, field: &str, so_far: Option<&str>) -> Result<Option<String>> {
    let pointer = Pointer::parse(field)?;
    let tape = so_far.map(parse).transpose()?;
    let known = tape.as_ref().map(Tape::document);
    let mut greatest = known
        .as_ref()
        .map(|document| document.root())
        .filter(|value| !value.is_null());
    for (index, record) in records.elements().enumerate() {
        let Some(value) = pointer.find(record).filter(|value| !value.is_null()) else {
            continue;
        };
        let is_greater = match greatest {
            None => Form::of(value).is_some(),
            Some(greatest) => match compare(greatest, value) {
                Some(ordering) => ordering == Ordering::Less,
                None => return Err(no_order(index, field, value, Some(greatest))),
            },
        };
        if is_greater {
            greatest = Some(value);
        } else if greatest.is_none() {
            return Err(no_order(index, field, value, None));
        }
    }
    Ok(greatest.map(|value| value.raw().into_owned()))
}

/// 32 hexadecimal digits of a value as it is written.
pub fn digest(value: Value<'_>) -> String {
    let mut text = String::with_capacity(DIGEST_BYTES * 2);
    for byte in digest_bytes(value) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn digest_bytes(value: Value<'_>) -> [u8; DIGEST_BYTES] {
    let hash = Sha256::digest(value.raw().as_bytes());
    let mut bytes = [0; DIGEST_BYTES];
    bytes.copy_from_slice(&hash[..DIGEST_BYTES]);
    bytes
}

/// The digest of each record; only of those whose field is equal to a value, where that is given.
pub fn digests(records: Value<'_>, equal: Option<(&str, &str)>) -> Result<Vec<String>> {
    let Some((field, wanted)) = equal else {
        return Ok(records.elements().map(digest).collect());
    };
    let pointer = Pointer::parse(field)?;
    let tape = parse(wanted)?;
    let document = tape.document();
    let wanted = document.root();
    let is_equal = |record: &Value<'_>| {
        let value = pointer.find(*record);
        value.is_some_and(|value| compare(value, wanted) == Some(Ordering::Equal))
    };
    Ok(records.elements().filter(is_equal).map(digest).collect())
}

/// A single value that the component hands back.
fn parse(text: &str) -> Result<Tape> {
    let tape = Tape::parse(text.as_bytes(), false, MAX_VALUES_BYTES as u64);
    tape.map_err(|refusal| {
        Refusal::config(format!("the value to compare with: {}", refusal.message))
    })
}

#[derive(PartialEq)]
enum Form {
    Number,
    Time,
    Text,
}

impl Form {
    fn of(value: Value<'_>) -> Option<Self> {
        match value.kind() {
            Kind::Number => Some(Self::Number),
            Kind::Text | Kind::Escaped if time::is_instant(&value.text()) => Some(Self::Time),
            Kind::Text | Kind::Escaped => Some(Self::Text),
            _ => None,
        }
    }
}

/// None where the two have no order.
fn compare(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    let form = Form::of(left)?;
    if Form::of(right)? != form {
        return None;
    }
    let (left, right) = (left.text(), right.text());
    match form {
        Form::Number => Some(number::compare(&left, &right)),
        Form::Time => time::compare(&left, &right),
        // UTF-8 is in the order of code points.
        Form::Text => Some(left.cmp(&right)),
    }
}

fn no_order(index: usize, field: &str, value: Value<'_>, other: Option<Value<'_>>) -> Refusal {
    let value = shown(&value.raw());
    let problem = match other {
        None => format!("`{value}` is neither a number nor a text"),
        Some(other) => format!("`{value}` and `{}` have no order", shown(&other.raw())),
    };
    Refusal::data(format!(
        "record {}: `{}`: {problem}",
        index + 1,
        shown(field)
    ))
    .hint("a cursor is a number, a time of RFC 3339 or another text, and the same in each record")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(records: &str, ask: impl FnOnce(Value<'_>) -> T) -> T {
        let tape = Tape::parse(records.as_bytes(), false, u64::MAX).unwrap();
        let document = tape.document();
        ask(document.root())
    }

    #[test]
    fn refuses_values_without_an_order() {
        for (records, so_far, part) in [
            (
                r#"[{"a":1},{"a":"x"}]"#,
                None,
                "record 2: `/a`: `\"x\"` and `1` have no order",
            ),
            (r#"[{"a":true}]"#, None, "neither a number nor a text"),
            (r#"[{"a":[1]}]"#, Some("1"), "have no order"),
            (
                r#"[{"a":"2024-01-01T00:00:00Z"},{"a":"yesterday"}]"#,
                None,
                "have no order",
            ),
            (r#"[{"a":1}]"#, Some("{"), "the value to compare with"),
        ] {
            let refusal = with(records, |records| greatest(records, "/a", so_far)).unwrap_err();
            assert!(refusal.message.contains(part), "{}", refusal.message);
        }
        let refusal = with("[]", |records| greatest(records, "a", None)).unwrap_err();
        assert!(
            refusal.message.contains("must begin with `/`"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn finds_the_greatest_value() {
        for (records, so_far, expected) in [
            ("[]", None, None),
            (r#"[{"a":null},{}]"#, None, None),
            (r#"[{}]"#, Some("7"), Some("7")),
            (r#"[{}]"#, Some("null"), None),
            (r#"[{"a":9},{"a":10.5},{"a":1e1}]"#, None, Some("10.5")),
            (
                r#"[{"a":9007199254740993}]"#,
                Some("9007199254740992"),
                Some("9007199254740993"),
            ),
            (r#"[{"a":"b"},{"a":"a"}]"#, None, Some("\"b\"")),
            (
                r#"[{"a":"2024-01-01T00:30:00+01:00"},{"a":"2024-01-01T00:00:00Z"}]"#,
                None,
                Some("\"2024-01-01T00:00:00Z\""),
            ),
        ] {
            let got = with(records, |records| greatest(records, "/a", so_far)).unwrap();
            assert_eq!(got.as_deref(), expected, "{records}");
        }
    }

    #[test]
    fn digests_are_of_the_text() {
        let records = r#"[{"a":1},{"a":1.0},{"a":2},{"b":1}]"#;
        let all = with(records, |records| digests(records, None)).unwrap();
        let equal = with(records, |records| digests(records, Some(("/a", "1")))).unwrap();
        assert_eq!((all.len(), equal.as_slice()), (4, &all[..2]));
        assert_ne!(all[0], all[1]);
        // printf '{"a":1}' | sha256sum
        assert_eq!(all[0], "015abd7f5cc57a2dd94b7590f04ad808");
    }

    #[test]
    fn values_are_as_they_are_written() {
        let records = r#"[{"a":{"b": 1.50}},{"a":{}},{}]"#;
        let got = with(records, |records| values(records, "/a/b")).unwrap();
        assert_eq!(got, ["1.50", "null", "null"]);
    }
}
