//! Golden files: every `tests/golden/job/NAME.yaml` must be refused with just the text in `NAME.txt`.
//! `BLESS=1` writes the texts again.

use std::path::{Path, PathBuf};

use super::{LoadOptions, parse};
use crate::error::Error;
use crate::report::errors::render;

#[test]
fn bad_jobs_are_refused_with_the_place_and_the_remedy() {
    let checked = check_folder("job", |name, text| {
        match parse(Path::new(name), text, &LoadOptions::default()).whole() {
            Ok(job) => panic!("{name} was accepted: {job:?}"),
            Err(errors) => errors,
        }
    });
    assert!(checked >= 25, "only {checked} golden jobs found");
}

/// Holds the errors of each file of a folder against its text, and gives the number of files.
pub fn check_folder(folder: &str, errors_of: impl Fn(&str, &str) -> Vec<Error>) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        // Only the name, so that the texts are the same on every machine.
        let name = file.file_name().unwrap().to_str().unwrap();
        let errors = errors_of(name, &text);
        let got = errors.iter().map(render).collect::<Vec<_>>().join("\n");
        let golden = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != expected {
            wrong.push(format!("== {name}\n-- expected\n{expected}-- got\n{got}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nrun again with BLESS=1 if this is right",
        wrong.join("\n")
    );
    files.len()
}
