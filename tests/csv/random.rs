//! Random tables that Python's `csv` module wrote are read cell by cell as it reads them itself.

use super::{job_text, tables};
use crate::support::{TestDir, cli, python, soak};

/// How many tables of a style are made, and from what. A soak makes many more of them, and others each time.
fn count_and_seed() -> (usize, u128) {
    if !soak() {
        return (40, 1);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (1000, now.unwrap().as_millis())
}

fn check(style: &str) {
    let (count, seed) = count_and_seed();
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    let folder = dir.path().to_str().unwrap();
    let made = python(
        "random_csv.py",
        &[folder, &seed.to_string(), &count.to_string(), style],
    );
    let made = made.as_array().unwrap();
    assert_eq!(made.len(), count);
    for (number, table) in made.iter().enumerate() {
        // JSON is YAML.
        let config = table["config"].to_string();
        let reader = &config[1..config.len() - 1];
        let text = job_text(&number.to_string(), reader, 1 + number as u64 % 4);
        dir.write(&format!("jobs/{number}.yaml"), &text);
    }
    let output = cli(&dir, &["run", "jobs", "--json"]);
    let who =
        |number: usize| format!("table {number} of `random_csv.py FOLDER {seed} {count} {style}`");
    let report = output.json();
    for run in report["runs"].as_array().unwrap() {
        let number = run["job"].as_str().unwrap().parse().unwrap();
        assert!(run["error"].is_null(), "{}: {}", who(number), run["error"]);
    }
    assert_eq!(
        output.code, 0,
        "{style}, seed {seed}: {}",
        report["refused"]
    );
    let folders: Vec<_> = (0..count)
        .map(|number| dir.path().join("out").join(number.to_string()))
        .collect();
    let mut cells = 0;
    for (number, (table, found)) in made.iter().zip(tables(&folders)).enumerate() {
        let (expected, found) = (&table["rows"], &found["rows"]);
        let (expected, found) = (expected.as_array().unwrap(), found.as_array().unwrap());
        assert_eq!(found.len(), expected.len(), "rows of {}", who(number));
        for (row, (expected, found)) in expected.iter().zip(found).enumerate() {
            assert_eq!(found, expected, "row {row} of {}", who(number));
            cells += expected.as_array().unwrap().len();
        }
    }
    assert!(cells > 10 * count, "only {cells} cells");
}

#[test]
fn doubled_quotes() {
    check("quoted");
}

#[test]
fn no_quotes() {
    check("bare");
}

#[test]
fn escapes() {
    check("escaped");
}

#[test]
fn latin_1() {
    check("latin-1");
}
