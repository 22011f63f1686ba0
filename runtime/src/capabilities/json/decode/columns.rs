//! How columns are written, and what Arrow makes of them. `wit/json.wit` names the types.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

use super::tape::{Kind, Tape, Value};
use super::text::shown;
use super::{Refusal, Result};

/// How deep types may be nested, the columns themselves included.
pub(super) const MAX_DEPTH: usize = 32;

/// The most columns, with those inside of others.
pub(super) const MAX_COLUMNS: usize = 10_000;

/// The most that columns may take as JSON, parsed: far more than as many as there may be.
const MAX_NOTATION_BYTES: u64 = 16 << 20;

/// The most digits of a decimal: those of Decimal128.
const MAX_PRECISION: u8 = 38;

const NAMES: [(&str, Type); 11] = [
    ("bool", Type::Bool),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("float64", Type::Float64),
    ("number", Type::Number),
    ("date", Type::Date),
    ("timestamp", Type::Timestamp),
    ("timestamptz", Type::TimestampTz),
    ("string", Type::String),
    ("json", Type::Json),
    ("null", Type::Null),
];

/// Names and types, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(pub(super) Vec<(String, Type)>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Nothing but null was seen.
    Null,
    Bool,
    Int32,
    Int64,
    Float64,
    /// Float64, for values that it holds exactly.
    Number,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Date,
    Timestamp,
    TimestampTz,
    String,
    Json,
    List(Box<Type>),
    Struct(Columns),
}

/// The schema of `columns` and, behind them, a text column for each name in `constants`.
pub fn schema<'a>(
    columns: &Columns,
    constants: impl IntoIterator<Item = &'a str>,
) -> Result<Schema> {
    let mut fields: Vec<Field> = columns
        .0
        .iter()
        .map(|(name, kind)| kind.field(name))
        .collect();
    let mut names: HashSet<&str> = columns.0.iter().map(|(name, _)| name.as_str()).collect();
    for name in constants {
        if !names.insert(name) {
            return Err(
                Refusal::config(format!("there are two columns `{}`", shown(name)))
                    .hint("a constant must have a name of its own"),
            );
        }
        fields.push(Field::new(name, DataType::Utf8, true));
    }
    Ok(Schema::new(fields))
}

impl Columns {
    pub fn parse(text: &str) -> Result<Self> {
        let tape = Tape::parse(text.as_bytes(), false, MAX_NOTATION_BYTES).map_err(|refusal| {
            let problem = refusal
                .message
                .replacen("the body is", "the columns are", 1);
            Refusal::config(problem)
        })?;
        let document = tape.document();
        let root = document.root();
        if root.kind() != Kind::Object {
            return Err(invalid("", "the columns are not an object")
                .hint("write names and types: `{\"id\": \"int64\"}`"));
        }
        let mut left = MAX_COLUMNS;
        parse_columns(root, "", 1, &mut left)
    }
}

impl Type {
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 | Self::Number => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::String | Self::Json | Self::Null => DataType::Utf8,
            Self::List(element) => DataType::List(Arc::new(element.field("item"))),
            Self::Struct(columns) => DataType::Struct(columns.fields()),
        }
    }

    pub fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.arrow(), true);
        let mut metadata = HashMap::new();
        if matches!(self, Self::Json | Self::Null) {
            metadata.insert("ARROW:extension:name".to_owned(), "arrow.json".to_owned());
            metadata.insert("ARROW:extension:metadata".to_owned(), String::new());
        }
        if *self == Self::Null {
            let note = "no value was seen, so it is kept as JSON text; name its type in `schema`";
            metadata.insert("dativo.note".to_owned(), note.to_owned());
        }
        field.with_metadata(metadata)
    }

    /// As a sentence needs it: `` `abc` is not an int64``.
    pub fn with_article(&self) -> String {
        match self {
            Self::Bool => "a boolean".to_owned(),
            Self::Int32 | Self::Int64 => format!("an {self}"),
            Self::Number => "a number".to_owned(),
            Self::String => "a text".to_owned(),
            Self::List(_) => "an array".to_owned(),
            Self::Struct(_) => "an object".to_owned(),
            Self::Json | Self::Null => "JSON".to_owned(),
            _ => format!("a {self}"),
        }
    }
}

