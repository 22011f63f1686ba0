//! Arrow types as Iceberg has them (format version 2).
//!
//! Pure. What Iceberg lacks is mapped to a wider type where every value fits, and refused otherwise; `docs/iceberg.md` has
//! the table. Specification: <https://iceberg.apache.org/spec/#primitive-types>

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema as ArrowSchema, TimeUnit};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};

use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// The most digits that a decimal of Iceberg has.
const MAX_PRECISION: u8 = 38;

const EXTENSION: &str = "ARROW:extension:name";

/// Field ids as Iceberg hands them out: those of a level before those inside of its fields.
pub struct Ids(pub i32);

impl Ids {
    fn next(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }
}

/// The schema of a new table.
pub fn table_schema(schema: &ArrowSchema) -> Result<Schema> {
    let fields = fields(schema.fields(), "", &mut Ids(0))?;
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| {
            Failure::new(
                ErrorKind::Rejected,
                format!("the columns make no table: {error}"),
            )
            .hint("rename or drop the columns that it names")
        })
}

/// The fields of a struct at `path`, with ids from `ids`.
fn fields(fields: &Fields, path: &str, ids: &mut Ids) -> Result<Vec<NestedFieldRef>> {
    if fields.is_empty() {
        return Err(refused(path, "a struct without fields", "drop the column"));
    }
    let mut names = std::collections::HashSet::new();
    for field in fields {
        if !names.insert(field.name().to_lowercase()) {
            let what = "a name that another column has, if only in another case";
            return Err(refused(
                &join(path, field.name()),
                what,
                "rename one of them",
            ));
        }
    }
    let own: Vec<i32> = fields.iter().map(|_| ids.next()).collect();
    let named = fields.iter().zip(own);
    named
        .map(|(field, id)| {
            let kind = field_type(field, &join(path, field.name()), ids)?;
            Ok(NestedField::new(id, field.name(), kind, !field.is_nullable()).into())
        })
        .collect()
}

/// The type of one field at `path`; what is inside of it gets ids from `ids`.
pub fn field_type(field: &Field, path: &str, ids: &mut Ids) -> Result<Type> {
    let extension = field.metadata().get(EXTENSION).map(String::as_str);
    let primitive = match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            PrimitiveType::Int
        }
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::UInt64 => PrimitiveType::Decimal {
            precision: 20,
            scale: 0,
        },
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal(*precision, *scale, path)?,
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Time64(_) => {
            let hint = "cast the column to microseconds";
            return Err(refused(
                path,
                "nanoseconds, which Iceberg has from version 3 on",
                hint,
            ));
        }
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(16) if extension == Some("arrow.uuid") => PrimitiveType::Uuid,
        DataType::FixedSizeBinary(bytes) => {
            PrimitiveType::Fixed(u64::try_from(*bytes).unwrap_or_default())
        }
        DataType::Dictionary(_, values) => return field_type(&of_values(field, values), path, ids),
        DataType::RunEndEncoded(_, values) => {
            return field_type(&of_values(field, values.data_type()), path, ids);
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            let id = ids.next();
            let kind = field_type(element, &join(path, "element"), ids)?;
            let element = NestedField::list_element(id, kind, !element.is_nullable());
            return Ok(Type::List(ListType::new(element.into())));
        }
        DataType::Struct(inner) => {
            return Ok(Type::Struct(StructType::new(fields(inner, path, ids)?)));
        }
        DataType::Map(entries, _) => return map(entries, path, ids),
        DataType::Interval(IntervalUnit::MonthDayNano) => return Ok(interval(ids)),
        DataType::Null => {
            return Err(refused(
                path,
                "no type: every value is NULL",
                "drop the column, or cast it",
            ));
        }
        other => {
            let hint = "cast the column to a number or to text";
            return Err(refused(
                path,
                &format!("the type {other}, which Iceberg lacks"),
                hint,
            ));
        }
    };
    Ok(Type::Primitive(primitive))
}

fn map(entries: &Field, path: &str, ids: &mut Ids) -> Result<Type> {
    let DataType::Struct(pair) = entries.data_type() else {
        return Err(refused(path, "a map without entries", "drop the column"));
    };
    let [key, value] = pair.as_ref() else {
        return Err(refused(
            path,
            "a map without keys and values",
            "drop the column",
        ));
    };
    let (key_id, value_id) = (ids.next(), ids.next());
    let key_type = field_type(key, &join(path, "key"), ids)?;
    let value_type = field_type(value, &join(path, "value"), ids)?;
    let key = NestedField::map_key_element(key_id, key_type);
    let value = NestedField::map_value_element(value_id, value_type, !value.is_nullable());
    Ok(Type::Map(MapType::new(key.into(), value.into())))
}

/// As the Parquet encoder stores an interval.
fn interval(ids: &mut Ids) -> Type {
    let parts = [
        ("months", PrimitiveType::Int),
        ("days", PrimitiveType::Int),
        ("nanoseconds", PrimitiveType::Long),
    ];
    let fields = parts
        .map(|(name, kind)| NestedField::required(ids.next(), name, Type::Primitive(kind)).into());
    Type::Struct(StructType::new(fields.to_vec()))
}

