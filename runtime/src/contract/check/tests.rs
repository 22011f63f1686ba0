//! Mappings and batches held against small contracts.

use std::time::{Duration, UNIX_EPOCH};

use arrow::array::{Int64Array, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;

use super::super::mapping::How;
use super::super::{Dataset, Freshness, Mask, Type, Unique, Unknown};
use super::*;

fn column(name: &str, kind: &str) -> Column {
    Column {
        name: name.to_owned(),
        kind: Type::parse(kind).unwrap(),
        required: false,
        classification: None,
        mask: None,
        at: None,
    }
}

fn contract(mode: Mode, columns: Vec<Column>, dataset: Dataset) -> Arc<Contract> {
    Arc::new(Contract {
        name: "users".to_owned(),
        version: "1".to_owned(),
        file: "users.yaml".to_owned(),
        mode,
        columns,
        dataset,
    })
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns
        .into_iter()
        .map(|(name, values)| (name, values, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn enforce(contract: &Arc<Contract>, batch: &RecordBatch) -> Arc<Enforcement> {
    let mapping = Mapping::new(contract, batch.schema_ref());
    Arc::new(Enforcement::new(
        mapping.unwrap_or_else(|errors| panic!("{errors:?}")),
    ))
}

/// Rows of a batch as text: values by `|`, rows by a blank.
fn shown(batch: &RecordBatch) -> String {
    let cell = |values: &ArrayRef, row| array_value_to_string(values, row).unwrap();
    let rows = (0..batch.num_rows()).map(|row| {
        let cells = batch.columns().iter().map(|values| cell(values, row));
        cells.collect::<Vec<_>>().join("|")
    });
    rows.collect::<Vec<_>>().join(" ")
}

fn refusals(contract: &Arc<Contract>, batch: &RecordBatch) -> Vec<String> {
    let errors = Mapping::new(contract, batch.schema_ref()).err();
    let errors = errors.unwrap_or_default();
    assert!(
        errors
            .iter()
            .all(|error| error.kind() == Kind::ContractBroken && error.hint_text().is_some())
    );
    errors
        .iter()
        .map(|error| error.message().to_owned())
        .collect()
}

#[test]
fn refuses_a_source_that_cannot_fit_and_says_everything_at_once() {
    let mut id = column("id", "int64");
    id.required = true;
    let columns = vec![
        id,
        column("at", "date"),
        column("note", "string"),
        column("x", "int8"),
    ];
    let dataset = Dataset {
        required_columns: vec!["note".to_owned()],
        ..Dataset::default()
    };
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let batch = batch(vec![("at", flags), ("more", texts(&[None]))]);
    let missing =
        |name| format!("contract `users` requires column `{name}`, which the source does not have");
    let mut expected = vec![
        missing("id"),
        "column `at` of contract `users` is a date, and Boolean of the source does not convert to it exactly".to_owned(),
        missing("note"),
        "the source has a column `more`, which contract `users` does not know".to_owned(),
    ];
    let strict = contract(Mode::Strict, columns.clone(), dataset.clone());
    assert_eq!(refusals(&strict, &batch), expected);
    // In mode `warn`, an unknown column is left out.
    expected.pop();
    assert_eq!(
        refusals(&contract(Mode::Warn, columns, dataset), &batch),
        expected
    );
}

#[test]
fn refuses_a_source_with_two_columns_of_one_name() {
    let rows = batch(vec![("a", texts(&[None])), ("a", texts(&[None]))]);
    let strict = contract(
        Mode::Strict,
        vec![column("a", "string")],
        Dataset::default(),
    );
    assert_eq!(
        refusals(&strict, &rows),
        ["the source has column `a` twice"]
    );
}

#[test]
fn refuses_a_source_column_with_the_name_of_the_reasons() {
    let rows = batch(vec![(REASON_COLUMN, texts(&[None]))]);
    let columns = vec![column(REASON_COLUMN, "string")];
    let warn = contract(Mode::Warn, columns, Dataset::default());
    assert!(refusals(&warn, &rows)[0].contains("the dead letter's own"));
}

#[test]
fn the_output_has_the_order_of_the_contract_then_what_is_added() {
    let rows = batch(vec![
        ("b", texts(&[Some("1")])),
        ("new", texts(&[Some("n")])),
        ("a", texts(&[Some("2")])),
    ]);
    let check = |unknown, expected: &str, how: Option<How>, warnings| {
        let dataset = Dataset {
            unknown_columns: unknown,
            ..Dataset::default()
        };
        let columns = vec![
            column("a", "string"),
            column("b", "int64"),
            column("c", "date"),
        ];
        let enforcement = enforce(&contract(Mode::Warn, columns, dataset), &rows);
        let lines = &enforcement.mapping.lines;
        let hows: Vec<How> = lines.iter().map(|line| line.how).collect();
        let mut expected_hows = vec![How::Same, How::Converted, How::FilledWithNull];
        expected_hows.extend(how);
        assert_eq!(hows, expected_hows);
        assert_eq!(enforcement.mapping.warnings.len(), warnings);
        assert_eq!(
            shown(&enforcement.split(0, 0).check(&rows).unwrap().good),
            expected
        );
    };
    check(Unknown::Add, "2|1||n", Some(How::Added), 0);
    check(Unknown::Ignore, "2|1|", Some(How::LeftOut), 0);
    check(Unknown::Strict, "2|1|", Some(How::LeftOut), 1);
}

#[test]
fn a_batch_that_fits_is_passed_on_without_a_copy() {
    let mut id = column("id", "int64");
    id.required = true;
    let rows = batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2])))]);
    let strict = contract(Mode::Strict, vec![id], Dataset::default());
    let good = enforce(&strict, &rows)
        .split(0, 0)
        .check(&rows)
        .unwrap()
        .good;
    assert!(Arc::ptr_eq(good.column(0), rows.column(0)));
    assert!(!good.schema().field(0).is_nullable());
}