impl Columns {
    pub(super) fn fields(&self) -> Fields {
        let fields = self.0.iter().map(|(name, kind)| kind.field(name));
        fields.collect()
    }
}

fn invalid(place: &str, problem: impl fmt::Display) -> Refusal {
    match place {
        "" => Refusal::config(problem.to_string()),
        _ => Refusal::config(format!("column `{}`: {problem}", shown(place))),
    }
}

fn parse_columns(value: Value<'_>, place: &str, depth: usize, left: &mut usize) -> Result<Columns> {
    let mut columns = Vec::with_capacity((value.count() as usize).min(*left));
    for (key, value) in value.members() {
        let name = key.text().into_owned();
        let place = match place {
            "" => name.clone(),
            _ => format!("{place}.{name}"),
        };
        if name.is_empty() {
            return Err(invalid(&place, "a column must have a name"));
        }
        let Some(rest) = left.checked_sub(1) else {
            return Err(invalid(
                &place,
                format!("there are more than {MAX_COLUMNS} columns"),
            ));
        };
        *left = rest;
        columns.push((name, parse_type(value, &place, depth, left)?));
    }
    Ok(Columns(columns))
}

fn parse_type(value: Value<'_>, place: &str, depth: usize, left: &mut usize) -> Result<Type> {
    let deeper = || {
        if depth == MAX_DEPTH {
            let problem = format!("types are nested deeper than {MAX_DEPTH}");
            return Err(invalid(place, problem).hint("keep what is inside as `json`"));
        }
        Ok(depth + 1)
    };
    match value.kind() {
        Kind::Text | Kind::Escaped => parse_name(&value.text(), place),
        Kind::Array => {
            let mut elements = value.elements();
            let (Some(element), None) = (elements.next(), elements.next()) else {
                return Err(
                    invalid(place, "a list must have one type").hint("write `[\"string\"]`")
                );
            };
            let element = parse_type(element, &format!("{place}[]"), deeper()?, left)?;
            Ok(Type::List(Box::new(element)))
        }
        Kind::Object if value.count() == 0 => {
            Err(invalid(place, "a struct must have a column").hint("write `\"json\"`"))
        }
        Kind::Object => Ok(Type::Struct(parse_columns(value, place, deeper()?, left)?)),
        _ => Err(
            invalid(place, format!("`{}` is not a type", shown(&value.raw()))).hint(known_names()),
        ),
    }
}

fn parse_name(name: &str, place: &str) -> Result<Type> {
    if let Some((_, kind)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(kind.clone());
    }
    let arguments = name
        .strip_prefix("decimal(")
        .and_then(|rest| rest.strip_suffix(')')?.split_once(','));
    let parsed = arguments.and_then(|(precision, scale)| {
        let precision: u8 = precision.trim().parse().ok()?;
        let scale: u8 = scale.trim().parse().ok()?;
        Some((precision, scale))
    });
    match parsed {
        Some((precision @ 1..=MAX_PRECISION, scale)) if scale <= precision => Ok(Type::Decimal {
            precision,
            // At most 38.
            scale: scale as i8,
        }),
        _ if name.starts_with("decimal") => {
            Err(
                invalid(place, format!("`{}` is not a type", shown(name))).hint(format!(
                    "write `decimal(p,s)` with p from 1 to {MAX_PRECISION} and s from 0 to p"
                )),
            )
        }
        _ => Err(invalid(place, format!("`{}` is not a type", shown(name))).hint(known_names())),
    }
}

fn known_names() -> String {
    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    format!(
        "use one of {}, decimal(p,s), `[type]` or `{{name: type}}`",
        names.join(", ")
    )
}

/// As [`Columns::parse`] reads it.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, (name, kind)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            let name = serde_json::Value::from(name.as_str());
            match kind {
                Type::List(_) | Type::Struct(_) => write!(f, "{name}:{kind}")?,
                _ => write!(f, "{name}:\"{kind}\"")?,
            }
        }
        f.write_char('}')
    }
}

/// A name without quotes, a list or struct as JSON.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::List(element) => match element.as_ref() {
                Self::List(_) | Self::Struct(_) => write!(f, "[{element}]"),
                _ => write!(f, "[\"{element}\"]"),
            },
            Self::Struct(columns) => columns.fmt(f),
            _ => {
                let name = NAMES.iter().find(|(_, kind)| kind == self);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}
