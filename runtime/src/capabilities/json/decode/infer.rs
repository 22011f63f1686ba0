//! Which columns the objects of a list need. `wit/json.wit` has the rules.

use std::collections::HashMap;

use super::columns::{Columns, MAX_COLUMNS, MAX_DEPTH, Type};
use super::number;
use super::tape::{Kind, Value};
use super::text::shown;
use super::{Refusal, Result};

/// The columns of the objects in `records`, made wider by `known` first.
pub fn infer(records: Value<'_>, known: Option<&Columns>) -> Result<Columns> {
    let mut columns = known.cloned().unwrap_or_default();
    // An integer that no Float64 holds is seen as one again once its column is `number`: types only get wider, so this
    // comes to an end.
    loop {
        let mut walk = Walk { left: MAX_COLUMNS };
        let mut shape = walk.fields_of(&columns)?;
        for (index, record) in records.elements().enumerate() {
            if record.kind() != Kind::Object {
                return Err(not_an_object(index, record));
            }
            walk.object(&mut shape, record, 1)?;
        }
        let wider = shape.columns();
        if wider == columns {
            return Ok(wider);
        }
        columns = wider;
    }
}

pub(super) fn not_an_object(index: usize, record: Value<'_>) -> Refusal {
    let kind = super::pointer::with_article(record.kind());
    Refusal::data(format!("record {}: it is {kind}, not an object", index + 1))
        .hint("the place of the records is a JSON Pointer to an array of objects")
}

/// A type while it is found out.
enum Shape {
    List(Box<Shape>),
    /// Without fields as long as only `{}` was seen.
    Struct(Fields),
    Other(Type),
}

#[derive(Default)]
struct Fields {
    named: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

struct Walk {
    /// Columns that there may still be.
    left: usize,
}

impl Walk {
    fn fields_of(&mut self, columns: &Columns) -> Result<Fields> {
        let mut fields = Fields::default();
        for (name, kind) in &columns.0 {
            let shape = self.shape_of(kind)?;
            self.add(&mut fields, name, shape)?;
        }
        Ok(fields)
    }

    fn shape_of(&mut self, kind: &Type) -> Result<Shape> {
        Ok(match kind {
            Type::List(element) => Shape::List(Box::new(self.shape_of(element)?)),
            Type::Struct(columns) => Shape::Struct(self.fields_of(columns)?),
            other => Shape::Other(other.clone()),
        })
    }

    fn add(&mut self, fields: &mut Fields, name: &str, shape: Shape) -> Result<usize> {
        let Some(left) = self.left.checked_sub(1) else {
            let problem = format!(
                "the records have more than {MAX_COLUMNS} different keys, such as `{}`",
                shown(name)
            );
            return Err(Refusal::limit(problem).hint(
                "name the columns in `schema`; an object whose keys are data is of type `json`",
            ));
        };
        self.left = left;
        let place = fields.named.len();
        fields.named.push((name.to_owned(), shape));
        fields.places.insert(name.to_owned(), place);
        Ok(place)
    }

    fn object(&mut self, fields: &mut Fields, object: Value<'_>, depth: usize) -> Result<()> {
        for (count, (key, value)) in object.members().enumerate() {
            let name = key.text();
            // Objects of a list mostly have the same keys in the same order.
            let expected = fields.named.get(count).filter(|(own, _)| *own == name);
            let place = match expected {
                Some(_) => count,
                None => match fields.places.get(name.as_ref()) {
                    Some(place) => *place,
                    None => self.add(fields, &name, Shape::Other(Type::Null))?,
                },
            };
            if let Some((_, shape)) = fields.named.get_mut(place) {
                self.widen(shape, value, depth)?;
            }
        }
        Ok(())
    }

    fn widen(&mut self, shape: &mut Shape, value: Value<'_>, depth: usize) -> Result<()> {
        match (value.kind(), &mut *shape) {
            (Kind::Null, _) => {}
            (_, Shape::Other(kind)) if is_final(kind) => {}
            (Kind::Array | Kind::Object, Shape::Other(Type::Null)) if depth == MAX_DEPTH => {
                *shape = Shape::Other(Type::Json);
            }
            (Kind::Array, Shape::Other(Type::Null)) => {
                let mut element = Shape::Other(Type::Null);
                self.elements(&mut element, value, depth)?;
                *shape = Shape::List(Box::new(element));
            }
            (Kind::Array, Shape::List(element)) => self.elements(element, value, depth)?,
            (Kind::Object, Shape::Other(Type::Null)) => {
                let mut fields = Fields::default();
                self.object(&mut fields, value, depth + 1)?;
                *shape = Shape::Struct(fields);
            }
            (Kind::Object, Shape::Struct(fields)) => self.object(fields, value, depth + 1)?,
            (Kind::Array | Kind::Object, _) | (_, Shape::List(_) | Shape::Struct(_)) => {
                *shape = Shape::Other(Type::Json);
            }
            (_, Shape::Other(kind)) => *kind = wider(kind, value),
        }
        Ok(())
    }

