//! What a manifest says of a data file: counts and bounds of its columns, which let readers skip it.
//!
//! Pure: from a Parquet footer, whose leaves carry the field ids, and from batches for NaN, which footers do not count.
//! Bounds are kept for columns outside of lists and maps. Specification: <https://iceberg.apache.org/spec/#data-file-fields>

use std::collections::{HashMap, HashSet};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, SchemaRef};
use iceberg::spec::{
    DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveLiteral, PrimitiveType, Struct, Type,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use uuid::Uuid;

use super::Layout;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::iceberg::warehouse::Written;

/// Longest bound of text and of bytes, as `write.metadata.metrics.default` has it: `truncate(16)`.
const BOUND_LENGTH: usize = 16;

const FIELD_ID: &str = "PARQUET:field_id";

/// Counts of one file that its footer does not have.
pub struct Metrics {
    schema: SchemaRef,
    nans: HashMap<i32, u64>,
}

/// The least and the greatest value of a column so far.
struct Bounds {
    lower: Datum,
    upper: Datum,
}

impl Metrics {
    pub fn new(schema: &SchemaRef) -> Self {
        Self {
            schema: schema.clone(),
            nans: HashMap::new(),
        }
    }

    pub fn count(&mut self, rows: &RecordBatch) {
        for (field, values) in self.schema.fields().iter().zip(rows.columns()) {
            count_nans(field, values, &mut self.nans);
        }
    }

    pub fn data_file(
        self,
        footer: &ParquetMetaData,
        layout: &Layout,
        partition: Struct,
        written: &Written,
    ) -> Result<DataFile> {
        let mut sizes = HashMap::new();
        let mut values = HashMap::new();
        let mut nulls = HashMap::new();
        let mut bounds: HashMap<i32, Bounds> = HashMap::new();
        let mut unknown = HashSet::new();
        for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
            let leaf = chunk.column_descr();
            let info = leaf.self_type().get_basic_info();
            if !info.has_id() {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    format!(
                        "column `{}` was written without a field id",
                        leaf.path().string()
                    ),
                ));
            }
            let id = info.id();
            let count = |number: i64| u64::try_from(number).unwrap_or_default();
            *sizes.entry(id).or_insert(0) += count(chunk.compressed_size());
            *values.entry(id).or_insert(0) += count(chunk.num_values());
            let null = chunk.statistics().and_then(Statistics::null_count_opt);
            *nulls.entry(id).or_insert(0) += null.unwrap_or_default();
            if leaf.max_rep_level() > 0 || null == Some(count(chunk.num_values())) {
                continue;
            }
            let kind = layout
                .schema
                .field_by_id(id)
                .map(|field| field.field_type.as_ref());
            let found = match (kind, chunk.statistics()) {
                (Some(Type::Primitive(kind)), Some(statistics)) => of_chunk(kind, statistics),
                _ => None,
            };
            match found {
                Some(found) => widen(&mut bounds, id, found),
                None => {
                    unknown.insert(id);
                }
            }
        }
        bounds.retain(|id, _| !unknown.contains(id));
        let lower = bounds
            .iter()
            .map(|(id, bound)| (*id, shortened_down(&bound.lower)));
        let lower: HashMap<i32, Datum> = lower.collect();
        let upper = bounds
            .iter()
            .filter_map(|(id, bound)| Some((*id, shortened_up(&bound.upper)?)));
        let upper: HashMap<i32, Datum> = upper.collect();
        let starts = footer.row_groups().iter().filter_map(|group| {
            let first = group.columns().first()?;
            Some(
                first
                    .dictionary_page_offset()
                    .unwrap_or(first.data_page_offset()),
            )
        });
        let mut file = DataFileBuilder::default();
        file.content(layout.content)
            .equality_ids(layout.equality_ids.clone())
            .file_path(written.url.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(layout.spec.spec_id())
            .record_count(u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default())
            .file_size_in_bytes(written.bytes)
            .column_sizes(sizes)
            .value_counts(values)
            .null_value_counts(nulls)
            .nan_value_counts(self.nans)
            .lower_bounds(lower)
            .upper_bounds(upper)
            .split_offsets(Some(starts.collect()));
        if !layout.sort_order.is_unsorted() {
            let order = i32::try_from(layout.sort_order.order_id).unwrap_or_default();
            file.sort_order_id(order);
        }
        file.build()
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))
    }
}

