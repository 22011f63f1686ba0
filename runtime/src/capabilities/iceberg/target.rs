//! What a component names as its target: a table, its catalog, and how it is written.
//!
//! Pure: reads JSON and the few notations inside of it. Placeholders of secrets stay as they are.

use bytesize::ByteSize;
use iceberg::spec::{
    NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder, Transform, Type,
    UnboundPartitionSpec,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{CatalogSpec, TableName};
use crate::capabilities::failure::{ErrorKind, Failure, Result};

const DEFAULT_FILE_BYTES: u64 = 512 << 20;

/// Smaller files would be mostly footer.
const MIN_FILE_BYTES: u64 = 64 << 10;

/// A target as a guest wrote it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub warehouse: String,
    namespace: String,
    table: String,
    #[serde(default)]
    pub catalog: Option<CatalogSpec>,
    #[serde(default)]
    partition_by: Vec<String>,
    #[serde(default)]
    sort_by: Vec<String>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub key: Vec<String>,
    #[serde(default)]
    pub merge_mode: MergeMode,
    #[serde(default)]
    pub schema_evolution: Evolution,
    #[serde(default)]
    compression: Option<String>,
    #[serde(default)]
    target_file_size: Option<Value>,
}

/// What a run does to the rows that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Append,
    Overwrite,
    OverwritePartitions,
    Upsert,
}

/// How an upsert takes older rows out: named as Iceberg's own table properties name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// Files that hold such rows are written again without them.
    #[default]
    CopyOnWrite,
    /// A file of keys says that they are gone, and readers leave them out.
    MergeOnRead,
}

/// Whether a run may change the columns of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evolution {
    #[default]
    Allow,
    Refuse,
}

impl Target {
    pub fn parse(json: &str) -> Result<Self> {
        let target: Self = serde_json::from_str(json)
            .map_err(|error| invalid(format!("the target cannot be read: {error}")))?;
        let name = target.name();
        let parts = name.namespace.iter().chain([&name.table]);
        if let Some(part) = parts.into_iter().find(|part| !is_name(part)) {
            let message = format!(
                "`{}` cannot be a part of a table's name",
                part.escape_debug()
            );
            return Err(invalid(message)
                .hint("use letters, digits, `_` and `-`; `.` separates the names of a namespace"));
        }
        if (target.mode == Mode::Upsert) == target.key.is_empty() {
            return Err(
                invalid("`mode: upsert` and `key` belong together".to_owned())
                    .hint("write both, `mode: upsert` and `key: [id]`, or neither"),
            );
        }
        if target.mode != Mode::Upsert && target.merge_mode != MergeMode::default() {
            return Err(
                invalid("`merge_mode` says how `mode: upsert` takes rows out".to_owned())
                    .hint("write `mode: upsert` and `key`, too, or leave `merge_mode` out"),
            );
        }
        target.file_bytes()?;
        target.transforms()?;
        target.sorting()?;
        Ok(target)
    }

    pub fn name(&self) -> TableName {
        TableName {
            namespace: self.namespace.split('.').map(str::to_owned).collect(),
            table: self.table.clone(),
        }
    }

    /// A file is closed once it is this long.
    pub fn file_bytes(&self) -> Result<u64> {
        let bytes = match &self.target_file_size {
            None => Some(DEFAULT_FILE_BYTES),
            Some(Value::Number(bytes)) => bytes.as_u64(),
            Some(Value::String(text)) => text.parse().ok().map(|ByteSize(bytes)| bytes),
            Some(_) => None,
        };
        bytes
            .filter(|bytes| *bytes >= MIN_FILE_BYTES)
            .ok_or_else(|| {
                invalid("`target_file_size` must be a size of at least 64 KiB".to_owned())
                    .hint("write it as `256MiB`, or as a number of bytes")
            })
    }

    /// Options of the Parquet encoder.
    pub fn encoding(&self) -> String {
        json!({ "compression": self.compression.as_deref().unwrap_or("zstd") }).to_string()
    }

    /// How a table of `schema` is partitioned; none where the job leaves it open.
    pub fn partition_spec(&self, schema: &Schema) -> Result<Option<UnboundPartitionSpec>> {
        if self.partition_by.is_empty() {
            return Ok(None);
        }
        let mut spec = UnboundPartitionSpec::builder();
        for (column, transform) in self.transforms()? {
            let source = column_id(schema, "partition_by", &column)?;
            let kind = schema
                .field_by_id(source)
                .map(|field| field.field_type.as_ref());
            if transform == Transform::Identity {
                check_identity(kind, &column)?;
            }
            spec = spec
                .add_partition_field(source, partition_name(&column, transform), transform)
                .map_err(|error| refused("partition_by", &error))?;
        }
        Ok(Some(spec.build()))
    }

