//! A value against a JSON Schema: every problem at once, in the user's words, with its place.
//!
//! Serves job and asset files (schemas generated from our types) and a component's config (schema written by
//! a stranger: it is bounded before it is used).

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError};
use serde_json::Value;

use super::secrets;
use super::words::{
    demand, describe_key, description, dotted, inside, last, nearest, shown, suggestion,
};
use super::yaml::{Document, escape};
use crate::error::{Error, Kind, Location};

/// Most problems reported for one value; a schema can make one value fail in many ways.
const MAX_PROBLEMS: usize = 50;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Where the checked value stands.
pub struct Place<'a> {
    pub document: &'a Document,
    /// JSON pointer of the value in the document.
    pub pointer: &'a str,
}

/// One thing that is wrong.
pub struct Problem {
    /// What the rest of the file is read without: a pointer into the document.
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
        name if name.is_empty() => format!("the {}", document.what()),
        name => format!("`{name}`"),
    };
    Error::new(Kind::JobInvalid, format!("{subject} {predicate}")).at(document.locate(pointer))
}

/// A reference stands for text where `allowed` says so of its pointer, or of one above it, and for
/// nothing else.
pub fn no_secrets_outside(
    document: &Document,
    allowed: &dyn Fn(&str) -> bool,
    hint: &str,
    problems: &mut Vec<Error>,
) {
    Outside {
        document,
        allowed,
        hint,
        problems,
    }
    .visit(document.value(), "", false);
}

struct Outside<'a> {
    document: &'a Document,
    allowed: &'a dyn Fn(&str) -> bool,
    hint: &'a str,
    problems: &'a mut Vec<Error>,
}

impl Outside<'_> {
    fn visit(&mut self, value: &Value, pointer: &str, allowed: bool) {
        let allowed = allowed || (self.allowed)(pointer);
        match value {
            Value::String(text) if !allowed && text.contains(secrets::MARK) => {
                let start = text.find(secrets::MARK).unwrap_or_default();
                let end = text[start..]
                    .find('}')
                    .map_or(text.len(), |end| start + end + 1);
                let at = self.document.locate_part(pointer, &text[start..end]);
                self.refuse("a secret cannot stand here", at);
            }
            Value::Array(list) => {
                for (index, item) in list.iter().enumerate() {
                    self.visit(item, &format!("{pointer}/{index}"), allowed);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    let pointer = format!("{pointer}/{}", escape(key));
                    if key.contains(secrets::MARK) {
                        let at = self.document.locate_key(&pointer);
                        self.refuse("a secret cannot be a key", at);
                    }
                    self.visit(item, &pointer, allowed);
                }
            }
            _ => {}
        }
    }

    fn refuse(&mut self, message: &str, at: Option<Location>) {
        let error = Error::new(Kind::JobInvalid, message).at(at).hint(self.hint);
        self.problems.push(error);
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