/// NaN of floats outside of lists and maps; what is NULL is none.
fn count_nans(field: &Field, values: &ArrayRef, nans: &mut HashMap<i32, u64>) {
    let count = match field.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            values
                .iter()
                .flatten()
                .filter(|value| value.is_nan())
                .count()
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            values
                .iter()
                .flatten()
                .filter(|value| value.is_nan())
                .count()
        }
        DataType::Struct(fields) => {
            for (field, values) in fields.iter().zip(values.as_struct().columns()) {
                count_nans(field, values, nans);
            }
            return;
        }
        _ => return,
    };
    if let Some(id) = field
        .metadata()
        .get(FIELD_ID)
        .and_then(|id| id.parse().ok())
    {
        *nans.entry(id).or_insert(0) += count as u64;
    }
}

fn widen(bounds: &mut HashMap<i32, Bounds>, id: i32, found: Bounds) {
    match bounds.get_mut(&id) {
        None => {
            bounds.insert(id, found);
        }
        Some(known) => {
            if found.lower < known.lower {
                known.lower = found.lower;
            }
            if found.upper > known.upper {
                known.upper = found.upper;
            }
        }
    }
}

fn of_chunk(kind: &PrimitiveType, statistics: &Statistics) -> Option<Bounds> {
    macro_rules! numbers {
        ($statistics:expr, $datum:expr) => {
            Bounds {
                lower: $datum(*$statistics.min_opt()?),
                upper: $datum(*$statistics.max_opt()?),
            }
        };
    }
    let decimal = |number: i128| Datum::try_from_bytes(&number.to_be_bytes(), kind.clone()).ok();
    let found = match (kind, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(s)) => numbers!(s, Datum::bool),
        (PrimitiveType::Int, Statistics::Int32(s)) => numbers!(s, Datum::int),
        (PrimitiveType::Date, Statistics::Int32(s)) => numbers!(s, Datum::date),
        (PrimitiveType::Long, Statistics::Int64(s)) => numbers!(s, Datum::long),
        (PrimitiveType::Timestamp, Statistics::Int64(s)) => numbers!(s, Datum::timestamp_micros),
        (PrimitiveType::Timestamptz, Statistics::Int64(s)) => {
            numbers!(s, Datum::timestamptz_micros)
        }
        (PrimitiveType::Time, Statistics::Int64(s)) => Bounds {
            lower: Datum::time_micros(*s.min_opt()?).ok()?,
            upper: Datum::time_micros(*s.max_opt()?).ok()?,
        },
        (PrimitiveType::Float, Statistics::Float(s)) => numbers!(s, Datum::float),
        (PrimitiveType::Double, Statistics::Double(s)) => numbers!(s, Datum::double),
        (PrimitiveType::Decimal { .. }, Statistics::Int32(s)) => Bounds {
            lower: decimal((*s.min_opt()?).into())?,
            upper: decimal((*s.max_opt()?).into())?,
        },
        (PrimitiveType::Decimal { .. }, Statistics::Int64(s)) => Bounds {
            lower: decimal((*s.min_opt()?).into())?,
            upper: decimal((*s.max_opt()?).into())?,
        },
        _ => {
            let of = |bytes: &[u8]| match kind {
                PrimitiveType::Decimal { .. } => decimal(big_endian(bytes)?),
                PrimitiveType::String => Some(Datum::string(std::str::from_utf8(bytes).ok()?)),
                PrimitiveType::Binary => Some(Datum::binary(bytes.to_vec())),
                PrimitiveType::Fixed(_) => Some(Datum::fixed(bytes.to_vec())),
                PrimitiveType::Uuid => Some(Datum::uuid(Uuid::from_slice(bytes).ok()?)),
                _ => None,
            };
            // What the footer has shortened is no value of a type of fixed length.
            let is_whole = statistics.min_is_exact() && statistics.max_is_exact();
            if !is_whole && !matches!(kind, PrimitiveType::String | PrimitiveType::Binary) {
                return None;
            }
            Bounds {
                lower: of(statistics.min_bytes_opt()?)?,
                upper: of(statistics.max_bytes_opt()?)?,
            }
        }
    };
    Some(found)
}

