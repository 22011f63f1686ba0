//! A value against a JSON Schema: every problem at once, in the user's words, with its place.
//!
//! Serves the job file (schema generated from our types) and a component's config (schema written by
//! a stranger: it is bounded before it is used).

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError};
use serde_json::Value;

use super::secrets;
use super::yaml::{Document, escape};
use crate::error::{Error, Kind};

/// Most problems reported for one value; a schema can make one value fail in many ways.
const MAX_PROBLEMS: usize = 50;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Longest text taken over from a schema, in characters.
const MAX_QUOTED: usize = 400;
/// Most known keys listed in a hint.
const MAX_LISTED: usize = 40;
/// Longest key that a known one is suggested for; longer ones are no typing mistake.
const MAX_MISSPELLED: usize = 64;
/// Longest part of a value that is repeated in a message, in characters.
const MAX_SHOWN: usize = 40;

/// Where the checked value stands.
pub struct Place<'a> {
    pub document: &'a Document,
    /// JSON pointer of the value in the document.
    pub pointer: &'a str,
}

/// One thing that is wrong.
pub struct Problem {
    /// What the rest of the job is read without: a pointer into the document.
    pub pointer: Option<String>,
    pub error: Error,
}

/// Everything that is wrong with `value`. The error tells why the schema cannot be used.
pub fn check(schema: &Value, value: &Value, place: &Place<'_>) -> Result<Vec<Problem>, String> {
    let validator = jsonschema::options()
        .offline()
        // Time linear in the text, whatever the pattern.
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
        .build(schema)
        .map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    let mut misspelled = Vec::new();
    for error in validator.iter_errors(value).take(MAX_PROBLEMS) {
        describe(schema, &error, place, &mut problems, &mut misspelled);
    }
    // `tenantid` is one mistake, not an unknown key and a missing one.
    problems.retain(|problem| {
        problem
            .missing
            .as_ref()
            .is_none_or(|missing| !misspelled.contains(missing))
    });
    let mut problems: Vec<_> = problems.into_iter().map(|found| found.problem).collect();
    problems.dedup_by(|a, b| {
        a.error.message() == b.error.message() && a.error.location() == b.error.location()
    });
    Ok(problems)
}

struct Found {
    problem: Problem,
    /// The pointer of the key that is not there.
    missing: Option<String>,
}

fn describe(
    schema: &Value,
    error: &ValidationError<'_>,
    place: &Place<'_>,
    problems: &mut Vec<Found>,
    misspelled: &mut Vec<String>,
) {
    if is_about_a_secret(error) {
        return;
    }
    let at = format!("{}{}", place.pointer, error.instance_path().as_str());
    let rule = parent(error.schema_path().as_str()).and_then(|rule| schema.pointer(rule));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_keys(rule);
            for key in unexpected {
                let pointer = format!("{at}/{}", escape(key));
                let nearest = nearest(key, &known);
                if let Some(nearest) = nearest {
                    misspelled.push(format!("{at}/{}", escape(nearest)));
                }
                let error = Error::new(
                    Kind::JobInvalid,
                    format!("unknown key `{key}`{}", inside(&at)),
                )
                .at(place.document.locate_key(&pointer))
                .hint(suggestion(nearest, &known));
                problems.push(Found {
                    problem: Problem {
                        pointer: Some(pointer),
                        error,
                    },
                    missing: None,
                });
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let error = Error::new(
                Kind::JobInvalid,
                format!("missing key `{key}`{}", inside(&at)),
            )
            .at(place.document.locate_key(&at))
            .hint(describe_key(rule, key));
            problems.push(Found {
                problem: Problem {
                    pointer: None,
                    error,
                },
                missing: Some(format!("{at}/{}", escape(key))),
            });
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            match best_branch(context, error.instance_path().as_str()) {
                Some(branch) => {
                    for error in branch {
                        describe(schema, error, place, problems, misspelled);
                    }
                }
                None => problems.push(wrong_value(
                    error,
                    &at,
                    "has none of the accepted forms",
                    rule,
                    place,
                )),
            }
        }
        _ => {
            let must = demand(error);
            problems.push(wrong_value(error, &at, &must, rule, place));
        }
    }
}