    /// How rows of a table of `schema` are sorted; none where the job leaves it open.
    pub fn sort_order(&self, schema: &Schema) -> Result<Option<SortOrder>> {
        if self.sort_by.is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        for (column, direction, null_order) in self.sorting()? {
            fields.push(SortField {
                source_id: column_id(schema, "sort_by", &column)?,
                transform: Transform::Identity,
                direction,
                null_order,
            });
        }
        let order = SortOrder::builder()
            .with_order_id(1)
            .with_fields(fields)
            .build(schema);
        order.map(Some).map_err(|error| refused("sort_by", &error))
    }

    fn transforms(&self) -> Result<Vec<(String, Transform)>> {
        self.partition_by
            .iter()
            .map(|text| transform(text))
            .collect()
    }

    fn sorting(&self) -> Result<Vec<(String, SortDirection, NullOrder)>> {
        self.sort_by.iter().map(|text| sorting(text)).collect()
    }
}

/// `bucket(16, id)`, `day(at)`, `region`.
fn transform(text: &str) -> Result<(String, Transform)> {
    let wrong = || {
        invalid(format!("`{text}` in `partition_by` is no partition")).hint(
            "write a column, or one of `bucket(16, id)`, `truncate(4, name)`, `year(at)`, `month(at)`, `day(at)`, `hour(at)`",
        )
    };
    let Some((function, rest)) = text.split_once('(') else {
        return match text.trim() {
            "" => Err(wrong()),
            column => Ok((column.to_owned(), Transform::Identity)),
        };
    };
    let arguments = rest.trim().strip_suffix(')').ok_or_else(wrong)?;
    let (number, column) = match arguments.split_once(',') {
        Some((number, column)) => {
            let number = number
                .trim()
                .parse::<u32>()
                .ok()
                .filter(|number| *number > 0);
            (Some(number.ok_or_else(wrong)?), column.trim())
        }
        None => (None, arguments.trim()),
    };
    let transform = match (function.trim().to_ascii_lowercase().as_str(), number) {
        ("bucket", Some(buckets)) => Transform::Bucket(buckets),
        ("truncate", Some(width)) => Transform::Truncate(width),
        ("year" | "years", None) => Transform::Year,
        ("month" | "months", None) => Transform::Month,
        ("day" | "days", None) => Transform::Day,
        ("hour" | "hours", None) => Transform::Hour,
        ("identity", None) => Transform::Identity,
        _ => return Err(wrong()),
    };
    match column {
        "" => Err(wrong()),
        column => Ok((column.to_owned(), transform)),
    }
}

/// As Spark and Trino name it.
fn partition_name(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        Transform::Identity => column.to_owned(),
        other => format!("{column}_{other}"),
    }
}

/// `id`, `at desc`, `at desc nulls last`. Without a word for them, NULLs come first where values ascend, else last.
fn sorting(text: &str) -> Result<(String, SortDirection, NullOrder)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (column, rest) = words.split_first().unwrap_or((&"", &[]));
    let lower: Vec<String> = rest.iter().map(|word| word.to_ascii_lowercase()).collect();
    let mut rest: Vec<&str> = lower.iter().map(String::as_str).collect();
    let direction = match rest.first().copied() {
        Some("asc") => SortDirection::Ascending,
        Some("desc") => SortDirection::Descending,
        _ => {
            rest.insert(0, "asc");
            SortDirection::Ascending
        }
    };
    let nulls = match rest.get(1..).unwrap_or_default() {
        [] if direction == SortDirection::Ascending => NullOrder::First,
        [] | ["nulls", "last"] => NullOrder::Last,
        ["nulls", "first"] => NullOrder::First,
        _ => {
            return Err(invalid(format!("`{text}` in `sort_by` is no sort order"))
                .hint("write `id`, `at desc` or `at desc nulls last`"));
        }
    };
    if column.is_empty() {
        return Err(invalid("`sort_by` has an empty item".to_owned()).hint("name a column"));
    }
    Ok(((*column).to_owned(), direction, nulls))
}

/// Values of these types do not come through the crate `iceberg` 0.10.1 into a manifest as they are.
pub fn check_identity(kind: Option<&Type>, column: &str) -> Result<()> {
    let Some(Type::Primitive(kind)) = kind else {
        return Ok(());
    };
    let hint = match kind {
        PrimitiveType::Uuid => format!("write `bucket(16, {column})`"),
        PrimitiveType::Float | PrimitiveType::Double => {
            "partition by another column: no two numbers with a fraction may be the same".to_owned()
        }
        _ => return Ok(()),
    };
    let message = format!("a table cannot be partitioned by the {kind} `{column}` itself");
    Err(invalid(message).hint(hint))
}

