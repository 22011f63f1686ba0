//! Every rule of a contract, and of the files that it is written in, broken once in both modes.

use super::{ALL_TEXT, Case, check_golden, seen};
use crate::support::{cli, files_below};

/// Breaks one rule in both modes and holds what is seen of it against the golden files.
/// `BLESS=1` writes them again.
fn breaks(name: &str, csv: &str, reader: &str, asset: &str) {
    for mode in ["strict", "warn"] {
        let case = Case::new(mode, csv, reader, asset);
        let output = case.run();
        let mut got = seen(&output);
        if case.dir.path().join("rejected").exists() {
            let rejected = case.read("duckdb", "rejected");
            got.push_str("dead letter:\n");
            for row in rejected["rows"].as_array().unwrap() {
                let cells = row.as_array().unwrap().iter();
                let cells: Vec<&str> = cells.map(|cell| cell.as_str().unwrap_or("NULL")).collect();
                got.push_str(&format!("  {}\n", cells.join(" | ")));
            }
        }
        if output.code != 0 {
            // A run that fails publishes nothing.
            assert_eq!(
                files_below(&case.dir.path().join("out")),
                Vec::<String>::new()
            );
        }
        check_golden(&format!("{name}.{mode}"), &got);
    }
}

#[test]
fn null_in_a_required_column() {
    breaks(
        "required",
        "id,name\n1,a\n,b\n3,c\n",
        "",
        "schema:\n- { name: id, type: int64, required: true }\n- { name: name, type: string }\n",
    );
}

#[test]
fn a_value_of_another_type() {
    let check = |kind: &str, good: &str, bad: &str| {
        let name = kind.split('(').next().unwrap();
        breaks(
            &format!("type-{name}"),
            &format!("id,v\n1,{good}\n2,{bad}\n"),
            ALL_TEXT,
            &format!("schema:\n- {{ name: id, type: int64 }}\n- {{ name: v, type: \"{kind}\" }}\n"),
        );
    };
    check("int8", "-128", "128");
    check("int16", "1", "one");
    check("int32", "1", "1.0");
    check("int64", "1", "9223372036854775808");
    check("uint8", "255", "-1");
    check("uint16", "1", "65536");
    check("uint32", "1", "0x1");
    check("uint64", "1", "-0.5");
    check("float32", "0.5", "half");
    check("float64", "0.5", "nan");
    check("decimal(12,2)", "0.10", "0.105");
    check("bool", "true", "yes");
    check("date", "2013-01-31", "2013-02-30");
    check(
        "timestamp(s)",
        "2013-01-31T12:00:00",
        "2013-01-31T12:00:00.5",
    );
    check(
        "timestamptz",
        "2013-01-31T12:00:00+01:00",
        "2013-01-31T12:00:00",
    );
    check("time", "23:59:59", "24:00:00");
    check("uuid", "67e55044-10b1-426f-9247-bb680e5fe0c8", "67e55044");
    check("json", "[1]", "[1");
}

#[test]
fn a_long_value_is_cut() {
    breaks(
        "long-value",
        &format!("id,v\n1,{}\n", "x".repeat(500)),
        ALL_TEXT,
        "schema:\n- { name: id, type: int64 }\n- { name: v, type: int64 }\n",
    );
}

#[test]
fn several_reasons_for_one_row() {
    breaks(
        "several",
        "id,v,w\n,x,1\n2,1,1\n3,1,\n",
        ALL_TEXT,
        "schema:\n- { name: id, type: int64, required: true }\n- { name: v, type: int8 }\n- { name: w, type: int64, required: true }\n",
    );
}

#[test]
fn a_column_that_is_not_there() {
    breaks(
        "missing-column",
        "id\n1\n",
        "",
        "schema:\n- { name: id, type: int64 }\n- { name: email, type: string, required: true }\n- { name: idd, type: string }\n\
         dataset: { required_columns: [idd] }\n",
    );
}

#[test]
fn a_type_that_does_not_convert_exactly() {
    breaks(
        "not-exact",
        "id,price\n1,1.5\n",
        "",
        "schema:\n- { name: id, type: date }\n- { name: price, type: \"decimal(12,2)\" }\n",
    );
}