/// A number in two's complement, of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = bytes.first()?;
    let mut number = if first & 0x80 == 0 { 0_i128 } else { -1 };
    if bytes.len() > 16 {
        return None;
    }
    for byte in bytes {
        number = (number << 8) | i128::from(*byte);
    }
    Some(number)
}

/// A bound that is no greater than `datum`.
fn shortened_down(datum: &Datum) -> Datum {
    match datum.literal() {
        PrimitiveLiteral::String(text) => {
            Datum::string(text.chars().take(BOUND_LENGTH).collect::<String>())
        }
        PrimitiveLiteral::Binary(bytes) if datum.data_type() == &PrimitiveType::Binary => {
            Datum::binary(bytes.iter().copied().take(BOUND_LENGTH))
        }
        _ => datum.clone(),
    }
}

/// A bound that is no less than `datum`; none where there is no short one.
fn shortened_up(datum: &Datum) -> Option<Datum> {
    match datum.literal() {
        PrimitiveLiteral::String(text) if text.chars().count() > BOUND_LENGTH => {
            let mut short: Vec<char> = text.chars().take(BOUND_LENGTH).collect();
            while let Some(last) = short.pop() {
                // Past the gap of surrogates, which are no characters.
                let next = match last {
                    '\u{d7ff}' => Some('\u{e000}'),
                    last => char::from_u32(u32::from(last) + 1),
                };
                if let Some(next) = next {
                    short.push(next);
                    return Some(Datum::string(short.into_iter().collect::<String>()));
                }
            }
            None
        }
        PrimitiveLiteral::Binary(bytes)
            if datum.data_type() == &PrimitiveType::Binary && bytes.len() > BOUND_LENGTH =>
        {
            let mut short: Vec<u8> = bytes.iter().copied().take(BOUND_LENGTH).collect();
            while let Some(last) = short.pop() {
                if let Some(next) = last.checked_add(1) {
                    short.push(next);
                    return Some(Datum::binary(short));
                }
            }
            None
        }
        _ => Some(datum.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_bound_still_bounds() {
        let check = |text: &str, lower: &str, upper: Option<&str>| {
            let datum = Datum::string(text);
            assert_eq!(shortened_down(&datum), Datum::string(lower));
            assert_eq!(shortened_up(&datum), upper.map(Datum::string));
            assert!(shortened_down(&datum) <= datum);
            assert!(shortened_up(&datum).is_none_or(|upper| upper >= datum));
        };
        check("short", "short", Some("short"));
        check(
            "0123456789abcdef",
            "0123456789abcdef",
            Some("0123456789abcdef"),
        );
        check(
            "0123456789abcdefg",
            "0123456789abcdef",
            Some("0123456789abcdeg"),
        );
        let top = "\u{10ffff}".repeat(17);
        check(&top, &"\u{10ffff}".repeat(16), None);
        check(
            &format!("a{top}"),
            &format!("a{}", "\u{10ffff}".repeat(15)),
            Some("b"),
        );
        let gap = "0123456789abcde\u{d7ff}x";
        check(
            gap,
            "0123456789abcde\u{d7ff}",
            Some("0123456789abcde\u{e000}"),
        );
        assert_eq!(shortened_up(&Datum::binary(vec![0xff; 17])), None);
        assert_eq!(
            shortened_up(&Datum::binary([vec![1], vec![0xff; 16]].concat())),
            Some(Datum::binary(vec![2]))
        );
    }

    #[test]
    fn decimals_are_read_with_their_sign() {
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
        assert_eq!(big_endian(&[0x01, 0x00]), Some(256));
        assert_eq!(big_endian(&i128::MIN.to_be_bytes()), Some(i128::MIN));
        assert_eq!(big_endian(&[0; 17]), None);
        assert_eq!(big_endian(&[]), None);
    }
}
