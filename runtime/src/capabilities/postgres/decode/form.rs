//! What a type becomes in Arrow: the kind of column that decodes it, and the data type that comes out.
//!
//! Knows no catalog: which type becomes what is decided in `layout.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

use super::numeric::Decimal;
use super::options::{As, Infinity, Nan};

#[derive(Debug)]
pub(super) struct Form {
    pub kind: Kind,
    data_type: DataType,
    /// Name of the Arrow extension type.
    extension: Option<&'static str>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Decimal(Decimal),
    NumericFloat,
    Money,
    Date(Infinity),
    Time,
    Timestamp(Infinity),
    Interval(Infinity),
    Uuid,
    Bytea,
    Text,
    Jsonb,
    Printed(Print),
    Enum(Vec<String>),
    List {
        framing: Framing,
        dimensions: u8,
        item: Box<Form>,
    },
    /// Type and form of each attribute.
    Composite(Vec<(u32, Form)>),
    /// Of the bounds.
    Range(Box<Form>),
    Map,
}

/// Which values are written as text here, not by the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Print {
    Numeric,
    TimeTz,
    Network,
    Mac,
    BitString,
    Char,
}

/// How lists stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Framing {
    Array { element: u32 },
    Multirange,
}

impl Form {
    pub fn new(kind: Kind, data_type: DataType) -> Self {
        Self {
            kind,
            data_type,
            extension: None,
        }
    }

    pub fn text() -> Self {
        Self::new(Kind::Text, DataType::Utf8)
    }

    pub fn printed(print: Print) -> Self {
        Self::new(Kind::Printed(print), DataType::Utf8)
    }

    pub fn numeric(read_as: As, nan: Nan) -> Self {
        match read_as {
            As::Text => Self::printed(Print::Numeric),
            As::Float64 => Self::new(Kind::NumericFloat, DataType::Float64),
            As::Decimal { precision, scale } => {
                let data_type = match precision {
                    0..=38 => DataType::Decimal128(precision, scale),
                    _ => DataType::Decimal256(precision, scale),
                };
                let decimal = Decimal {
                    precision,
                    scale,
                    nan,
                };
                Self::new(Kind::Decimal(decimal), data_type)
            }
        }
    }

    pub fn labels(labels: &[String]) -> Self {
        let (key, value) = (Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let kind = Kind::Enum(labels.to_vec());
        Self::new(kind, DataType::Dictionary(key, value))
    }

    pub fn list(framing: Framing, dimensions: u8, item: Self) -> Self {
        let mut field = item.field("item", true);
        for _ in 1..dimensions {
            field = Field::new_list_field(DataType::List(Arc::new(field)), true);
        }
        let kind = Kind::List {
            framing,
            dimensions,
            item: Box::new(item),
        };
        Self::new(kind, DataType::List(Arc::new(field)))
    }

    /// `attributes`: type and form of each, in the order of `names`.
    pub fn composite<'a>(
        names: impl Iterator<Item = &'a str>,
        attributes: Vec<(u32, Self)>,
    ) -> Self {
        let fields: Fields = names
            .zip(&attributes)
            .map(|(name, (_, form))| form.field(name, true))
            .collect();
        Self::new(Kind::Composite(attributes), DataType::Struct(fields))
    }

    pub fn range(bound: Self) -> Self {
        let flag = |name| Field::new(name, DataType::Boolean, false);
        let fields = Fields::from(vec![
            bound.field("lower", true),
            bound.field("upper", true),
            flag("lower_inclusive"),
            flag("upper_inclusive"),
            flag("empty"),
        ]);
        Self::new(Kind::Range(Box::new(bound)), DataType::Struct(fields))
    }

    pub fn map() -> Self {
        let fields = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Utf8, true),
        ]);
        let entries = Field::new("entries", DataType::Struct(fields), false);
        Self::new(Kind::Map, DataType::Map(Arc::new(entries), false))
    }

    pub fn extension(self, name: &'static str) -> Self {
        Self {
            extension: Some(name),
            ..self
        }
    }

    pub fn field(&self, name: &str, is_nullable: bool) -> Field {
        let field = Field::new(name, self.data_type.clone(), is_nullable);
        let Some(extension) = self.extension else {
            return field;
        };
        field.with_metadata(HashMap::from([
            ("ARROW:extension:name".to_owned(), extension.to_owned()),
            ("ARROW:extension:metadata".to_owned(), String::new()),
        ]))
    }

    /// What a NULL takes while it is decoded, in bytes: its place and that of its parts, and where they lie.
    pub fn least_bytes(&self) -> usize {
        let parts = match &self.kind {
            Kind::Composite(attributes) => {
                let attributes = attributes.iter();
                attributes.map(|(_, form)| form.least_bytes()).sum()
            }
            Kind::Range(bound) => 2 * bound.least_bytes(),
            _ => 0,
        };
        24 + parts
    }
}
