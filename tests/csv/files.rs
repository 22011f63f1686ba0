//! Several files in one job: patterns, columns by name, and what the next run reads.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{error, run, shown, tables};
use crate::support::TestDir;

/// A folder with these files in it.
fn folder(files: &[(&str, &str)]) -> TestDir {
    let dir = TestDir::new();
    for (name, text) in files {
        put(&dir, name, text);
    }
    dir
}

fn put(dir: &TestDir, name: &str, text: &str) {
    let file = dir.path().join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// The rows that are at the target after another run, which has read `count` of them.
fn after_run(dir: &TestDir, reader: &str, count: u64) -> String {
    let output = run(dir, "job", reader);
    assert_eq!(error(&output), None, "{reader}");
    assert_eq!(output.json()["rows_read"], count, "{reader}");
    shown(&tables(&[dir.path().join("out/job")])[0])
}

#[test]
fn files_with_other_columns_are_refused_by_name() {
    let check = |other: &str, reader: &str, expected: &str, expected_hint: &str| {
        let dir = folder(&[("data/a.csv", "x,y\n1,2\n"), ("data/b.csv", other)]);
        let reader = format!("file_path: \"data/*.csv\"{reader}");
        let (message, hint) = error(&run(&dir, "job", &reader)).expect(expected);
        assert_eq!(message, expected);
        assert!(hint.contains(expected_hint), "{expected}: {hint}");
        assert!(!dir.path().join("out/job").exists(), "{expected}");
    };
    let same = "all files of a job have the same columns";
    check(
        "x\n3\n",
        "",
        "`data/b.csv` lacks column `y`, which is in `data/a.csv`",
        same,
    );
    check(
        "y,z,x\n3,4,5\n",
        "",
        "`data/b.csv` has column `z`, which is not in `data/a.csv`",
        same,
    );
    check(
        "x,Y\n3,4\n",
        "",
        "`data/b.csv` lacks column `y`, which is in `data/a.csv`",
        same,
    );
    check(
        "3,4,5\n",
        ", header: false",
        "`data/b.csv` has 3 columns, and there are 2 in `data/a.csv`",
        same,
    );
    check(
        "y,x\n3,word\n",
        ", sample_rows: 1",
        "`data/b.csv` line 2, column 2 `x`: `word` is not an int64",
        "raise `sample_rows`",
    );
    check(
        "x,y\n3,\"4\n",
        ", schema: [{name: x, type: int64}, {name: y, type: int64}]",
        "`data/b.csv` line 2, column 2: the quote that opens here never closes",
        "`quote: \"\"`",
    );
}

#[test]
fn a_pattern_without_a_file_is_refused() {
    let dir = folder(&[("data/a.txt", "x\n1\n")]);
    let (message, hint) = error(&run(&dir, "job", "file_path: \"data/*.csv\"")).unwrap();
    assert_eq!(message, "no file matches `data/*.csv`");
    assert!(!hint.is_empty());
}

#[test]
fn a_pattern_reads_its_files_in_order_of_name() {
    let files = [
        ("data/b.csv", "y,x\nb1,1\nb2,2\n"),
        ("data/a.csv", "x,y\n3,a1\n"),
        ("data/c.csv", "x,y\n"),
        ("data/B.csv", "x,y\n4,\"B\n1\""),
        ("data/other.txt", "neither,of\nthem\n"),
        ("data/deep/d.csv", "x,y\n5,d1\n"),
        ("data/deep/er/a.csv", "y,x\ne1,6\n"),
    ];
    let check = |pattern: &str, rows: &[&str]| {
        let dir = folder(&files);
        let found = after_run(
            &dir,
            &format!("file_path: \"{pattern}\""),
            rows.len() as u64,
        );
        let expected = [&["x:int64|y:string"], rows].concat().join("\n");
        assert_eq!(found, expected, "{pattern}");
    };
    check("data/*.csv", &["4|B\\n1", "3|a1", "1|b1", "2|b2"]);
    check("data/a*.csv", &["3|a1"]);
    check("data/deep/*.csv", &["5|d1"]);
    check(
        "data/**/*.csv",
        &["4|B\\n1", "3|a1", "1|b1", "2|b2", "5|d1", "6|e1"],
    );
}

#[test]
fn compressed_and_plain_files_go_together() {
    let dir = folder(&[("data/a.csv", "x,y\n1,a\n"), ("data/c.csv", "x,y\n3,c\n")]);
    put(&dir, "data/b.csv", "y,x\nb,2\n");
    let gzip = std::process::Command::new("gzip")
        .arg("data/b.csv")
        .current_dir(dir.path())
        .status();
    assert!(gzip.unwrap().success());
    let found = after_run(&dir, "file_path: \"data/*\"", 3);
    assert_eq!(found, "x:int64|y:string\n1|a\n2|b\n3|c");
}

/// A time of modification that no run has seen.
fn touch(file: &Path) {
    let later = SystemTime::now() + Duration::from_secs(5);
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_modified(later).unwrap();
}

#[test]
fn the_next_run_reads_what_is_new_or_changed() {
    let dir = folder(&[
        ("data/a.csv", "n\n1\n"),
        ("data/b.csv", "n\n2\n3\n"),
        ("data/c.csv", "n\n4\n"),
    ]);
    let reader = "file_path: \"data/*.csv\"";
    let mut expected = "n:int64\n1\n2\n3\n4".to_owned();
    assert_eq!(after_run(&dir, reader, 4), expected);
    assert_eq!(after_run(&dir, reader, 0), expected, "nothing is new");

    put(&dir, "data/aa.csv", "n\n5\n");
    expected.push_str("\n5");
    assert_eq!(after_run(&dir, reader, 1), expected, "a new file");

    put(&dir, "data/b.csv", "n\n2\n3\n6\n");
    expected.push_str("\n2\n3\n6");
    assert_eq!(after_run(&dir, reader, 3), expected, "a longer file");

    touch(&dir.path().join("data/c.csv"));
    expected.push_str("\n4");
    assert_eq!(after_run(&dir, reader, 1), expected, "a newer file");

    std::fs::remove_file(dir.path().join("data/a.csv")).unwrap();
    assert_eq!(after_run(&dir, reader, 0), expected, "a file is gone");

    put(&dir, "data/a.csv", "n\n1\n7\n");
    expected.push_str("\n1\n7");
    assert_eq!(
        after_run(&dir, reader, 2),
        expected,
        "it is back, and longer"
    );
    assert_eq!(after_run(&dir, reader, 0), expected, "nothing is new again");

    let all = format!("{reader}, incremental: false");
    expected.push_str("\n1\n7\n5\n2\n3\n6\n4");
    assert_eq!(after_run(&dir, &all, 7), expected, "asked for everything");
}

/// A type that was inferred from the files of one run holds for those of the next.
#[test]
fn a_new_file_keeps_the_types_of_those_before() {
    let dir = folder(&[("data/a.csv", "n,s\n1,x\n")]);
    let reader = "file_path: \"data/*.csv\"";
    after_run(&dir, reader, 1);
    put(&dir, "data/b.csv", "n,s\n2,7\n");
    assert_eq!(after_run(&dir, reader, 1), "n:int64|s:string\n1|x\n2|7");
    put(&dir, "data/c.csv", "n,s\nword,y\n");
    let (message, _) = error(&run(&dir, "job", reader)).expect("another type");
    assert_eq!(
        message,
        "`data/c.csv` line 2, column 1 `n`: `word` is not an int64"
    );
}

/// What holds within a run holds from run to run: the target has one set of columns.
#[test]
fn a_new_file_has_the_columns_of_those_before() {
    let check = |text: &str, expected: &str| {
        let dir = folder(&[("data/a.csv", "n,s\n1,x\n")]);
        let reader = "file_path: \"data/*.csv\"";
        after_run(&dir, reader, 1);
        put(&dir, "data/b.csv", text);
        let output = run(&dir, "job", reader);
        assert!(output.code != 0, "{text:?} was read: {}", output.stdout);
        let (message, _) = error(&output).unwrap();
        assert!(
            message.contains("`data/b.csv`") && message.contains(expected),
            "{message}"
        );
    };
    check("n\n2\n", "column `s`");
    check("s,n,more\ny,2,z\n", "column `more`");
}