/// Three rules that the second and third row break.
fn broken() -> (Vec<Column>, RecordBatch) {
    let mut id = column("id", "int64");
    id.required = true;
    let rows = batch(vec![
        ("id", texts(&[Some("1"), None, Some("x"), Some("4")])),
        (
            "price",
            texts(&[Some("1.50"), Some("1.505"), Some("2"), None]),
        ),
    ]);
    (vec![id, column("price", "decimal(5,2)")], rows)
}

#[test]
fn the_first_bad_row_ends_a_strict_run() {
    let (columns, rows) = broken();
    let enforcement = enforce(&contract(Mode::Strict, columns, Dataset::default()), &rows);
    let mut split = enforcement.split(3, 0);
    split.check(&rows.slice(0, 1)).unwrap();
    let error = split.check(&rows.slice(1, 3)).err().unwrap();
    assert_eq!(error.kind(), Kind::ContractBroken);
    assert_eq!(
        error.message(),
        "row 2 of split 3 breaks contract `users`: column `id`: null, and a value is required"
    );
}

#[test]
fn bad_rows_are_told_from_good_ones_with_all_their_reasons() {
    let (columns, rows) = broken();
    let enforcement = enforce(&contract(Mode::Warn, columns, Dataset::default()), &rows);
    let mut split = enforcement.split(0, 0);
    let checked = split.check(&rows).unwrap();
    assert_eq!(shown(&checked.good), "1|1.50 4|");
    assert_eq!(
        shown(&checked.bad.unwrap().0),
        "|1.505|column `id`: null, and a value is required; column `price`: `1.505` is not a decimal(5,2) \
         x|2|column `id`: `x` is not an int64"
    );
    let counts = || -> Vec<u64> {
        let tallies = enforcement.tallies();
        tallies.iter().map(|tally| tally.count).collect()
    };
    assert!(counts().is_empty(), "the split is not finished");
    split.finish();
    assert_eq!(counts(), [1, 1, 1]);
}

#[test]
fn masked_values_are_seen_nowhere() {
    let (mut columns, rows) = broken();
    columns[0].mask = Some(Mask::Redact);
    columns[0].required = false;
    columns[1].mask = Some(Mask::Hash(None));
    let enforcement = enforce(
        &contract(Mode::Warn, columns.clone(), Dataset::default()),
        &rows,
    );
    let mut split = enforcement.split(0, 0);
    let checked = split.check(&rows).unwrap();
    split.finish();
    let all = format!(
        "{} {}",
        shown(&checked.good),
        shown(&checked.bad.unwrap().0)
    );
    let all = format!("{all} {:?}", enforcement.tallies());
    for value in ["1.5", "`x`", "x|"] {
        assert!(!all.contains(value), "{value}: {all}");
    }
    assert!(
        all.contains("column `price`: the value is not a decimal(5,2)"),
        "{all}"
    );
    let strict = enforce(&contract(Mode::Strict, columns, Dataset::default()), &rows);
    let error = strict.split(0, 0).check(&rows).err().unwrap();
    assert!(
        error
            .message()
            .ends_with("column `price`: the value is not a decimal(5,2)"),
        "{error}"
    );
}

