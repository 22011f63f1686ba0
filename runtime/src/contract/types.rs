//! The types of a contract by their names, and what they are in Arrow.

use std::fmt;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Field, TimeUnit};

/// What a column of a contract can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
    String,
    Binary,
    Bool,
    Date,
    /// With a zone it is an instant, without one what a clock on the wall shows.
    Timestamp {
        unit: TimeUnit,
        zone: Option<Arc<str>>,
    },
    Time(TimeUnit),
    Uuid,
    Json,
}

/// Where Arrow keeps the name of a type that is another type inside, and what belongs to it.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// Types that stand alone, with their other names.
const PLAIN: [(&str, Type); 20] = [
    ("int8", Type::Int8),
    ("int16", Type::Int16),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint8", Type::UInt8),
    ("uint16", Type::UInt16),
    ("uint32", Type::UInt32),
    ("uint64", Type::UInt64),
    ("float32", Type::Float32),
    ("float64", Type::Float64),
    ("float", Type::Float64),
    ("double", Type::Float64),
    ("string", Type::String),
    ("binary", Type::Binary),
    ("bool", Type::Bool),
    ("date", Type::Date),
    ("time", Type::Time(TimeUnit::Microsecond)),
    ("uuid", Type::Uuid),
    ("json", Type::Json),
    (
        "timestamp",
        Type::Timestamp {
            unit: TimeUnit::Microsecond,
            zone: None,
        },
    ),
];

/// Types that take something in parentheses, and how they are written.
const FORMS: [(&str, &str); 4] = [
    ("decimal", "decimal(12,2)"),
    ("timestamp", "timestamp(us, UTC)"),
    ("timestamptz", "timestamptz"),
    ("time", "time(us)"),
];

/// Most digits that a decimal of Arrow and Parquet has.
const MAX_PRECISION: u8 = 76;

/// Why a text is no type.
#[derive(Debug, PartialEq, Eq)]
pub enum TypeProblem {
    /// No type has this name; the names there are.
    Unknown(Vec<&'static str>),
    /// What the text must be, as the end of a sentence.
    Must(String),
}

impl Type {
    /// Reads `int64`, `decimal(12,2)`, `timestamp(us, UTC)`.
    pub fn parse(text: &str) -> Result<Self, TypeProblem> {
        let must = |what: &str| Err(TypeProblem::Must(what.to_owned()));
        let (name, arguments) = match text.split_once('(') {
            None => (text.trim(), None),
            Some((name, rest)) => match rest.trim_end().strip_suffix(')') {
                Some(inside) => (name.trim(), Some(inside)),
                None => return must("must end its parentheses"),
            },
        };
        let plain = PLAIN.iter().find(|(known, _)| *known == name);
        let form = FORMS.iter().find(|(known, _)| *known == name);
        let arguments: Option<Vec<&str>> =
            arguments.map(|inside| inside.split(',').map(str::trim).collect());
        match (name, arguments.as_deref()) {
            ("timestamptz", None) => Ok(Self::Timestamp {
                unit: TimeUnit::Microsecond,
                zone: Some("UTC".into()),
            }),
            ("decimal", Some([precision, scale])) => decimal(precision, scale),
            ("decimal", _) => must("must be written with its digits, such as `decimal(12,2)`"),
            ("timestamp", Some([unit])) => Ok(Self::Timestamp {
                unit: parse_unit(unit)?,
                zone: None,
            }),
            ("timestamp", Some([unit, zone])) => Ok(Self::Timestamp {
                unit: parse_unit(unit)?,
                zone: Some(parse_zone(zone)?),
            }),
            ("time", Some([unit])) => Ok(Self::Time(parse_unit(unit)?)),
            (_, None) if plain.is_some() => plain.map(|(_, kind)| kind.clone()).ok_or_else(unknown),
            (_, Some(_)) => Err(match (form, plain) {
                (Some((_, written)), _) => {
                    TypeProblem::Must(format!("must be written like `{written}`"))
                }
                (None, Some(_)) => TypeProblem::Must(format!(
                    "must be `{name}`, which takes nothing in parentheses"
                )),
                (None, None) => unknown(),
            }),
            (_, None) => Err(unknown()),
        }
    }

    pub fn arrow(&self) -> DataType {
        match self {
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } if *precision <= 38 => {
                DataType::Decimal128(*precision, *scale)
            }
            Self::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            Self::String | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp { unit, zone } => DataType::Timestamp(*unit, zone.clone()),
            Self::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => {
                DataType::Time32(*unit)
            }
            Self::Time(unit) => DataType::Time64(*unit),
            Self::Uuid => DataType::FixedSizeBinary(16),
        }
    }

    /// A column of this type. `uuid` and `json` carry their names to the file.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        match self {
            Self::Uuid => extended(field, &[(EXTENSION_NAME, "arrow.uuid")]),
            Self::Json => extended(
                field,
                &[(EXTENSION_NAME, "arrow.json"), (EXTENSION_METADATA, "")],
            ),
            _ => field,
        }
    }

    /// Whether `field` is said to be of this type beside its Arrow type.
    pub fn names(&self, field: &Field) -> bool {
        let own = self.field("", true);
        field.data_type() == own.data_type()
            && field.metadata().get(EXTENSION_NAME) == own.metadata().get(EXTENSION_NAME)
    }

    /// As a sentence needs it: `` `abc` is not an int64``.
    pub fn with_article(&self) -> String {
        if *self == Self::Json {
            return "a JSON document".to_owned();
        }
        let name = self.to_string();
        let article = if name.starts_with('i') { "an" } else { "a" };
        format!("{article} {name}")
    }
}

