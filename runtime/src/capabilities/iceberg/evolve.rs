//! What has to become of a table's columns so that a run can write to it.
//!
//! Pure. Columns are added, widened and made optional; what else differs is refused, with every difference. Nothing is renamed
//! by guess. Specification: <https://iceberg.apache.org/spec/#schema-evolution>

use arrow::datatypes::{Field, Fields, Schema as ArrowSchema};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};

use super::types::{Ids, field_type, join, table_schema};
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// A schema that takes the rows of the table and those of a run.
pub struct Evolved {
    pub schema: Schema,
    /// What was changed, for people.
    pub changes: Vec<String>,
}

/// None where the table can take the rows as it is.
pub fn evolve(
    table: &Schema,
    last_column_id: i32,
    incoming: &ArrowSchema,
) -> Result<Option<Evolved>> {
    let found = table_schema(incoming)?;
    let mut merge = Merge {
        ids: Ids(last_column_id),
        changes: Vec::new(),
        differences: Vec::new(),
    };
    let fields = merge.fields(
        table.as_struct().fields(),
        found.as_struct().fields(),
        incoming.fields(),
        "",
    );
    if !merge.differences.is_empty() {
        let message = format!(
            "the run does not fit the table: {}",
            merge.differences.join("; ")
        );
        return Err(Failure::new(ErrorKind::Rejected, message)
            .hint("cast or rename the columns at the source, or write to another table"));
    }
    if merge.changes.is_empty() {
        return Ok(None);
    }
    let identifiers = table.identifier_field_ids();
    let schema = Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifiers)
        .build();
    let schema = schema.map_err(super::snapshot::broken)?;
    Ok(Some(Evolved {
        schema,
        changes: merge.changes,
    }))
}

struct Merge {
    ids: Ids,
    changes: Vec<String>,
    differences: Vec<String>,
}

impl Merge {
    /// The fields of a struct at `path`; `arrow` are those of the run, where it is a struct too.
    fn fields(
        &mut self,
        table: &[NestedFieldRef],
        found: &[NestedFieldRef],
        arrow: &Fields,
        path: &str,
    ) -> Vec<NestedFieldRef> {
        let mut merged = Vec::with_capacity(table.len());
        for field in table {
            let path = join(path, &field.name);
            match found.iter().find(|other| other.name == field.name) {
                Some(other) => {
                    merged.push(self.field(field, other, arrow_field(arrow, &field.name), &path))
                }
                None => {
                    if field.required {
                        self.differences.push(format!(
                            "`{path}` is required in the table, and the run has no such column"
                        ));
                    }
                    merged.push(field.clone());
                }
            }
        }
        for other in found {
            if table.iter().any(|field| field.name == other.name) {
                continue;
            }
            let path = join(path, &other.name);
            let lower = other.name.to_lowercase();
            if let Some(near) = table
                .iter()
                .find(|field| field.name.to_lowercase() == lower)
            {
                self.differences.push(format!(
                    "the table has `{}`, the run brings `{path}`",
                    near.name
                ));
                continue;
            }
            self.ids.0 += 1;
            let id = self.ids.0;
            let kind = arrow_field(arrow, &other.name)
                .map(|field| field_type(field, &path, &mut self.ids));
            let Some(Ok(kind)) = kind else {
                self.differences
                    .push(format!("`{path}` cannot be added where it stands"));
                continue;
            };
            self.changes.push(format!("`{path}` is added as {kind}"));
            merged.push(NestedField::optional(id, &other.name, kind).into());
        }
        merged
    }

    fn field(
        &mut self,
        table: &NestedFieldRef,
        found: &NestedFieldRef,
        arrow: Option<&Field>,
        path: &str,
    ) -> NestedFieldRef {
        let kind = self.kind(&table.field_type, &found.field_type, arrow, path);
        let is_freed = table.required && !found.required;
        if is_freed {
            self.changes.push(format!("`{path}` becomes optional"));
        }
        let mut field = table.as_ref().clone();
        field.required = table.required && found.required;
        field.field_type = Box::new(kind);
        field.into()
    }

    fn kind(&mut self, table: &Type, found: &Type, arrow: Option<&Field>, path: &str) -> Type {
        let none = Fields::empty();
        match (table, found) {
            (Type::Primitive(have), Type::Primitive(brings)) => {
                if have == brings || fits(brings, have) {
                    return table.clone();
                }
                if fits(have, brings) {
                    self.changes
                        .push(format!("`{path}` is widened from {have} to {brings}"));
                    return found.clone();
                }
            }
            (Type::Struct(have), Type::Struct(brings)) => {
                let inner = arrow.map_or(&none, children);
                let fields = self.fields(have.fields(), brings.fields(), inner, path);
                return Type::Struct(StructType::new(fields));
            }
            (Type::List(have), Type::List(brings)) => {
                let (have, brings) = (&have.element_field, &brings.element_field);
                let inner = arrow.and_then(element);
                let element = self.field(have, brings, inner, &join(path, "element"));
                return Type::List(ListType::new(element));
            }
            (Type::Map(have), Type::Map(brings))
                if is_key(&have.key_field.field_type, &brings.key_field.field_type) =>
            {
                let inner = arrow.and_then(map_value);
                let path = join(path, "value");
                let value = self.field(&have.value_field, &brings.value_field, inner, &path);
                return Type::Map(MapType::new(have.key_field.clone(), value));
            }
            _ => {}
        }
        self.differences.push(format!(
            "`{path}`: the table has {table}, the run brings {found}"
        ));
        table.clone()
    }
}

