//! What each column of a result becomes in Arrow, and in which format it is asked for. Decided once, without I/O.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, Schema, SchemaRef, TimeUnit};

use super::catalog::{Catalog, Shape};
use super::form::{Form, Framing, Kind, Print};
use super::options::{As, ColumnOptions, Decoding};

/// The key of a field's metadata under which stands what a user should know about how the column is read.
pub const NOTE: &str = "dativo.note";

/// Types inside of types, at most.
const MAX_DEPTH: usize = 32;

/// Columns with all their parts, at most. A type that would take more is read as text.
const MAX_NODES: usize = 32_768;

const TEXT_FORMAT: i16 = 0;
const BINARY_FORMAT: i16 = 1;

/// A column as the server describes it.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub oid: u32,
    pub typmod: i32,
}

/// What the columns of a result become.
#[derive(Debug)]
pub struct Layout {
    pub schema: SchemaRef,
    /// To be asked for, column by column: 0 is text, 1 is binary.
    pub formats: Vec<i16>,
    pub(super) forms: Vec<Form>,
    pub(super) nodes: usize,
}

/// Options that do not fit the columns.
#[derive(Debug, PartialEq)]
pub struct Invalid {
    pub message: String,
    pub hint: Option<String>,
}

impl Layout {
    pub fn new(
        columns: &[Column],
        catalog: &Catalog,
        decoding: &Decoding,
    ) -> Result<Self, Invalid> {
        if let Some(name) = decoding
            .columns
            .keys()
            .find(|name| columns.iter().all(|column| column.name != **name))
        {
            return Err(Invalid {
                message: format!("there is no column `{name}`"),
                hint: None,
            });
        }
        let mut names = HashSet::new();
        if let Some(twice) = columns.iter().find(|column| !names.insert(&column.name)) {
            return Err(Invalid {
                message: format!("two columns are called `{}`", twice.name),
                hint: Some("name each column of a `query` with `AS`".to_owned()),
            });
        }
        let usual = ColumnOptions::default();
        let mut plan = Plan {
            catalog,
            decoding,
            nodes: 0,
        };
        let (mut fields, mut formats, mut forms) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns {
            let options = decoding.columns.get(&column.name).unwrap_or(&usual);
            let (form, format, note) = plan.column(column, options)?;
            let mut field = form.field(&column.name, !options.not_null);
            if let Some(note) = note {
                field.metadata_mut().insert(NOTE.to_owned(), note);
            }
            fields.push(field);
            formats.push(format);
            forms.push(form);
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            formats,
            forms,
            nodes: plan.nodes,
        })
    }
}

/// Why a type is read as text.
struct Unknown(String);

struct Plan<'a> {
    catalog: &'a Catalog,
    decoding: &'a Decoding,
    nodes: usize,
}

