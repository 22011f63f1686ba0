//! What is refused, then what comes through unchanged.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Int32Type, Schema, TimeUnit};
use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn texts() -> RecordBatch {
    batch(vec![
        (
            "n",
            Arc::new(Int64Array::from(vec![
                Some(0x0102030405060708),
                None,
                Some(3),
            ])),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec!["first", "zweite", "troisième"])),
        ),
        (
            "d",
            Arc::new(
                vec!["x", "y", "x"]
                    .into_iter()
                    .collect::<DictionaryArray<Int8Type>>(),
            ),
        ),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some(vec![Some(1), Some(2)]),
                None,
                Some(vec![]),
            ])),
        ),
    ])
}

#[track_caller]
fn refused(bytes: Vec<u8>, reason: &str) {
    let error = decode_batch(bytes).expect_err("hostile bytes became a batch");
    assert_eq!(error.kind(), Kind::DataInvalid, "{error}");
    let text = error.to_string();
    assert!(text.contains(reason), "`{text}` does not say `{reason}`");
    assert!(!text.contains('\n'));
}

/// Changes the only place in `bytes` that holds `from`.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(from))
        .collect();
    assert_eq!(places.len(), 1, "the pattern is at {places:?}");
    bytes[places[0]..places[0] + to.len()].copy_from_slice(to);
    bytes
}

fn le32(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn refuses_a_stream_cut_at_any_length() {
    let whole = encode_batch(&texts()).unwrap();
    // Without its end mark of 8 bytes the stream ends between two messages, which is an end too.
    for length in (0..whole.len() - 8).chain(whole.len() - 7..whole.len()) {
        let error =
            decode_batch(whole[..length].to_vec()).expect_err("a cut stream became a batch");
        assert_eq!(error.kind(), Kind::DataInvalid, "cut at {length}: {error}");
    }
    assert_eq!(
        decode_batch(whole[..whole.len() - 8].to_vec()).unwrap(),
        texts()
    );
}

#[test]
fn refuses_offsets_that_point_outside_or_backwards() {
    let bytes = encode_batch(&texts()).unwrap();
    let offsets = le32(&[0, 5, 11, 21]);
    refused(
        patched(bytes.clone(), &offsets, &le32(&[0, 5, 11, 4000])),
        "offset",
    );
    refused(
        patched(bytes.clone(), &offsets, &le32(&[0, 11, 5, 21])),
        "offset",
    );
    refused(
        patched(bytes.clone(), &offsets, &le32(&[0, -5, 11, 21])),
        "offset",
    );
    refused(
        patched(bytes, &le32(&[0, 2, 2, 2]), &le32(&[0, 2, 2, 9])),
        "offset",
    );
}

#[test]
fn refuses_text_that_is_not_utf8() {
    let bytes = encode_batch(&texts()).unwrap();
    refused(patched(bytes.clone(), b"zweite", b"\xffweite"), "UTF8");
    // A character cut in two by an offset.
    refused(
        patched(bytes, &le32(&[0, 5, 11, 21]), &le32(&[0, 5, 18, 21])),
        "utf-8",
    );
}

#[test]
fn refuses_keys_outside_their_dictionary() {
    let keys = Int8Array::from(vec![0, 1, 0, 1, 1, 1, 0, 0, 1, 0]);
    let column = DictionaryArray::new(keys, Arc::new(StringArray::from(vec!["a", "b"])));
    let bytes = encode_batch(&batch(vec![("d", Arc::new(column))])).unwrap();
    let keys = [0, 1, 0, 1, 1, 1, 0, 0, 1, 0];
    refused(
        patched(bytes.clone(), &keys, &[0, 1, 0, 1, 1, 2]),
        "out of bounds",
    );
    refused(
        patched(bytes, &keys, &[0, 1, 0, 1, 1, 0x80]),
        "out of bounds",
    );
}

#[test]
fn refuses_more_or_less_than_one_batch() {
    let sample = texts();
    let mut writer = StreamWriter::try_new(Vec::new(), &sample.schema()).unwrap();
    writer.write(&sample).unwrap();
    writer.write(&sample).unwrap();
    refused(writer.into_inner().unwrap(), "more messages");
    refused(
        encode_schema(&sample.schema()).unwrap(),
        "where a batch should be",
    );
    let mut trailing = encode_batch(&sample).unwrap();
    trailing.push(0);
    refused(trailing, "1 bytes follow its end");
    let error = decode_schema(encode_batch(&sample).unwrap()).unwrap_err();
    assert!(error.to_string().contains("more messages"), "{error}");
}

#[test]
fn refuses_a_delta_dictionary() {
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let column = |values: Vec<&str>| -> ArrayRef {
        let keys = Int8Array::from_iter_values(0..values.len() as i8);
        Arc::new(DictionaryArray::new(
            keys,
            Arc::new(StringArray::from(values)),
        ))
    };
    let first = batch(vec![("d", column(vec!["a"]))]);
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), &first.schema(), options).unwrap();
    writer.write(&first).unwrap();
    let one = writer.get_ref().len();
    writer
        .write(&batch(vec![("d", column(vec!["a", "b"]))]))
        .unwrap();
    let all = writer.into_inner().unwrap();
    // The schema with its dictionary, then the messages of the second batch: the delta comes before any batch.
    let mut empty = StreamWriter::try_new(Vec::new(), &first.schema()).unwrap();
    let schema = empty.get_mut().len();
    let mut bytes = all[..schema].to_vec();
    bytes.extend_from_slice(&all[one..]);
    refused(bytes, "delta dictionary");
}