/// Whether keys of `brings` are keys of `have`, whose type stays.
fn is_key(have: &Type, brings: &Type) -> bool {
    match (have, brings) {
        (Type::Primitive(have), Type::Primitive(brings)) => have == brings || fits(brings, have),
        (have, brings) => have == brings,
    }
}

/// Whether each value of `from` is one of `into`; these are also the types that Iceberg lets a column change to.
fn fits(from: &PrimitiveType, into: &PrimitiveType) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from, into) {
        (Int, Long) | (Float, Double) => true,
        (
            Decimal {
                precision: a,
                scale: s,
            },
            Decimal {
                precision: b,
                scale: t,
            },
        ) => s == t && a <= b,
        _ => false,
    }
}

fn arrow_field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Field> {
    fields.find(name).map(|(_, field)| field.as_ref())
}

fn children(field: &Field) -> &Fields {
    use arrow::datatypes::DataType;
    static NONE: std::sync::LazyLock<Fields> = std::sync::LazyLock::new(Fields::empty);
    match field.data_type() {
        DataType::Struct(fields) => fields,
        _ => &NONE,
    }
}

fn element(field: &Field) -> Option<&Field> {
    use arrow::datatypes::DataType;
    match field.data_type() {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => Some(element),
        _ => None,
    }
}

fn map_value(field: &Field) -> Option<&Field> {
    use arrow::datatypes::DataType;
    let DataType::Map(entries, _) = field.data_type() else {
        return None;
    };
    children(entries).get(1).map(AsRef::as_ref)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType::{self, *};

    use super::*;

    fn schema(columns: &[(&str, DataType, bool)]) -> ArrowSchema {
        let fields = columns
            .iter()
            .map(|(name, kind, optional)| Field::new(*name, kind.clone(), *optional));
        ArrowSchema::new(fields.collect::<Fields>())
    }

    fn check(
        table: &[(&str, DataType, bool)],
        run: &[(&str, DataType, bool)],
        expected: Result<&[&str], &str>,
    ) {
        let table = table_schema(&schema(table)).unwrap();
        let found = evolve(&table, table.highest_field_id(), &schema(run));
        match (found, expected) {
            (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{failure}"),
            (Ok(found), Ok(expected)) => {
                let changes = found.map_or_else(Vec::new, |evolved| evolved.changes);
                assert_eq!(changes, expected);
            }
            (Err(failure), Ok(_)) => panic!("{failure}"),
            (Ok(_), Err(part)) => panic!("{part}: it was taken"),
        }
    }

    #[test]
    fn refuses_what_would_change_values_or_names() {
        let table = &[("a", Int64, true), ("b", Utf8, false)];
        check(
            table,
            &[("a", Utf8, true), ("b", Utf8, false)],
            Err("`a`: the table has long, the run brings string"),
        );
        check(
            table,
            &[("a", Float64, true), ("b", Boolean, false)],
            Err("`b`: the table has string, the run brings boolean"),
        );
        check(table, &[("a", Int64, true)], Err("`b` is required"));
        check(
            table,
            &[("A", Int64, true), ("b", Utf8, false)],
            Err("the table has `a`, the run brings `A`"),
        );
        check(
            &[("d", Decimal128(10, 2), true)],
            &[("d", Decimal128(12, 3), true)],
            Err("decimal(10, 2)"),
        );
        check(
            &[(
                "d",
                Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
                true,
            )],
            &[("d", Date32, true)],
            Err("timestamp"),
        );
    }

    #[test]
    fn adds_widens_and_frees_columns() {
        let table = &[
            ("a", Int32, false),
            ("b", Float32, true),
            ("d", Decimal128(10, 2), true),
        ];
        check(table, table, Ok(&[]));
        check(
            table,
            &[
                ("x", Utf8, false),
                ("a", Int64, true),
                ("b", Float64, true),
                ("d", Decimal128(12, 2), true),
            ],
            Ok(&[
                "`a` is widened from int to long",
                "`a` becomes optional",
                "`b` is widened from float to double",
                "`d` is widened from decimal(10, 2) to decimal(12, 2)",
                "`x` is added as string",
            ]),
        );
        check(
            &[("a", Int64, true), ("n", Utf8, true)],
            &[("a", Int32, false)],
            Ok(&[]),
        );
    }

    #[test]
    fn what_is_nested_is_changed_in_its_place_with_ids_that_nothing_had() {
        let nested = |fields: Vec<Field>| Struct(fields.into());
        let x = || Field::new("x", Int32, true);
        let table = table_schema(&schema(&[
            ("s", nested(vec![x()]), true),
            ("z", Utf8, true),
        ]))
        .unwrap();
        let list = DataType::new_list(nested(vec![x(), Field::new("y", Utf8, true)]), true);
        let run = schema(&[
            ("s", nested(vec![x(), Field::new("y", Date32, false)]), true),
            ("l", list, true),
        ]);
        let evolved = evolve(&table, 3, &run).unwrap().unwrap().schema;
        let id = |name: &str| evolved.field_id_by_name(name);
        assert_eq!((id("s"), id("s.x"), id("z")), (Some(1), Some(3), Some(2)));
        assert_eq!(
            (id("s.y"), id("l"), id("l.element"), id("l.element.y")),
            (Some(4), Some(5), Some(6), Some(8))
        );
        assert!(!evolved.field_by_name("s.y").unwrap().required);
    }
}