impl Plan<'_> {
    fn column(
        &mut self,
        column: &Column,
        options: &ColumnOptions,
    ) -> Result<(Form, i16, Option<String>), Invalid> {
        let (oid, typmod) = self.base(column.oid, column.typmod);
        let invalid = |message: String, hint: &str| Invalid {
            message,
            hint: Some(hint.to_owned()),
        };
        let Column { name, .. } = column;
        let is_array = matches!(self.shape(oid), Some(Shape::Array { .. }));
        if !(1..=6).contains(&options.dimensions) {
            let message = format!(
                "column `{name}` cannot have {} dimensions",
                options.dimensions
            );
            return Err(invalid(message, "an array has from 1 to 6 dimensions"));
        }
        if options.dimensions > 1 && !is_array {
            let message = format!("column `{name}` is no array and has no dimensions");
            return Err(invalid(message, "leave `dimensions` out"));
        }
        match options.read_as {
            Some(As::Text) => {
                self.nodes += 1;
                return Ok((Form::text(), TEXT_FORMAT, None));
            }
            Some(read_as) if oid == oids::NUMERIC => {
                self.nodes += 1;
                return Ok((
                    Form::numeric(read_as, self.decoding.nan),
                    BINARY_FORMAT,
                    None,
                ));
            }
            Some(_) => {
                let message = format!(
                    "column `{name}` is of type `{}`, not numeric",
                    self.name(oid)
                );
                return Err(invalid(message, "any column can be read as `text`"));
            }
            None => {}
        }
        let nodes = self.nodes;
        match self.form(oid, typmod, options.dimensions, 0) {
            // Alone, such values come as the server's own text.
            Ok(Form {
                kind: Kind::Printed(_),
                ..
            }) => Ok((Form::text(), TEXT_FORMAT, None)),
            Ok(form) => Ok((form, BINARY_FORMAT, None)),
            Err(Unknown(why)) => {
                self.nodes = nodes + 1;
                let note = format!("{why}: read as the text that the server prints");
                Ok((Form::text(), TEXT_FORMAT, Some(note)))
            }
        }
    }

    /// What a domain is made of, however many times.
    fn base(&self, mut oid: u32, mut typmod: i32) -> (u32, i32) {
        for _ in 0..MAX_DEPTH {
            let Some(Shape::Domain { base, typmod: own }) = self.shape(oid) else {
                break;
            };
            oid = *base;
            typmod = if *own == -1 { typmod } else { *own };
        }
        (oid, typmod)
    }

    fn shape(&self, oid: u32) -> Option<&Shape> {
        self.catalog.get(oid).map(|known| &known.shape)
    }

    fn name(&self, oid: u32) -> String {
        match self.catalog.get(oid) {
            Some(known) => known.name.clone(),
            None => oid.to_string(),
        }
    }

    fn form(
        &mut self,
        oid: u32,
        typmod: i32,
        dimensions: u8,
        depth: usize,
    ) -> Result<Form, Unknown> {
        let (oid, typmod) = self.base(oid, typmod);
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Unknown(format!(
                "type `{}` has too many parts",
                self.name(oid)
            )));
        }
        if let Some(form) = self.builtin(oid, typmod)? {
            return Ok(form);
        }
        let Some(known) = self.catalog.get(oid) else {
            return Err(Unknown(format!("type {oid} is not in the catalog")));
        };
        let depth = depth + 1;
        match &known.shape {
            Shape::Base => match (known.name.as_str(), known.extension.as_deref()) {
                ("citext", Some("citext")) => Ok(Form::text()),
                ("hstore", Some("hstore")) => Ok(Form::map()),
                ("geometry" | "geography", Some("postgis")) => {
                    Ok(Form::new(Kind::Bytea, DataType::Binary))
                }
                (name, _) => Err(Unknown(format!("type `{name}` has no Arrow form"))),
            },
            // Its base was looked at above, unless it is one of too many.
            Shape::Domain { .. } => {
                Err(Unknown(format!("type `{}` has too many parts", known.name)))
            }
            Shape::Enum(labels) => Ok(Form::labels(labels)),
            Shape::Array { element } => {
                let item = self.form(*element, typmod, 1, depth)?;
                let framing = Framing::Array { element: *element };
                Ok(Form::list(framing, dimensions, item))
            }
            Shape::Multirange { range } => {
                let item = self.form(*range, -1, 1, depth)?;
                Ok(Form::list(Framing::Multirange, 1, item))
            }
            Shape::Range { subtype } => {
                let bound = self.form(*subtype, -1, 1, depth)?;
                self.nodes += 4;
                Ok(Form::range(bound))
            }
            Shape::Composite(attributes) => {
                let mut forms = Vec::new();
                for attribute in attributes {
                    let form = self.form(attribute.oid, attribute.typmod, 1, depth)?;
                    forms.push((attribute.oid, form));
                }
                let names = attributes.iter().map(|attribute| attribute.name.as_str());
                Ok(Form::composite(names, forms))
            }
        }
    }

    /// Types that have the same number in every server.
    fn builtin(&self, oid: u32, typmod: i32) -> Result<Option<Form>, Unknown> {
        let infinity = self.decoding.infinity;
        let timestamp = |zone: Option<Arc<str>>| {
            Form::new(
                Kind::Timestamp(infinity),
                DataType::Timestamp(TimeUnit::Microsecond, zone),
            )
        };
        let form = match oid {
            oids::BOOL => Form::new(Kind::Bool, DataType::Boolean),
            oids::INT2 => Form::new(Kind::Int2, DataType::Int16),
            oids::INT4 => Form::new(Kind::Int4, DataType::Int32),
            oids::INT8 => Form::new(Kind::Int8, DataType::Int64),
            oids::OID => Form::new(Kind::Oid, DataType::UInt32),
            oids::FLOAT4 => Form::new(Kind::Float4, DataType::Float32),
            oids::FLOAT8 => Form::new(Kind::Float8, DataType::Float64),
            oids::NUMERIC => match precision_and_scale(typmod) {
                None => Form::numeric(self.decoding.numeric, self.decoding.nan),
                Some((precision, scale)) => match decimal(precision, scale) {
                    Some(read_as) => Form::numeric(read_as, self.decoding.nan),
                    None => {
                        let what = format!(
                            "numeric({precision},{scale}) has more digits than a decimal holds, 76"
                        );
                        return Err(Unknown(what));
                    }
                },
            },
            oids::MONEY => match self.catalog.money_scale() {
                Some(scale) => Form::new(Kind::Money, DataType::Decimal128(19, scale)),
                None => return Err(Unknown("the scale of money is not known".to_owned())),
            },
            oids::TEXT | oids::VARCHAR | oids::BPCHAR | oids::NAME | oids::UNKNOWN | oids::XML => {
                Form::text()
            }
            oids::JSON => Form::text().extension("arrow.json"),
            oids::JSONB => Form::new(Kind::Jsonb, DataType::Utf8).extension("arrow.json"),
            oids::BYTEA => Form::new(Kind::Bytea, DataType::Binary),
            oids::DATE => Form::new(Kind::Date(infinity), DataType::Date32),
            oids::TIME => Form::new(Kind::Time, DataType::Time64(TimeUnit::Microsecond)),
            oids::TIMESTAMP => timestamp(None),
            oids::TIMESTAMPTZ => timestamp(Some("UTC".into())),
            oids::INTERVAL => Form::new(
                Kind::Interval(infinity),
                DataType::Interval(IntervalUnit::MonthDayNano),
            ),
            oids::UUID => {
                Form::new(Kind::Uuid, DataType::FixedSizeBinary(16)).extension("arrow.uuid")
            }
            oids::CHAR => Form::printed(Print::Char),
            oids::TIMETZ => Form::printed(Print::TimeTz),
            oids::INET | oids::CIDR => Form::printed(Print::Network),
            oids::MACADDR | oids::MACADDR8 => Form::printed(Print::Mac),
            oids::BIT | oids::VARBIT => Form::printed(Print::BitString),
            _ => return Ok(None),
        };
        Ok(Some(form))
    }
}

/// Of a numeric type, from its modifier. The scale has 11 bits and a sign.
fn precision_and_scale(typmod: i32) -> Option<(i32, i32)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    let scale = ((packed & 0x7FF) ^ 0x400) - 0x400;
    Some((packed >> 16 & 0xFFFF, scale))
}

/// The decimal type for numeric(precision, scale). A scale below 0 rounds to tens, one above the precision leaves
/// zeros behind the point: both need more digits than the precision says.
fn decimal(precision: i32, scale: i32) -> Option<As> {
    let precision = (precision - scale.min(0)).max(scale);
    let scale = scale.max(0);
    if !(1..=76).contains(&precision) {
        return None;
    }
    Some(As::Decimal {
        precision: precision as u8,
        scale: scale as i8,
    })
}

/// The numbers of built-in types.
mod oids {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const XML: u32 = 142;
    pub const CIDR: u32 = 650;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const MACADDR8: u32 = 774;
    pub const MONEY: u32 = 790;
    pub const MACADDR: u32 = 829;
    pub const INET: u32 = 869;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const TIMETZ: u32 = 1266;
    pub const BIT: u32 = 1560;
    pub const VARBIT: u32 = 1562;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}