#[test]
fn a_column_that_the_contract_does_not_know() {
    breaks(
        "unknown-column",
        "id,emial,more\n1,a,b\n",
        "",
        "schema:\n- { name: id, type: int64 }\n- { name: email, type: string }\n",
    );
}

#[test]
fn a_column_with_the_name_of_the_reasons() {
    breaks(
        "reason-column",
        "id,_dativo_reason\n1,a\n",
        "",
        "schema:\n- { name: id, type: int64 }\ndataset: { unknown_columns: ignore }\n",
    );
}

#[test]
fn a_key_that_is_there_already() {
    breaks(
        "unique",
        "id,v\n1,a\n2,b\n1,c\n,d\n,e\n",
        "",
        "schema:\n- { name: id, type: int64 }\n- { name: v, type: string }\ndataset: { unique: { columns: [id] } }\n",
    );
}

#[test]
fn more_keys_than_the_memory_holds() {
    let rows: String = (0..60_000).map(|id| format!("{id}\n")).collect();
    breaks(
        "unique-memory",
        &format!("id\n{rows}"),
        "",
        "schema:\n- { name: id, type: int64 }\ndataset: { unique: { columns: [id], memory: 1MiB } }\n",
    );
}

#[test]
fn too_few_rows_and_too_many() {
    let asset = |rows: &str| {
        format!("schema:\n- {{ name: id, type: int64 }}\ndataset: {{ rows: {{ {rows} }} }}\n")
    };
    breaks("rows-min", "id\n1\n2\n", "", &asset("min: 3"));
    breaks("rows-max", "id\n1\n2\n", "", &asset("max: 1"));
}

#[test]
fn data_that_is_too_old() {
    let asset = "schema:\n- { name: at, type: timestamptz }\n- { name: id, type: int64 }\n\
                 dataset: { freshness: { column: at, max_age: 1day } }\n";
    breaks("stale", "at,id\n2013-01-01T06:00:00Z,1\n", "", asset);
    let reader = ", schema: [{ name: at, type: string }]";
    breaks("no-time", "at,id\n,1\n", reader, asset);
}

#[test]
fn a_job_without_a_place_for_bad_rows_is_refused() {
    let asset = "schema:\n- { name: id, type: int64 }\n";
    let check = |name: &str, mode: &str, from: &str, to: &str| {
        let case = Case::new(mode, "id\n1\n", "", asset);
        let job = std::fs::read_to_string(case.dir.path().join("job.yaml")).unwrap();
        assert!(job.contains(from), "{job}");
        case.dir.write("job.yaml", &job.replace(from, to));
        let output = cli(&case.dir, &["check", "job.yaml"]);
        assert_eq!(output.code, 2, "{output:?}");
        check_golden(name, &seen(&output));
    };
    check(
        "job.no-dead-letter",
        "warn",
        "dead_letter: { path: rejected }\n",
        "",
    );
    check(
        "job.strict-dead-letter",
        "strict",
        "parallelism: 1\n",
        "dead_letter: { path: rejected }\n",
    );
    check("job.no-asset", "warn", "asset_path: asset.yaml\n", "");
    check(
        "job.same-folder",
        "warn",
        "path: rejected",
        "path: ./out/rejected",
    );
    check(
        "job.no-such-asset",
        "strict",
        "asset.yaml",
        "assets/users.yaml",
    );
    check("job.broken-asset", "strict", "asset.yaml", "data.csv");
}

#[test]
fn an_error_in_the_asset_shows_its_line() {
    let case = Case::new(
        "strict",
        "id\n1\n",
        "",
        "schema:\n- { name: id, type: int46 }\n",
    );
    let output = case.run();
    assert_eq!(output.code, 2);
    check_golden("job.asset-line", &seen(&output));
}

#[test]
fn a_check_says_everything_that_keeps_a_source_from_fitting() {
    let asset =
        "schema:\n- { name: id, type: date }\n- { name: email, type: string, required: true }\n";
    let case = Case::new("strict", "id,emial\n1,a\n", "", asset);
    for verb in ["check", "plan"] {
        let output = cli(&case.dir, &[verb, "job.yaml"]);
        assert_eq!(output.code, 1, "{output:?}");
        check_golden("check-refused", &seen(&output));
    }
}
