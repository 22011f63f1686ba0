//! Golden files: every `tests/golden/job/NAME.yaml` must be refused with just the text in `NAME.txt`.
//! `BLESS=1` writes the texts again.

use std::path::{Path, PathBuf};

use super::{LoadOptions, parse};
use crate::report::errors::render;

#[test]
fn bad_jobs_are_refused_with_the_place_and_the_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/job");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(files.len() >= 25, "only {} golden jobs found", files.len());

    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // Only the name, so that the texts are the same on every machine.
        let name = Path::new(file.file_name().unwrap());
        let got = match parse(name, &text, &LoadOptions::default()).whole() {
            Ok(job) => panic!("{} was accepted: {job:?}", name.display()),
            Err(errors) => errors.iter().map(render).collect::<Vec<_>>().join("\n"),
        };
        let golden = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != expected {
            wrong.push(format!(
                "== {}\n-- expected\n{expected}-- got\n{got}",
                name.display()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nrun again with BLESS=1 if this is right",
        wrong.join("\n")
    );
}
