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

fn one_line(text: &str) -> String {
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