fn unique(columns: &[&str]) -> Dataset {
    Dataset {
        unique: Some(Unique {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            memory_bytes: 1 << 20,
        }),
        ..Dataset::default()
    }
}

#[test]
fn a_key_is_there_once_over_all_splits_and_null_is_no_key() {
    let columns = || vec![column("a", "int64"), column("b", "string")];
    let rows = batch(vec![
        (
            "a",
            texts(&[Some("1"), Some("01"), Some("1"), None, None, Some("x")]),
        ),
        (
            "b",
            texts(&[
                Some("k"),
                Some("k"),
                Some("l"),
                Some("k"),
                Some("k"),
                Some("k"),
            ]),
        ),
    ]);
    let enforcement = enforce(&contract(Mode::Warn, columns(), unique(&["a", "b"])), &rows);
    let checked = enforcement.split(0, 0).check(&rows).unwrap();
    assert_eq!(shown(&checked.good), "1|k 1|l |k |k");
    let bad = shown(&checked.bad.unwrap().0);
    assert!(
        bad.contains("01|k|key `a`, `b`: `1, k` is there already"),
        "{bad}"
    );
    let good = |split, attempt| {
        let mut split = enforcement.split(split, attempt);
        split.check(&rows.slice(0, 1)).unwrap().good.num_rows()
    };
    assert_eq!(good(1, 0), 0);
    assert_eq!(good(0, 1), 1, "its split is read again");

    let mut masked = columns();
    masked[1].mask = Some(Mask::Null);
    let strict = enforce(
        &contract(Mode::Strict, masked, unique(&["a", "b"])),
        &rows.slice(0, 5),
    );
    let error = strict.split(0, 0).check(&rows.slice(0, 5)).err().unwrap();
    assert_eq!(
        error.message(),
        "row 2 of split 0 breaks contract `users`: key `a`, `b`: the value is there already"
    );
}

#[test]
fn a_run_with_more_keys_than_fit_fails_in_both_modes() {
    let many: ArrayRef = Arc::new(Int64Array::from_iter_values(0..60_000));
    let rows = batch(vec![("a", many)]);
    for mode in [Mode::Strict, Mode::Warn] {
        let contract = contract(mode, vec![column("a", "int64")], unique(&["a"]));
        let error = enforce(&contract, &rows)
            .split(0, 0)
            .check(&rows)
            .err()
            .unwrap();
        assert_eq!(error.kind(), Kind::LimitExceeded);
        assert!(
            error.message().ends_with("which is enough for 52428"),
            "{error}"
        );
    }
}

#[test]
fn rules_about_all_rows_are_errors_in_strict_mode_and_warnings_otherwise() {
    let day = Duration::from_secs(24 * 60 * 60);
    let instants = TimestampMicrosecondArray::from(vec![Some(0), Some(86_400_000_000), None]);
    let rows = batch(vec![("at", Arc::new(instants))]);
    let dataset = |min, max, max_age| Dataset {
        min_rows: min,
        max_rows: max,
        freshness: Some(Freshness {
            column: "at".to_owned(),
            max_age,
        }),
        ..Dataset::default()
    };
    let now = UNIX_EPOCH + day * 4;
    let check = |rows: &RecordBatch, dataset: Dataset, expected: &[&str]| {
        let verdict = |mode| {
            let contract = contract(mode, vec![column("at", "timestamp")], dataset.clone());
            let enforcement = enforce(&contract, rows);
            // An attempt that was lost counts for nothing.
            enforcement.split(0, 0).check(rows).unwrap();
            let mut split = enforcement.split(0, 1);
            split.check(rows).unwrap();
            split.finish();
            enforcement.verdict(now)
        };
        assert_eq!(verdict(Mode::Warn).unwrap(), expected);
        match verdict(Mode::Strict) {
            Ok(broken) => assert!(broken.is_empty() && expected.is_empty()),
            Err(error) => {
                assert_eq!(
                    (error.kind(), error.message()),
                    (Kind::ContractBroken, expected[0])
                );
                assert_eq!(error.details().len(), expected.len() - 1);
            }
        }
    };
    check(&rows, dataset(Some(3), Some(3), day * 3), &[]);
    check(
        &rows,
        dataset(Some(4), Some(2), day * 2),
        &[
            "the run has 3 good rows, and contract `users` wants at least 4",
            "the run has 3 good rows, and contract `users` wants at most 2",
            "the newest `at` of contract `users` is 3days old, and must not be older than 2days",
        ],
    );
    check(
        &rows.slice(2, 1),
        dataset(None, None, day),
        &[
            "column `at` of contract `users` has no value, and its newest must not be older than 1day",
        ],
    );
}
