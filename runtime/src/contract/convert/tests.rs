//! What converts to what, and which values are refused.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Int32Type, TimeUnit, i256};
use arrow::util::display::array_value_to_string;

use super::*;

/// Converts `values`; a refused value is shown as `!`, null as `-`.
fn converted(values: ArrayRef, to: &str) -> String {
    let to = Type::parse(to).unwrap();
    let conversion = plan(values.data_type(), &to)
        .unwrap_or_else(|| panic!("{} to {to} is refused", values.data_type()));
    let Converted { values, refused } = conversion.run(&values, &to).unwrap();
    assert_eq!(*values.data_type(), to.arrow());
    let shown = (0..values.len()).map(|row| match (&refused, values.is_null(row)) {
        (Some(refused), true) if refused.value(row) => "!".to_owned(),
        (_, true) => "-".to_owned(),
        _ => array_value_to_string(&values, row).unwrap(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn check_text(to: &str, texts: &[&str], expected: &str) {
    let mut values: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
    values.push(None);
    let got = converted(Arc::new(StringArray::from(values)), to);
    assert_eq!(got, format!("{expected} -"), "{texts:?} to {to}");
}

#[test]
fn refuses_conversions_that_cannot_be_exact() {
    let check = |from: DataType, to: &str| {
        assert_eq!(
            plan(&from, &Type::parse(to).unwrap()),
            None,
            "{from} to {to}"
        );
    };
    check(DataType::Float64, "int64");
    check(DataType::Float64, "decimal(12,2)");
    check(DataType::Float64, "float32");
    check(DataType::Float64, "string");
    check(DataType::Boolean, "date");
    check(DataType::Boolean, "int8");
    check(DataType::Date32, "timestamp(us, UTC)");
    check(
        DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz",
    );
    check(
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp",
    );
    check(DataType::Timestamp(TimeUnit::Microsecond, None), "date");
    check(DataType::Decimal128(12, 2), "int64");
    check(DataType::Decimal128(12, 2), "float64");
    check(DataType::FixedSizeBinary(8), "uuid");
    check(DataType::Int64, "timestamp");
    check(DataType::Int64, "bool");
    check(DataType::new_list(DataType::Int64, true), "string");
}

#[test]
fn what_is_the_same_is_not_touched() {
    let check = |from: DataType, to: &str| {
        let to = Type::parse(to).unwrap();
        assert_eq!(plan(&from, &to), Some(Conversion::Same), "{from} to {to}");
    };
    check(DataType::Int64, "int64");
    check(DataType::Utf8, "string");
    check(DataType::Decimal128(12, 2), "decimal(12,2)");
    check(DataType::FixedSizeBinary(16), "uuid");
    check(DataType::Time32(TimeUnit::Second), "time(s)");
}

#[test]
fn whole_numbers_fit_or_are_refused() {
    let ints = || {
        Arc::new(Int64Array::from(vec![
            Some(127),
            Some(128),
            Some(-129),
            Some(-1),
            None,
        ]))
    };
    assert_eq!(converted(ints(), "int8"), "127 ! ! -1 -");
    assert_eq!(converted(ints(), "uint8"), "127 128 ! ! -");
    assert_eq!(converted(ints(), "string"), "127 128 -129 -1 -");
    assert_eq!(converted(ints(), "decimal(3,1)"), "! ! ! -1.0 -");
    assert_eq!(
        converted(ints(), "decimal(40,1)"),
        "127.0 128.0 -129.0 -1.0 -"
    );
    assert_eq!(converted(ints(), "float32"), "127.0 128.0 -129.0 -1.0 -");
    let large = |values: Vec<i64>| Arc::new(Int64Array::from(values));
    let bound = FLOAT64_WHOLE;
    assert_eq!(
        converted(
            large(vec![bound, bound + 1, -bound, -bound - 1, i64::MIN]),
            "float64"
        ),
        "9007199254740992.0 ! -9007199254740992.0 ! !"
    );
    assert_eq!(
        converted(large(vec![FLOAT32_WHOLE, FLOAT32_WHOLE + 1]), "float32"),
        "16777216.0 !"
    );
    let unsigned = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    assert_eq!(converted(unsigned.clone(), "int64"), "1 !");
    assert_eq!(converted(unsigned, "float64"), "1.0 !");
}

#[test]
fn decimals_are_never_rounded() {
    let decimals = |values: Vec<Option<i128>>| {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(6, 3).unwrap())
    };
    let some = |values: &[i128]| decimals(values.iter().copied().map(Some).collect());
    assert_eq!(
        converted(some(&[1_500, 1_505, 999_999]), "decimal(4,2)"),
        "1.50 ! !"
    );
    assert_eq!(converted(some(&[999_990, 100_000]), "decimal(4,2)"), "! !");
    assert_eq!(
        converted(decimals(vec![Some(-1_500), None]), "decimal(40,20)"),
        "-1.50000000000000000000 -"
    );
    assert_eq!(converted(some(&[999_999]), "decimal(5,4)"), "!");
    let wide = Decimal256Array::from(vec![i256::from_i128(150), i256::from_i128(155)]);
    let wide = Arc::new(wide.with_precision_and_scale(40, 2).unwrap());
    assert_eq!(converted(wide, "decimal(3,1)"), "1.5 !");
}

#[test]
fn units_change_only_where_nothing_is_lost() {
    let micros = |zone: Option<&str>| {
        let values =
            TimestampMicrosecondArray::from(vec![Some(1_000_000), Some(1_500_000), Some(-1), None]);
        Arc::new(values.with_timezone_opt(zone))
    };
    assert_eq!(
        converted(micros(None), "timestamp(s)"),
        "1970-01-01T00:00:01 ! ! -"
    );
    assert_eq!(
        converted(micros(Some("+01:00")), "timestamp(ms, UTC)"),
        "1970-01-01T00:00:01Z 1970-01-01T00:00:01.500Z ! -"
    );
    let far = Arc::new(TimestampSecondArray::from(vec![i64::MAX / 1_000_000, 1]));
    assert_eq!(converted(far, "timestamp(ns)"), "! 1970-01-01T00:00:01");
    let days = Arc::new(Date32Array::from(vec![Some(1), Some(200_000), None]));
    assert_eq!(converted(days, "timestamp(ns)"), "1970-01-02T00:00:00 ! -");
    let times = Arc::new(Time32MillisecondArray::from(vec![
        Some(1_000),
        Some(1_500),
        None,
    ]));
    assert_eq!(converted(times.clone(), "time(s)"), "00:00:01 ! -");
    assert_eq!(converted(times, "time(ns)"), "00:00:01 00:00:01.500 -");
}

#[test]
fn dictionaries_and_wide_strings_are_what_they_hold() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("7"), None, Some("x"), Some("7")]
        .into_iter()
        .collect();
    let dictionary: ArrayRef = Arc::new(dictionary);
    assert_eq!(converted(dictionary.clone(), "string"), "7 - x 7");
    assert_eq!(converted(dictionary, "int64"), "7 - ! 7");
    let large = Arc::new(LargeStringArray::from(vec!["a", "b"]));
    assert_eq!(converted(large, "string"), "a b");
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    assert_eq!(converted(nothing, "int64"), "- -");
    let bytes = BinaryArray::from(vec![&[1_u8; 16][..], &[1; 15]]);
    assert_eq!(
        converted(Arc::new(bytes), "uuid"),
        format!("{} !", "01".repeat(16))
    );
}

#[test]
fn text_is_read_strictly() {
    check_text(
        "int64",
        &["1", "-1", "", " 1", "1.0", "9223372036854775808"],
        "1 -1 ! ! ! !",
    );
    check_text("uint8", &["255", "256", "-1"], "255 ! !");
    check_text(
        "float64",
        &["1.5", "1e3", "nan", "inf", "1e400", "x"],
        "1.5 1000.0 ! ! ! !",
    );
    check_text("bool", &["true", "false", "True", "1"], "true false ! !");
    check_text(
        "decimal(5,2)",
        &[
            "1", "-1.5", "1.50", "1.500", "1.005", "1000", "999.99", "0", "-0", "+2", "00012.30",
            ".5", "5.", "1e2", "1,5", "-", "",
        ],
        "1.00 -1.50 1.50 1.50 ! ! 999.99 0.00 0.00 2.00 12.30 ! ! ! ! ! !",
    );
    check_text("decimal(2,2)", &["0.25", "1", "0"], "0.25 ! 0.00");
    check_text(
        "decimal(40,1)",
        &["-123456789012345678901234567890123456789.5", "1"],
        "-123456789012345678901234567890123456789.5 1.0",
    );
    check_text(
        "date",
        &[
            "1970-01-01",
            "2000-02-29",
            "1900-02-29",
            "2013-13-01",
            "2013-1-1",
            "0001-01-01",
            "9999-12-31",
            "2013-04-31",
        ],
        "1970-01-01 2000-02-29 ! ! ! 0001-01-01 9999-12-31 !",
    );
    check_text(
        "timestamp(ms)",
        &[
            "2013-01-01T06:00:00",
            "2013-01-01 06:00:00.5",
            "2013-01-01T06:00:00.1234",
            "2013-01-01T06:00:00Z",
            "2013-01-01",
            "2013-01-01T24:00:00",
            "2013-01-01T06:00",
        ],
        "2013-01-01T06:00:00 2013-01-01T06:00:00.500 ! ! ! ! !",
    );
    check_text(
        "timestamptz",
        &[
            "2013-01-01T06:00:00Z",
            "2013-01-01T06:00:00.000001+01:30",
            "2013-01-01T06:00:00-00:30",
            "2013-01-01T06:00:00",
            "2013-01-01T06:00:00+1",
        ],
        "2013-01-01T06:00:00Z 2013-01-01T04:30:00.000001Z 2013-01-01T06:30:00Z ! !",
    );
    check_text(
        "timestamp(ns)",
        &["1600-01-01T00:00:00", "2013-01-01T06:00:00.123456789"],
        "! 2013-01-01T06:00:00.123456789",
    );
    check_text(
        "time",
        &["23:59:59.5", "24:00:00", "1:00:00", "00:00:00."],
        "23:59:59.500 ! ! !",
    );
    check_text(
        "json",
        &["{\"a\": 1}", "[1, 2", "null", "", "1 2"],
        "{\"a\": 1} ! null ! !",
    );
    check_text(
        "uuid",
        &[
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "x",
        ],
        "67e5504410b1426f9247bb680e5fe0c8 ! !",
    );
    check_text("binary", &["ab"], "6162");
    check_text("string", &[""], "");
}