#[test]
fn refuses_rows_that_no_bytes_stand_for() {
    let rows = 1_i64 << 40;
    let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
    let no_columns =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    refused(encode_batch(&no_columns).unwrap(), "at most");
    refused(
        encode_batch(&batch(vec![("n", Arc::new(NullArray::new(1 << 40)))])).unwrap(),
        "at most",
    );

    let some = RecordBatchOptions::new().with_row_count(Some(1000));
    let counted =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &some).unwrap();
    assert_eq!(
        decode_batch(encode_batch(&counted).unwrap())
            .unwrap()
            .num_rows(),
        1000
    );
}

#[test]
fn refuses_types_that_stand_for_more_than_their_bytes() {
    check("view", Arc::new(StringViewArray::from(vec!["a"])));
    check(
        "view",
        Arc::new(BinaryViewArray::from(vec![b"a".as_slice()])),
    );
    let runs =
        RunArray::try_new(&Int32Array::from(vec![3]), &StringArray::from(vec!["a"])).unwrap();
    check("run-end", Arc::new(runs));
    let fields = [(0, Arc::new(Field::new("a", DataType::Int32, true)))]
        .into_iter()
        .collect();
    let union = UnionArray::try_new(
        fields,
        vec![0].into(),
        None,
        vec![Arc::new(Int32Array::from(vec![1]))],
    );
    check("union", Arc::new(union.unwrap()));

    fn check(reason: &str, column: ArrayRef) {
        refused(encode_batch(&batch(vec![("c", column)])).unwrap(), reason);
    }
}

#[test]
fn refuses_a_dictionary_that_grows_without_bound_when_written_out() {
    let long = "x".repeat(1 << 20);
    let column = |rows| -> ArrayRef {
        let keys = Int32Array::from(vec![0; rows]);
        Arc::new(DictionaryArray::new(
            keys,
            Arc::new(StringArray::from(vec![long.as_str()])),
        ))
    };
    refused(
        encode_batch(&batch(vec![("d", column(300))])).unwrap(),
        "stands for",
    );
    assert!(decode_batch(encode_batch(&batch(vec![("d", column(200))])).unwrap()).is_ok());
}

#[test]
fn refuses_decimals_beyond_their_precision() {
    let column = |value| -> ArrayRef {
        let values = Decimal128Array::from(vec![value])
            .with_precision_and_scale(5, 2)
            .unwrap();
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Decimal128(5, 2), true)),
            Arc::new(values) as ArrayRef,
        )]))
    };
    refused(
        encode_batch(&batch(vec![("d", column(100_000))])).unwrap(),
        "100",
    );
    assert!(decode_batch(encode_batch(&batch(vec![("d", column(99_999))])).unwrap()).is_ok());
}

#[test]
fn refuses_deep_nesting_and_endless_fields() {
    let nested = |depth: usize| {
        let inner = (1..depth).fold(DataType::Int8, |inner, _| {
            DataType::Struct(Fields::from(vec![Field::new("f", inner, true)]))
        });
        encode_schema(&Schema::new(vec![Field::new("c", inner, true)])).unwrap()
    };
    assert!(decode_schema(nested(32)).is_ok());
    let error = decode_schema(nested(33)).unwrap_err();
    assert!(error.to_string().contains("deep"), "{error}");
    assert!(decode_schema(nested(400)).is_err());

    let wide = |fields: usize| {
        let fields: Vec<Field> = (0..fields)
            .map(|i| Field::new(format!("c{i}"), DataType::Int8, true))
            .collect();
        encode_schema(&Schema::new(fields)).unwrap()
    };
    assert_eq!(decode_schema(wide(16_384)).unwrap().fields().len(), 16_384);
    assert!(decode_schema(wide(16_385)).is_err());
}

#[test]
fn refuses_what_is_larger_than_the_limit() {
    let error = decode_batch(vec![0; MAX_BATCH_BYTES + 1]).unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
    let error = decode_schema(vec![0; MAX_SCHEMA_BYTES + 1]).unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
}

