//! What holds for whatever bytes come: nothing panics, what serde_json refuses is refused here, values are as they were
//! written, inferred columns take the records that they were inferred from, and what comes out is valid Arrow.
//!
//! Used by the tests and, with the same names in scope, by the fuzz target.

use super::{Columns, Options, Refusal, RefusalKind, Tape};

/// What a tape may take for each byte of a body, and some to spare.
const TAPE_BYTES_PER_BYTE: u64 = 16;
const FREE_BYTES: u64 = 4096;

/// The first byte says how to read the others.
pub fn check(input: &[u8]) {
    let Some((mode, body)) = input.split_first() else {
        return;
    };
    let has_lines = mode & 1 == 1;
    let parsed = Tape::parse(body, has_lines, u64::MAX);
    let tape = match parsed {
        Ok(tape) => tape,
        Err(refusal) => return check_refusal(&refusal),
    };
    assert!(tape.memory_bytes() <= TAPE_BYTES_PER_BYTE * body.len() as u64 + FREE_BYTES);
    let document = tape.document();
    let root = document.root();
    // serde_json takes the last of two equal keys and cannot hold every number, and is as strict otherwise.
    let raw = root.raw();
    let value: Result<serde_json::Value, _> =
        serde_json::from_str(raw.trim_start_matches('\u{feff}'));
    if let Err(error) = &value {
        let known = ["number out of range", "recursion limit"];
        assert!(
            known.iter().any(|known| error.to_string().contains(known)),
            "{error}: {raw}"
        );
    }
    let _ = super::digest(root);
    let Ok(records) = super::array(root, "") else {
        return;
    };
    let _ = super::greatest(records, "/a", None).map_err(|refusal| check_refusal(&refusal));
    let _ = super::values(records, "/a/b").map_err(|refusal| check_refusal(&refusal));
    match super::infer(records, None) {
        Ok(columns) => check_columns(records, &columns),
        Err(refusal) => check_refusal(&refusal),
    }
    if let Ok(columns) = Columns::parse(
        r#"{"a":"int64","b":"decimal(9,2)","c":["timestamptz"],"d":{"e":"date","f":"number"},"g":"bool"}"#,
    ) {
        let read = super::rows(records, &columns, &Options::default(), 1 << 30);
        let _ = read.map_err(|refusal| check_refusal(&refusal));
    }
}

fn check_columns(records: super::Value<'_>, columns: &Columns) {
    let text = columns.to_string();
    // A key without a name can be inferred, and no column can have it.
    let Ok(again) = Columns::parse(&text) else {
        assert!(text.contains(r#""":"#), "{text}");
        return;
    };
    assert_eq!(&again, columns, "{text}");
    assert_eq!(
        super::infer(records, Some(columns)).as_ref(),
        Ok(columns),
        "{text}"
    );
    match super::rows(records, columns, &Options::default(), 1 << 30) {
        Ok(batch) => {
            for column in batch.columns() {
                column.to_data().validate_full().unwrap();
            }
        }
        Err(refusal) => assert_eq!(refusal.kind, RefusalKind::Limit, "{refusal:?} for {text}"),
    }
}

fn check_refusal(refusal: &Refusal) {
    assert!(
        !refusal.message.is_empty() && refusal.message.len() < 1000,
        "{refusal:?}"
    );
    assert!(!refusal.message.contains('\n'), "{refusal:?}");
}