/// Most names are those that [`Type::parse`] reads.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Timestamp { unit, zone: None } => write!(f, "timestamp({})", unit_name(*unit)),
            Self::Timestamp {
                unit,
                zone: Some(zone),
            } => write!(f, "timestamp({}, {zone})", unit_name(*unit)),
            Self::Time(unit) => write!(f, "time({})", unit_name(*unit)),
            _ => {
                let name = PLAIN.iter().find(|(_, kind)| kind == self);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

fn extended(field: Field, metadata: &[(&str, &str)]) -> Field {
    let pairs = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    field.with_metadata(pairs.collect())
}

fn unknown() -> TypeProblem {
    let names = PLAIN.iter().map(|(name, _)| *name);
    TypeProblem::Unknown(names.chain(["decimal", "timestamptz"]).collect())
}

fn decimal(precision: &str, scale: &str) -> Result<Type, TypeProblem> {
    let precision = precision.parse().unwrap_or(0);
    if !(1..=MAX_PRECISION).contains(&precision) {
        let must = format!("must have from 1 to {MAX_PRECISION} digits");
        return Err(TypeProblem::Must(must));
    }
    match scale.parse::<u8>() {
        Ok(scale) if scale <= precision => Ok(Type::Decimal {
            precision,
            // At most 76.
            scale: scale as i8,
        }),
        _ => Err(TypeProblem::Must(format!(
            "must have from 0 to {precision} of its digits after the point"
        ))),
    }
}

fn parse_unit(text: &str) -> Result<TimeUnit, TypeProblem> {
    match text {
        "s" => Ok(TimeUnit::Second),
        "ms" => Ok(TimeUnit::Millisecond),
        "us" => Ok(TimeUnit::Microsecond),
        "ns" => Ok(TimeUnit::Nanosecond),
        _ => Err(TypeProblem::Must(
            "must have the unit `s`, `ms`, `us` or `ns`".to_owned(),
        )),
    }
}

fn parse_zone(text: &str) -> Result<Arc<str>, TypeProblem> {
    match text.parse::<Tz>() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(TypeProblem::Must(
            "must have a zone such as `UTC`, `Europe/Berlin` or `+01:00`".to_owned(),
        )),
    }
}

pub fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// How many of `unit` a second has.
pub fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (Type::parse(text), expected) {
            (Ok(kind), Ok(written)) => assert_eq!(kind.to_string(), written, "{text}"),
            (Err(TypeProblem::Must(must)), Err(part)) => assert!(must.contains(part), "{must}"),
            (Err(TypeProblem::Unknown(_)), Err("unknown")) => {}
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn refuses_what_is_no_type() {
        check("", Err("unknown"));
        check("integer", Err("unknown"));
        check("varchar(10)", Err("unknown"));
        check("int64(8)", Err("takes nothing in parentheses"));
        check("decimal", Err("with its digits"));
        check("decimal(12)", Err("with its digits"));
        check("decimal(0,0)", Err("from 1 to 76"));
        check("decimal(77,0)", Err("from 1 to 76"));
        check("decimal(5,6)", Err("from 0 to 5"));
        check("decimal(5,-1)", Err("from 0 to 5"));
        check("decimal(5,1", Err("end its parentheses"));
        check("timestamp(min)", Err("the unit"));
        check("timestamp(us, Mars/Base)", Err("a zone such as"));
        check("timestamp(us, UTC, 3)", Err("like `timestamp(us, UTC)`"));
        check("timestamptz(us)", Err("like `timestamptz`"));
        check("time(us, UTC)", Err("like `time(us)`"));
    }

    #[test]
    fn reads_names_and_writes_them() {
        for (name, kind) in PLAIN {
            assert_eq!(Type::parse(name), Ok(kind));
        }
        check("double", Ok("float64"));
        check(" decimal( 12 , 2 ) ", Ok("decimal(12,2)"));
        check("decimal(76,76)", Ok("decimal(76,76)"));
        check("timestamp", Ok("timestamp(us)"));
        check("timestamp(ns)", Ok("timestamp(ns)"));
        check("timestamptz", Ok("timestamp(us, UTC)"));
        check(
            "timestamp(ms,Europe/Berlin)",
            Ok("timestamp(ms, Europe/Berlin)"),
        );
        check("time(s)", Ok("time(s)"));
    }

    #[test]
    fn wide_decimals_take_the_wide_form_of_arrow() {
        let arrow = |text| Type::parse(text).unwrap().arrow();
        assert_eq!(arrow("decimal(38,2)"), DataType::Decimal128(38, 2));
        assert_eq!(arrow("decimal(39,2)"), DataType::Decimal256(39, 2));
    }
}
