//! Texts with `{name}` in them. Knows the names, not where values come from.

use dativo_connector::{Error, Result};
use serde_json::Value;

/// A text, cut into what stands for itself and what is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// `{name}` is filled in, `{{` is a brace, and so is one that no name follows: `{ users { id } }`.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self> {
        let template = Self::cut(text);
        for part in &template.0 {
            if let Part::Name(name) = part
                && !known.contains(&name.as_str())
            {
                return Err(
                    Error::invalid_config(format!("`{{{name}}}` stands for nothing")).hint(
                        format!(
                            "use one of {}; for a brace, write `{{{{{name}}}`",
                            known.join(", ")
                        ),
                    ),
                );
            }
        }
        Ok(template)
    }

    fn cut(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((name, behind)) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Name(name.to_owned()));
                    rest = behind;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self(parts)
    }

    pub fn uses(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|part| *part == Part::Name(name.to_owned()))
    }

    /// The text with its values, each as `write` puts it; none where a value is missing.
    pub fn render(
        text: &str,
        values: &impl Fn(&str) -> Option<Value>,
        write: impl Fn(&str) -> String,
    ) -> Option<String> {
        let mut rendered = String::new();
        for part in Self::cut(text).0 {
            match part {
                Part::Text(text) => rendered.push_str(&text),
                Part::Name(name) => rendered.push_str(&write(&plain(&values(&name)?))),
            }
        }
        Some(rendered)
    }

    /// The same in every text of a JSON value. A text that is one name becomes its value; what misses a value is left out.
    pub fn render_json(value: &Value, values: &impl Fn(&str) -> Option<Value>) -> Option<Value> {
        match value {
            Value::String(text) => match Self::cut(text).0.as_slice() {
                [Part::Name(name)] => values(name),
                _ => Self::render(text, values, str::to_owned).map(Value::from),
            },
            Value::Array(list) => Some(
                list.iter()
                    .filter_map(|item| Self::render_json(item, values))
                    .collect(),
            ),
            Value::Object(map) => {
                let rendered = map.iter().filter_map(|(key, item)| {
                    Some((key.clone(), Self::render_json(item, values)?))
                });
                Some(Value::Object(rendered.collect()))
            }
            other => Some(other.clone()),
        }
    }

    pub fn check_json(value: &Value, known: &[&str]) -> Result<()> {
        match value {
            Value::String(text) => Self::parse(text, known).map(drop),
            Value::Array(list) => list
                .iter()
                .try_for_each(|item| Self::check_json(item, known)),
            Value::Object(map) => map
                .values()
                .try_for_each(|item| Self::check_json(item, known)),
            _ => Ok(()),
        }
    }

    pub fn json_uses(value: &Value, name: &str) -> bool {
        match value {
            Value::String(text) => Self::cut(text).uses(name),
            Value::Array(list) => list.iter().any(|item| Self::json_uses(item, name)),
            Value::Object(map) => map.values().any(|item| Self::json_uses(item, name)),
            _ => false,
        }
    }
}

/// A value that the host handed over as JSON text. A number that cannot be held as it is written stays text.
pub fn exact(text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("a value of the host: {error}")))?;
    match value.is_number() && plain(&value) != text {
        true => Ok(text.into()),
        false => Ok(value),
    }
}

/// A value inside of a text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(name: &str) -> Option<Value> {
        match name {
            "page" => Some(json!(7)),
            "since" => Some(json!("a b")),
            _ => None,
        }
    }

    #[test]
    fn only_known_names_are_filled_in() {
        let error = Template::parse("a {unknown}", &["page"]).unwrap_err();
        assert!(error.message.contains("`{unknown}`"), "{}", error.message);
        for text in ["{", "{ a }", "{a", "{1a}", "{{page}", "{}", "{a b}"] {
            assert!(!Template::parse(text, &[]).unwrap().uses("page"), "{text}");
        }
    }

    #[test]
    fn renders_values_where_they_are() {
        let check = |text: &str, expected: Option<&str>| {
            let rendered = Template::render(text, &values, |value| value.replace(' ', "%20"));
            assert_eq!(rendered.as_deref(), expected, "{text}");
        };
        check("x", Some("x"));
        check("p={page}&s={since}", Some("p=7&s=a%20b"));
        check("{{page} {", Some("{page} {"));
        check("{ users { id } }", Some("{ users { id } }"));
        check("{cursor}", None);
    }

    #[test]
    fn no_number_becomes_another() {
        for text in [
            "12345678901234567890123",
            "0.12345678901234567890",
            "1.50",
            "7",
            "-0.5",
        ] {
            assert_eq!(plain(&exact(text).unwrap()), text);
        }
        assert_eq!(exact("7").unwrap(), json!(7));
        assert_eq!(exact("\"7\"").unwrap(), json!("7"));
    }

    #[test]
    fn json_keeps_the_type_of_a_value() {
        let body = json!({"page": "{page}", "text": "p{page}", "gone": "{cursor}", "list": ["{since}", "{cursor}", 1]});
        let expected = json!({"page": 7, "text": "p7", "list": ["a b", 1]});
        assert_eq!(Template::render_json(&body, &values), Some(expected));
    }
}