    fn elements(&mut self, element: &mut Shape, array: Value<'_>, depth: usize) -> Result<()> {
        array
            .elements()
            .try_for_each(|value| self.widen(element, value, depth + 1))
    }
}

/// What inference does not come up with, and so leaves as it is; and what is as wide as can be.
fn is_final(kind: &Type) -> bool {
    match kind {
        Type::Null | Type::Bool | Type::Int64 | Type::Number | Type::String => false,
        Type::Int32 | Type::Float64 | Type::Decimal { .. } => true,
        Type::Date | Type::Timestamp | Type::TimestampTz | Type::Json => true,
        Type::List(_) | Type::Struct(_) => true,
    }
}

/// The narrowest of the types that takes both, of a value that is neither null nor a container.
fn wider(kind: &Type, value: Value<'_>) -> Type {
    let own = match value.kind() {
        Kind::True | Kind::False => Type::Bool,
        Kind::Number => type_of_number(&value.text(), kind),
        _ => Type::String,
    };
    match (kind, own) {
        (Type::Null, own) => own,
        (kind, own) if *kind == own => own,
        (Type::Int64, Type::Number) | (Type::Number, Type::Int64) => Type::Number,
        _ => Type::String,
    }
}

/// A number in a column that is `kind` so far.
fn type_of_number(text: &str, kind: &Type) -> Type {
    let is_integer = number::is_integer(text);
    match is_integer && number::int64(text).is_some() {
        true if *kind != Type::Number => Type::Int64,
        false if is_integer => Type::String,
        _ => match number::exact_float(text) {
            Some(_) => Type::Number,
            None => Type::String,
        },
    }
}

impl Fields {
    fn columns(self) -> Columns {
        let named = self.named.into_iter();
        Columns(named.map(|(name, shape)| (name, shape.kind())).collect())
    }
}

impl Shape {
    fn kind(self) -> Type {
        match self {
            Self::List(element) => Type::List(Box::new(element.kind())),
            Self::Struct(fields) if fields.named.is_empty() => Type::Json,
            Self::Struct(fields) => Type::Struct(fields.columns()),
            Self::Other(kind) => kind,
        }
    }
}

#[cfg(test)]
mod tests {

    use super::super::tape::Tape;
    use super::*;

    fn inferred(records: &str, known: Option<&str>) -> Result<String> {
        let tape = Tape::parse(records.as_bytes(), false, u64::MAX)?;
        let known = known.map(Columns::parse).transpose()?;
        let document = tape.document();
        infer(document.root(), known.as_ref()).map(|columns| columns.to_string())
    }

    #[track_caller]
    fn check(values: &[&str], expected: &str) {
        let records: Vec<_> = values
            .iter()
            .map(|value| format!(r#"{{"a":{value}}}"#))
            .collect();
        let got = inferred(&format!("[{}]", records.join(",")), None).unwrap();
        assert_eq!(got, format!(r#"{{"a":{expected}}}"#), "{values:?}");
    }

    #[test]
    fn refuses_what_is_no_record_and_too_many_columns() {
        let refusal = inferred(r#"[{"a":1},[]]"#, None).unwrap_err();
        assert_eq!(refusal.message, "record 2: it is an array, not an object");
        let keys: Vec<_> = (0..=MAX_COLUMNS)
            .map(|key| format!(r#""k{key}":1"#))
            .collect();
        let refusal = inferred(&format!("[{{{}}}]", keys.join(",")), None).unwrap_err();
        assert!(
            refusal.message.contains("more than 10000"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn types_get_wider_by_the_stated_rules() {
        check(&["null"], r#""null""#);
        check(&["null", "1", "null"], r#""int64""#);
        check(&["1", "1.5"], r#""number""#);
        check(&["1.5", "1"], r#""number""#);
        check(&["1", "1.5", r#""x""#], r#""string""#);
        check(&["true"], r#""bool""#);
        check(&["true", "1"], r#""string""#);
        check(&["9223372036854775807"], r#""int64""#);
        check(&["9223372036854775808"], r#""string""#);
        check(&["0.1234567890123456789"], r#""string""#);
        check(&["9007199254740993"], r#""int64""#);
        check(&["9007199254740993", "0.5"], r#""string""#);
        check(&["0.5", "9007199254740993"], r#""string""#);
        check(&["{}"], r#""json""#);
        check(&["{}", r#"{"b":1}"#], r#"{"b":"int64"}"#);
        check(
            &[r#"{"b":1}"#, r#"{"c":"x","b":0.5}"#],
            r#"{"b":"number","c":"string"}"#,
        );
        check(&[r#"{"b":1}"#, "null", "2"], r#""json""#);
        check(&["[]"], r#"["null"]"#);
        check(&["[]", "[1,null]", "[2.5]"], r#"["number"]"#);
        check(&["[[1]]", r#"[["x"]]"#], r#"[["string"]]"#);
        check(&["[1]", "1"], r#""json""#);
        check(&["[1,[2]]"], r#"["json"]"#);
        check(&[r#""x""#, "[1]"], r#""json""#);
        check(
            &[r#"[{"b":1},{"c":[]}]"#],
            r#"[{"b":"int64","c":["null"]}]"#,
        );
    }

    #[test]
    fn what_is_too_deep_is_json() {
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        let text = inferred(&format!(r#"[{{"a":{deep}}}]"#), None).unwrap();
        assert!(text.contains("json"), "{text}");
        assert_eq!(Columns::parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn known_columns_come_first_and_never_get_narrower() {
        let known = r#"{"at":"timestamptz","n":"decimal(10,2)","b":"int64","s":{"x":"date"}}"#;
        let got = inferred(
            r#"[{"c":1,"b":0.5,"n":"x","at":7,"s":{"y":1,"x":true}}]"#,
            Some(known),
        );
        let expected = r#"{"at":"timestamptz","n":"decimal(10,2)","b":"number","s":{"x":"date","y":"int64"},"c":"int64"}"#;
        assert_eq!(got.unwrap(), expected);
        assert_eq!(inferred("[]", Some(known)).unwrap(), known);
    }
}