/// Whatever comes out of changed bytes must be sound: it is printed, split and encoded again.
#[test]
fn never_panics_on_changed_bytes() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let samples = [
        encode_batch(&texts()).unwrap(),
        encode_batch(&everything()).unwrap(),
    ];
    let mut refusals = 0;
    for round in 0..6000 {
        let mut bytes = samples[round % 2].clone();
        for _ in 0..1 + next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = [next() as u8, 0, 0xff, 0x7f, bytes[at] ^ (1 << (next() % 8))][next() % 5];
        }
        match decode_batch(bytes) {
            Err(error) => {
                assert_eq!(error.kind(), Kind::DataInvalid, "{error}");
                refusals += 1;
            }
            Ok(batch) => {
                if batch.num_rows() < 100 {
                    let _ =
                        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(&batch));
                }
                let again = decode_batch(encode_batch(&batch).unwrap()).unwrap();
                assert_eq!(again.num_rows(), batch.num_rows());
            }
        }
    }
    assert!(refusals > 500, "{refusals} of 6000 changes were noticed");
}

#[test]
fn reads_bytes_at_any_alignment() {
    let sample = everything();
    let whole = encode_batch(&sample).unwrap();
    for shift in 1..16 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&whole);
        let mut stream = Buffer::from_vec(shifted);
        stream.advance(shift);
        let read =
            frames::read_batch(&stream).unwrap_or_else(|Unsound(why)| panic!("{shift}: {why}"));
        assert_eq!(read, sample);
    }
}

#[test]
fn every_type_comes_through_unchanged() {
    let sample = everything();
    let read = decode_batch(encode_batch(&sample).unwrap()).unwrap();
    assert_eq!(read, sample);
    assert_eq!(read.schema(), sample.schema());
    let empty = sample.slice(0, 0);
    assert_eq!(decode_batch(encode_batch(&empty).unwrap()).unwrap(), empty);
    let part = sample.slice(1, 1);
    assert_eq!(decode_batch(encode_batch(&part).unwrap()).unwrap(), part);
}

#[test]
fn a_schema_comes_through_with_its_metadata() {
    let field =
        Field::new("a", DataType::Int8, false).with_metadata([("k".into(), "v".into())].into());
    let schema = Schema::new(vec![field]).with_metadata([("m".to_owned(), "1".to_owned())].into());
    assert_eq!(
        decode_schema(encode_schema(&schema).unwrap()).unwrap(),
        schema
    );
}

fn everything() -> RecordBatch {
    let entries = StructArray::from(vec![
        (
            Arc::new(Field::new("keys", DataType::Utf8, false)),
            Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("values", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef,
        ),
    ]);
    let map = MapArray::new(
        Arc::new(Field::new("entries", entries.data_type().clone(), false)),
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 1, 3])),
        entries,
        Some(NullBuffer::from(vec![true, false, true])),
        false,
    );
    let decimal =
        Decimal128Array::from(vec![Some(12345), None, Some(-1)]).with_precision_and_scale(10, 2);
    let decimal256 =
        Decimal256Array::from(vec![arrow::datatypes::i256::ONE; 3]).with_precision_and_scale(40, 2);
    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("q"), None, Some("")])) as ArrayRef,
        ),
    ]);
    let fixed_list = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![None, Some(4)]),
        ],
        2,
    );
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let large_list = LargeListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(7)]),
        Some(vec![]),
        None,
    ]);
    let zoned = TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Berlin");
    let fixed = FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4], [5, 6]].iter()).unwrap();
    let dictionary = vec![Some("x"), None, Some("y")]
        .into_iter()
        .collect::<DictionaryArray<Int8Type>>();
    let sample = batch(vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        ("i8", Arc::new(Int8Array::from(vec![1, 2, 3]))),
        ("u16", Arc::new(UInt16Array::from(vec![1, 2, 3]))),
        (
            "i64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![1.5, f32::INFINITY, 0.0])),
        ),
        ("date", Arc::new(Date32Array::from(vec![0, -1, 19_000]))),
        (
            "date64",
            Arc::new(Date64Array::from(vec![0, 86_400_000, 1])),
        ),
        ("time", Arc::new(Time64NanosecondArray::from(vec![0, 1, 2]))),
        (
            "timestamp",
            Arc::new(TimestampSecondArray::from(vec![0, 1, 2])),
        ),
        ("zoned", Arc::new(zoned)),
        (
            "duration",
            Arc::new(DurationMillisecondArray::from(vec![0, 1, 2])),
        ),
        (
            "string",
            Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        ),
        (
            "large_string",
            Arc::new(LargeStringArray::from(vec!["1", "22", "333"])),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b"", b"ab"])),
        ),
        ("fixed", Arc::new(fixed)),
        ("decimal", Arc::new(decimal.unwrap())),
        ("decimal256", Arc::new(decimal256.unwrap())),
        ("list", Arc::new(list)),
        ("large_list", Arc::new(large_list)),
        ("fixed_list", Arc::new(fixed_list)),
        ("struct", Arc::new(structs)),
        ("map", Arc::new(map)),
        ("dictionary", Arc::new(dictionary)),
        ("null", Arc::new(NullArray::new(3))),
    ]);
    assert!(matches!(
        sample.schema().field(9).data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_))
    ));
    sample
}