fn decimal(precision: u8, scale: i8, path: &str) -> Result<PrimitiveType> {
    match u32::try_from(scale) {
        Ok(scale) if precision <= MAX_PRECISION && scale <= u32::from(precision) => {
            Ok(PrimitiveType::Decimal {
                precision: precision.into(),
                scale,
            })
        }
        _ => {
            let what = format!(
                "the type decimal({precision}, {scale}), and Iceberg has at most 38 digits and no negative scale"
            );
            Err(refused(
                path,
                &what,
                "cast the column to a smaller decimal, to a double or to text",
            ))
        }
    }
}

fn of_values(field: &Field, values: &DataType) -> Field {
    Field::new(field.name(), values.clone(), field.is_nullable())
        .with_metadata(field.metadata().clone())
}

/// `address.street`
pub fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn refused(path: &str, what: &str, hint: &str) -> Failure {
    Failure::new(ErrorKind::Rejected, format!("column `{path}` has {what}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn of(kind: DataType) -> Result<Type> {
        field_type(&Field::new("c", kind, true), "c", &mut Ids(0))
    }

    #[test]
    fn refuses_what_iceberg_cannot_hold() {
        let check = |kind: DataType, part: &str| {
            let failure = of(kind.clone()).expect_err(&kind.to_string());
            assert!(
                failure.message.contains("`c") && failure.message.contains(part),
                "{failure}"
            );
            assert!(failure.hint.is_some());
        };
        check(
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            "nanoseconds",
        );
        check(DataType::Time64(TimeUnit::Nanosecond), "nanoseconds");
        check(DataType::Decimal256(39, 0), "decimal(39, 0)");
        check(DataType::Decimal128(5, -2), "decimal(5, -2)");
        check(DataType::Decimal128(5, 6), "decimal(5, 6)");
        check(DataType::Null, "every value is NULL");
        check(DataType::Duration(TimeUnit::Second), "Duration");
        check(DataType::Struct(Fields::empty()), "without fields");
        let twice = ["a", "A"].map(|name| Field::new(name, DataType::Int32, true));
        check(DataType::Struct(twice.to_vec().into()), "another column");
    }

    #[test]
    fn maps_each_type() {
        let check = |kind: DataType, expected: PrimitiveType| {
            assert_eq!(of(kind).unwrap(), Type::Primitive(expected));
        };
        check(DataType::Boolean, PrimitiveType::Boolean);
        check(DataType::UInt16, PrimitiveType::Int);
        check(DataType::UInt32, PrimitiveType::Long);
        check(
            DataType::UInt64,
            PrimitiveType::Decimal {
                precision: 20,
                scale: 0,
            },
        );
        check(DataType::Float16, PrimitiveType::Float);
        check(
            DataType::Decimal256(38, 10),
            PrimitiveType::Decimal {
                precision: 38,
                scale: 10,
            },
        );
        check(DataType::Date64, PrimitiveType::Date);
        check(DataType::Time32(TimeUnit::Second), PrimitiveType::Time);
        check(
            DataType::Timestamp(TimeUnit::Second, None),
            PrimitiveType::Timestamp,
        );
        let zone = Some("Europe/Berlin".into());
        check(
            DataType::Timestamp(TimeUnit::Millisecond, zone),
            PrimitiveType::Timestamptz,
        );
        check(DataType::Utf8View, PrimitiveType::String);
        check(DataType::LargeBinary, PrimitiveType::Binary);
        check(DataType::FixedSizeBinary(3), PrimitiveType::Fixed(3));
        let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
        check(dictionary, PrimitiveType::String);
        let uuid = Field::new("c", DataType::FixedSizeBinary(16), true)
            .with_metadata([(EXTENSION.to_owned(), "arrow.uuid".to_owned())].into());
        let uuid = field_type(&uuid, "c", &mut Ids(0)).unwrap();
        assert_eq!(uuid, Type::Primitive(PrimitiveType::Uuid));
        assert!(matches!(
            of(DataType::Interval(IntervalUnit::MonthDayNano)).unwrap(),
            Type::Struct(_)
        ));
    }

    #[test]
    fn ids_go_level_by_level() {
        let inner = Field::new("x", DataType::Int32, false);
        let list = DataType::List(Arc::new(Field::new(
            "item",
            DataType::Struct(vec![inner].into()),
            true,
        )));
        let schema = ArrowSchema::new(vec![
            Field::new("a", list, true),
            Field::new("b", DataType::Utf8, false),
        ]);
        let schema = table_schema(&schema).unwrap();
        let id = |name: &str| schema.field_id_by_name(name);
        assert_eq!(
            (id("a"), id("b"), id("a.element"), id("a.element.x")),
            (Some(1), Some(2), Some(3), Some(4))
        );
        assert!(schema.field_by_name("b").unwrap().required);
    }
}