fn column_id(schema: &Schema, key: &str, column: &str) -> Result<i32> {
    schema.field_id_by_name(column).ok_or_else(|| {
        let columns = schema.as_struct().fields().iter();
        let columns: Vec<&str> = columns.map(|field| field.name.as_str()).collect();
        invalid(format!(
            "`{key}` names the column `{column}`, which there is not"
        ))
        .hint(format!("the columns are `{}`", columns.join("`, `")))
    })
}

fn refused(key: &str, error: &iceberg::Error) -> Failure {
    invalid(format!(
        "`{key}` does not fit the columns: {}",
        error.message()
    ))
    .hint(
        "see which types a transform takes: https://iceberg.apache.org/spec/#partition-transforms",
    )
}

/// Names become folders and parts of URLs.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "_- ".contains(c);
    !text.is_empty() && text.len() <= 255 && text.trim() == text && text.chars().all(fits)
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use iceberg::spec::NestedField;

    use super::*;

    fn parse(more: Value) -> Result<Target> {
        let mut target = json!({ "warehouse": "out", "namespace": "a.b", "table": "t" });
        for (key, value) in more.as_object().unwrap() {
            target[key] = value.clone();
        }
        Target::parse(&target.to_string())
    }

    fn refuses(more: Value, part: &str) {
        let failure = parse(more).err().expect(part);
        assert_eq!(failure.kind, ErrorKind::InvalidConfig);
        assert!(failure.to_string().contains(part), "{failure}");
    }

    fn schema() -> Schema {
        let field =
            |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        Schema::builder()
            .with_fields([
                field(1, "id", PrimitiveType::Long),
                field(2, "at", PrimitiveType::Timestamptz),
                field(3, "region", PrimitiveType::String),
            ])
            .build()
            .unwrap()
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        refuses(json!({ "tabel": "t" }), "tabel");
        refuses(json!({ "table": "a/b" }), "`a/b`");
        refuses(json!({ "table": ".." }), "`..`");
        refuses(json!({ "namespace": "a..b" }), "``");
        refuses(json!({ "mode": "merge" }), "merge");
        refuses(json!({ "mode": "upsert" }), "belong together");
        refuses(json!({ "key": ["id"] }), "belong together");
        refuses(json!({ "target_file_size": "1KiB" }), "at least 64 KiB");
        refuses(json!({ "target_file_size": "wide" }), "at least 64 KiB");
        for partition in [
            "",
            "bucket(id)",
            "bucket(0, id)",
            "bucket(-1, id)",
            "day(",
            "day()",
            "week(at)",
            "day(1, at)",
        ] {
            refuses(json!({ "partition_by": [partition] }), "is no partition");
        }
        for sort in ["id down", "id asc nulls", "id desc nulls middle"] {
            refuses(json!({ "sort_by": [sort] }), "is no sort order");
        }
        refuses(json!({ "catalog": { "type": "glue", "uri": "x" } }), "glue");
    }

    #[test]
    fn partitions_and_sort_orders_name_columns_of_the_table() {
        let target = parse(json!({
            "partition_by": ["region", "Day(at)", "bucket(16, id)", "truncate(4, region)"],
            "sort_by": ["id", "at DESC", "region asc nulls last"],
        }))
        .unwrap();
        let spec = target.partition_spec(&schema()).unwrap().unwrap();
        let fields: Vec<_> = spec
            .fields()
            .iter()
            .map(|field| (field.source_id, field.name.as_str(), field.transform))
            .collect();
        let expected = [
            (3, "region", Transform::Identity),
            (2, "at_day", Transform::Day),
            (1, "id_bucket", Transform::Bucket(16)),
            (3, "region_trunc", Transform::Truncate(4)),
        ];
        assert_eq!(fields, expected);
        let order = target.sort_order(&schema()).unwrap().unwrap();
        let nulls: Vec<_> = order.fields.iter().map(|field| field.null_order).collect();
        assert_eq!(nulls, [NullOrder::First, NullOrder::Last, NullOrder::Last]);

        let target = parse(json!({ "partition_by": ["city"] })).unwrap();
        let failure = target.partition_spec(&schema()).unwrap_err();
        assert!(failure.message.contains("`city`"), "{failure}");
        assert!(failure.hint.unwrap().contains("`region`"));
        assert!(
            parse(json!({}))
                .unwrap()
                .partition_spec(&schema())
                .unwrap()
                .is_none()
        );
    }
}