fn wrong_value(
    error: &ValidationError<'_>,
    at: &str,
    must: &str,
    rule: Option<&Value>,
    place: &Place<'_>,
) -> Found {
    let value = error.instance();
    let kind = match (error.kind(), value.as_ref()) {
        (ValidationErrorKind::Type { .. }, Value::String(text)) if !text.is_empty() => "the text ",
        (ValidationErrorKind::Type { .. }, Value::Number(_)) => "the number ",
        _ => "",
    };
    let problem = refusal(
        place.document,
        at,
        &format!("{must}, not {kind}{}", shown(value)),
    );
    let problem = match rule.and_then(description) {
        Some(text) => problem.hint(format!("`{}`: {text}", last(at))),
        None => problem,
    };
    Found {
        problem: Problem {
            pointer: Some(at.to_owned()),
            error: problem,
        },
        missing: None,
    }
}

/// The value at `pointer` is not what it must be: `must be a size`.
pub fn value_problem(document: &Document, pointer: &str, value: &Value, must: &str) -> Error {
    refusal(document, pointer, &format!("{must}, not {}", shown(value)))
}

fn refusal(document: &Document, pointer: &str, predicate: &str) -> Error {
    let subject = match dotted(pointer) {
        name if name.is_empty() => "the job".to_owned(),
        name => format!("`{name}`"),
    };
    Error::new(Kind::JobInvalid, format!("{subject} {predicate}")).at(document.locate(pointer))
}

/// The end of the sentence that starts with the key: `must be a whole number`.
fn demand(error: &ValidationError<'_>) -> String {
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

/// A secret is text that nobody may look at yet: rules about what the text says cannot be checked.
fn is_about_a_secret(error: &ValidationError<'_>) -> bool {
    let hidden = error
        .instance()
        .as_str()
        .is_some_and(|text| text.contains(secrets::MARK));
    hidden
        && !matches!(
            error.kind(),
            ValidationErrorKind::Type { .. } | ValidationErrorKind::FalseSchema
        )
}

/// Of several accepted forms, the one that the value was meant to have: the only one of its type, or
/// the one with the fewest problems.
fn best_branch<'a>(
    context: &'a [Vec<ValidationError<'static>>],
    at: &str,
) -> Option<&'a [ValidationError<'static>]> {
    let of_other_type = |branch: &[ValidationError<'_>]| {
        branch.iter().any(|error| {
            error.instance_path().as_str() == at
                && matches!(error.kind(), ValidationErrorKind::Type { .. })
        })
    };
    let fitting = context
        .iter()
        .filter(|branch| !of_other_type(branch) && !branch.is_empty());
    fitting.min_by_key(|branch| branch.len()).map(Vec::as_slice)
}

fn parent(pointer: &str) -> Option<&str> {
    pointer.rfind('/').map(|end| &pointer[..end])
}

/// `/source/reader` → `source.reader`
fn dotted(pointer: &str) -> String {
    let segments = pointer.split('/').skip(1);
    segments
        .map(|s| s.replace("~1", "/").replace("~0", "~"))
        .collect::<Vec<_>>()
        .join(".")
}

fn last(pointer: &str) -> String {
    dotted(pointer.rfind('/').map_or("", |start| &pointer[start..]))
}

fn inside(pointer: &str) -> String {
    if pointer.is_empty() {
        String::new()
    } else {
        format!(" in `{}`", dotted(pointer))
    }
}

fn known_keys(rule: Option<&Value>) -> Vec<&str> {
    let Some(rule) = rule else { return Vec::new() };
    let branches = ["allOf", "anyOf", "oneOf"]
        .iter()
        .filter_map(|name| rule.get(name)?.as_array())
        .flatten();
    let properties = branches
        .chain([rule])
        .filter_map(|part| part.get("properties")?.as_object());
    properties
        .flat_map(|map| map.keys().map(String::as_str))
        .collect()
}

/// The known word that `word` was meant to be.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
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

fn suggestion(nearest: Option<&str>, known: &[&str]) -> String {
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

fn describe_key(rule: Option<&Value>, key: &str) -> String {
    let subschema = rule.and_then(|rule| rule.get("properties")?.get(key));
    match subschema.and_then(description) {
        Some(text) => format!("add `{key}: ...`: {text}"),
        None => format!("add `{key}: ...`"),
    }
}

/// The description of a schema on one line.
fn description(schema: &Value) -> Option<String> {
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
fn shown(value: &Value) -> String {
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
