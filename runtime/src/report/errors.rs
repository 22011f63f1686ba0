//! An [`Error`] as text for people and as JSON for programs. Prints nothing itself.
//!
//! Much of what stands in an error was written by strangers: control characters are escaped, and
//! foreign line breaks stay indented under the line that they belong to.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::error::{Blame, Error, Location, Retry};

/// Longest part of a line of the job file that is shown, in characters.
const MAX_LINE: usize = 120;

/// The error, its place in the job file, details, causes and the next step; ends in a line break.
pub fn render(error: &Error) -> String {
    let mut text = format!("error: {}\n", one_line(error.message()));
    if let Some(location) = error.location() {
        render_location(&mut text, location);
    }
    for (name, value) in error.details() {
        push(&mut text, "detail", &format!("{name} = {value}"));
    }
    for cause in error.causes() {
        push(&mut text, "caused by", cause);
    }
    if let Some(hint) = error.hint_text() {
        push(&mut text, "hint", hint);
    }
    text
}

/// The same for programs: the fields of `error` in a run's JSON.
pub fn to_json(error: &Error) -> Value {
    let kind = error.kind();
    let mut details = Map::new();
    for (name, value) in error.details() {
        details.insert((*name).to_owned(), value.as_str().into());
    }
    json!({
        "kind": kind.name(),
        "message": one_line(error.message()),
        "blame": match kind.blame() {
            Blame::User => "user",
            Blame::Guest => "guest",
            Blame::External => "external",
            Blame::Host => "host",
        },
        "retry": match kind.retry() {
            Retry::Never => "never",
            Retry::Backoff => "backoff",
            Retry::AfterCheck => "after_check",
        },
        "location": error.location().map(|location| json!({
            "file": location.file.display().to_string(),
            "line": location.line,
            "column": location.column,
            "length": location.length,
        })),
        "details": details,
        "causes": error.causes(),
        "hint": error.hint_text(),
    })
}

/// Several errors: those of one job file.
pub fn list_json(errors: &[Error]) -> Value {
    json!({ "errors": errors.iter().map(to_json).collect::<Vec<_>>() })
}

fn render_location(text: &mut String, location: &Location) {
    let Location {
        file,
        line,
        column,
        length,
        text: source,
    } = location;
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let before = column.saturating_sub(1);

    // A long line is shown from a little before the place.
    let skip = if source.chars().count() > MAX_LINE {
        before.saturating_sub(MAX_LINE / 3)
    } else {
        0
    };
    let escaped = |from: usize, count: usize| -> String {
        source.chars().skip(from).take(count).map(shown).collect()
    };
    let lead = if skip > 0 { "…" } else { "" };
    let tail = if source.chars().count() > skip + MAX_LINE {
        "…"
    } else {
        ""
    };
    let shown_length = (*length)
        .min((skip + MAX_LINE).saturating_sub(before))
        .max(1);
    let indent = lead.chars().count() + escaped(skip, before - skip).chars().count();
    let carets = escaped(before, shown_length).chars().count().max(1);

    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{gutter} --> {}:{line}:{column}",
        one_line(&file.display().to_string())
    );
    let _ = writeln!(text, "{gutter}  |");
    let _ = writeln!(
        text,
        " {number} | {lead}{}{tail}",
        escaped(skip, MAX_LINE).trim_end()
    );
    let _ = writeln!(
        text,
        "{gutter}  | {}{}",
        " ".repeat(indent),
        "^".repeat(carets)
    );
}

fn push(text: &mut String, label: &str, value: &str) {
    for (index, line) in value.lines().enumerate() {
        let _ = match index {
            0 => writeln!(text, "{label}: {}", one_line(line)),
            _ => writeln!(text, "  {}", one_line(line)),
        };
    }
}

/// A text of strangers on one line.
pub fn one_line(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// A character that cannot move the cursor, colour the terminal or turn the text around.
fn shown(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        _ if c.is_control() || is_direction(c) => format!("\\u{{{:x}}}", u32::from(c)),
        _ => c.to_string(),
    }
}

/// Characters that change the direction of text, and Unicode's own line breaks.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn location(text: &str, column: usize, length: usize) -> Option<Location> {
        Some(Location {
            file: "jobs/orders.yaml".into(),
            line: 6,
            column,
            length,
            text: text.to_owned(),
        })
    }

    fn check(error: &Error, expected: &str) {
        assert_eq!(render(error), expected);
    }

    #[test]
    fn shows_place_details_causes_and_hint() {
        let error = Error::new(
            Kind::GrantMissing,
            "reader `orders` uses `kms`, which the job does not grant",
        )
        .at(location("    implementation: orders", 21, 6))
        .with("component", "plugins/orders.wasm")
        .caused_by("no grant")
        .hint("add `grants: { kms: [...] }` under `source.reader`");
        check(
            &error,
            "error: reader `orders` uses `kms`, which the job does not grant
  --> jobs/orders.yaml:6:21
   |
 6 |     implementation: orders
   |                     ^^^^^^
detail: component = plugins/orders.wasm
caused by: no grant
hint: add `grants: { kms: [...] }` under `source.reader`
",
        );
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor_or_forge_a_line() {
        let error = Error::new(
            Kind::GuestFailed,
            "guest says \u{1b}[2J\nhint: run \u{202e}this",
        )
        .with("text", "one\nhint: forged\r\u{7}")
        .caused_by("first\n\nerror: forged");
        check(
            &error,
            "error: guest says \\u{1b}[2J\\nhint: run \\u{202e}this
detail: text = one
  hint: forged\\r\\u{7}
caused by: first
  
  error: forged
",
        );
    }

    #[test]
    fn carets_stand_under_escaped_and_cut_lines() {
        let place = |text: &str, column, length| {
            render(&Error::new(Kind::JobInvalid, "x").at(location(text, column, length)))
        };
        assert!(place("\ta: é", 5, 1).contains(" 6 |     a: é\n   |        ^\n"));
        assert!(place("a: \u{1b}b", 4, 2).contains(" 6 | a: \\u{1b}b\n   |    ^^^^^^^\n"));
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = place(&long, 501, 400);
        assert!(
            shown.lines().all(|line| line.chars().count() < 140),
            "{shown}"
        );
        assert!(
            shown.contains(&format!("| …{}X", "a".repeat(40))),
            "{shown}"
        );
        assert!(
            shown.contains(&format!("| {}^^", " ".repeat(41))),
            "{shown}"
        );
        // Numbers that do not fit the line must not be trusted either.
        assert!(place("a", 0, 0).contains("   | ^\n"));
        assert!(place("a", 900, 900).contains("6:900"));
    }

    #[test]
    fn json_has_every_field_and_a_message_of_one_line() {
        let error = Error::new(Kind::CommitUnknown, "run 7f3a may\nor may not be visible")
            .at(location("a: b", 4, 1))
            .with("run", "7f3a")
            .caused_by("connection reset")
            .hint("run it again");
        let expected = json!({
            "kind": "commit_unknown",
            "message": "run 7f3a may\\nor may not be visible",
            "blame": "external",
            "retry": "after_check",
            "location": { "file": "jobs/orders.yaml", "line": 6, "column": 4, "length": 1 },
            "details": { "run": "7f3a" },
            "causes": ["connection reset"],
            "hint": "run it again",
        });
        assert_eq!(to_json(&error), expected);
        let bare = to_json(&Error::new(Kind::Internal, "x"));
        assert_eq!(
            (&bare["location"], &bare["hint"]),
            (&Value::Null, &Value::Null)
        );
    }
}
