//! Whether a stranger's JSON Schema may be used: checking against it must end soon and must not
//! exhaust the stack.
//!
//! Without references that work is bounded by the text of the schema. With them, a page of schema can
//! stand for an endless one, so its size is taken with every reference written out.

use serde_json::Value;

/// Largest config schema of a component, in bytes. That of a wide connector has some 20 kB.
pub const MAX_BYTES: usize = 256 << 10;
/// Most values in a schema with its references written out.
const MAX_VALUES: usize = 100_000;
/// Deepest nesting with references written out; the validator recurses as deep.
const MAX_DEPTH: usize = 64;
/// What a pattern counts for: it is compiled.
const PATTERN_VALUES: usize = 500;

/// The error says what the schema does that it may not.
pub fn check(schema: &Value) -> Result<(), String> {
    Walk {
        schema,
        left: MAX_VALUES,
    }
    .visit(schema, 0)
}

struct Walk<'a> {
    schema: &'a Value,
    left: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "it refers to itself or nests deeper than {MAX_DEPTH}"
            ));
        }
        self.spend(1)?;
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(target)) => self.follow(target, depth)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                            return Err(format!("it uses `{key}`, which is not supported"));
                        }
                        // Inside another document, `#/...` would mean another place.
                        ("$id" | "id", Value::String(_)) if depth > 0 => {
                            return Err("it has an `$id` below the top".to_owned());
                        }
                        ("pattern", Value::String(_)) => self.spend(PATTERN_VALUES)?,
                        ("patternProperties", Value::Object(map)) => {
                            self.spend(PATTERN_VALUES.saturating_mul(map.len()))?;
                            self.visit(value, depth + 1)?;
                        }
                        _ => self.visit(value, depth + 1)?,
                    }
                }
                Ok(())
            }
            Value::Array(list) => list.iter().try_for_each(|item| self.visit(item, depth + 1)),
            _ => Ok(()),
        }
    }

    fn follow(&mut self, target: &str, depth: usize) -> Result<(), String> {
        let schema = self.schema;
        let pointer = target
            .strip_prefix('#')
            .filter(|p| p.is_empty() || p.starts_with('/'));
        match pointer.and_then(|pointer| schema.pointer(pointer)) {
            Some(value) => self.visit(value, depth + 1),
            None => Err("it has a `$ref` that does not lead to a place in it (`#/...`)".to_owned()),
        }
    }

    fn spend(&mut self, values: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(values).ok_or_else(|| {
            format!("it has more than {MAX_VALUES} values with its references written out")
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(schema: Value, part: &str) {
        let message = check(&schema).expect_err(&schema.to_string());
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn refuses_schemas_that_take_for_ever_or_the_whole_stack() {
        refused(json!({ "$ref": "#" }), "refers to itself");
        refused(
            json!({ "properties": { "a": { "allOf": [{ "$ref": "#/properties/a" }] } } }),
            "refers to itself",
        );
        // Each level stands for two of the next: 2^40 when written out.
        let mut defs = serde_json::Map::new();
        for level in 0..40 {
            let next = json!({ "$ref": format!("#/$defs/{}", level + 1) });
            defs.insert(level.to_string(), json!({ "anyOf": [next, next] }));
        }
        defs.insert("40".into(), json!({ "type": "string" }));
        refused(
            json!({ "$defs": defs, "$ref": "#/$defs/0" }),
            "refers to itself",
        );
        let mut defs = serde_json::Map::new();
        for level in 0..12 {
            let next = json!({ "$ref": format!("#/$defs/{}", level + 1) });
            defs.insert(level.to_string(), json!({ "anyOf": [next, next, next] }));
        }
        defs.insert("12".into(), json!({ "type": "string" }));
        refused(
            json!({ "$defs": defs, "$ref": "#/$defs/0" }),
            "more than 100000 values",
        );
        let patterns: Vec<_> = (0..300)
            .map(|n| json!({ "pattern": format!("\\w{{{n}}}") }))
            .collect();
        refused(json!({ "anyOf": patterns }), "more than 100000 values");
        refused(
            json!({ "$ref": "https://example.com/schema.json" }),
            "`$ref`",
        );
        refused(json!({ "$ref": "#/$defs/missing" }), "`$ref`");
        refused(json!({ "$dynamicRef": "#node" }), "`$dynamicRef`");
        refused(
            json!({ "properties": { "a": { "$id": "https://example.com/" } } }),
            "`$id`",
        );
    }

    #[test]
    fn takes_what_generators_write() {
        assert_eq!(check(&super::super::schema()), Ok(()));
        let by_reference = json!({
            "$id": "https://example.com/config",
            "$defs": { "Format": { "enum": ["csv", "json"] } },
            "properties": { "a": { "$ref": "#/$defs/Format" }, "id": { "type": "string" } }
        });
        assert_eq!(check(&by_reference), Ok(()));
    }
}
