//! Values, types and keys in the user's words.
//!
//! Much of this is taken over from the schema of a stranger and from a file, so all of it is cut to a
//! length that can be read.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// Longest text taken over from a schema, in characters.
const MAX_QUOTED: usize = 400;
/// Most known keys listed in a hint.
const MAX_LISTED: usize = 40;
/// Longest key that a known one is suggested for; longer ones are no typing mistake.
const MAX_MISSPELLED: usize = 64;
/// Longest part of a value that is repeated in a message, in characters.
const MAX_SHOWN: usize = 40;

/// The end of the sentence that starts with the key: `must be a whole number`.
pub fn demand(error: &ValidationError<'_>) -> String {
    let plural = |n: u64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    match error.kind() {
        ValidationErrorKind::Type { kind } => format!("must be {}", type_names(kind)),
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut must = format!("must be {}", alternatives(options.iter().map(shown)));
            let names: Vec<_> = options.iter().filter_map(Value::as_str).collect();
            if let Some(nearest) = error
                .instance()
                .as_str()
                .and_then(|text| nearest(text, &names))
            {
                must.push_str(&format!(" (did you mean `{nearest}`?)"));
            }
            must
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("must be {}", shown(expected_value))
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("must match `{}`", cut(pattern, MAX_QUOTED))
        }
        ValidationErrorKind::Format { format } => {
            format!("must be a valid {}", cut(format, MAX_SHOWN))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}")
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("must have at least {}", plural(*limit, "character"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!("must have at most {}", plural(*limit, "character"))
        }
        ValidationErrorKind::MinItems { limit } => {
            format!("must have at least {}", plural(*limit, "item"))
        }
        ValidationErrorKind::MaxItems { limit } => {
            format!("must have at most {}", plural(*limit, "item"))
        }
        ValidationErrorKind::MinProperties { limit } => {
            format!("must have at least {}", plural(*limit, "key"))
        }
        ValidationErrorKind::MaxProperties { limit } => {
            format!("must have at most {}", plural(*limit, "key"))
        }
        ValidationErrorKind::UniqueItems => "must not have the same item twice".to_owned(),
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            "must have just one of the accepted forms".to_owned()
        }
        other => format!("breaks the rule `{}` of its schema", other.keyword()),
    }
}

/// `/source/reader` → `source.reader`
pub fn dotted(pointer: &str) -> String {
    let segments = pointer.split('/').skip(1);
    segments
        .map(|s| s.replace("~1", "/").replace("~0", "~"))
        .collect::<Vec<_>>()
        .join(".")
}

pub fn last(pointer: &str) -> String {
    dotted(pointer.rfind('/').map_or("", |start| &pointer[start..]))
}

pub fn inside(pointer: &str) -> String {
    if pointer.is_empty() {
        String::new()
    } else {
        format!(" in `{}`", dotted(pointer))
    }
}

/// The known word that `word` was meant to be.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > MAX_MISSPELLED {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    // A third of the letters may differ; below that, suggestions are noise.
    let best = known
        .iter()
        .filter(|k| k.len() <= MAX_MISSPELLED)
        .map(|k| (strsim::damerau_levenshtein(&word, &plain(k)), *k))
        .min()?;
    let limit = word.chars().count().max(best.1.chars().count()) / 3;
    (best.0 <= limit.max(1) && best.0 < best.1.chars().count()).then_some(best.1)
}

pub fn suggestion(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "no keys are known here; remove it".to_owned(),
        None => {
            let listed = known
                .iter()
                .take(MAX_LISTED)
                .map(|key| format!("`{}`", cut(key, MAX_SHOWN)));
            let more = if known.len() > MAX_LISTED {
                ", …"
            } else {
                ""
            };
            format!(
                "known keys are {}{more}",
                listed.collect::<Vec<_>>().join(", ")
            )
        }
    }
}

pub fn describe_key(rule: Option<&Value>, key: &str) -> String {
    let subschema = rule.and_then(|rule| rule.get("properties")?.get(key));
    match subschema.and_then(description) {
        Some(text) => format!("add `{key}: ...`: {text}"),
        None => format!("add `{key}: ...`"),
    }
}

/// The description of a schema on one line.
pub fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    let paragraph = text.split("\n\n").next()?;
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| cut(&line, MAX_QUOTED))
}

fn type_names(kind: &TypeKind) -> String {
    let one = |name: &str| match name {
        "string" => "text".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a mapping".to_owned(),
        _ => "empty".to_owned(),
    };
    match kind {
        TypeKind::Single(kind) => one(&kind.to_string()),
        TypeKind::Multiple(kinds) => alternatives(kinds.iter().map(|kind| one(&kind.to_string()))),
    }
}

/// `a`, `b` or `c`
fn alternatives(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// A value as it can stand in a sentence.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) if text.is_empty() => "empty text".to_owned(),
        Value::String(text) => {
            format!("`{}`", cut(text, MAX_SHOWN))
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The beginning of `text`, with a mark where it was cut.
pub fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
