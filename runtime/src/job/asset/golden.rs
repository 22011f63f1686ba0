//! Golden files: every `tests/golden/asset/NAME.yaml` must be refused with just the text in `NAME.txt`.
//! `BLESS=1` writes the texts again.

use std::path::Path;

use super::super::golden::check_folder;
use super::super::secrets::Resolver;
use super::parse;

#[test]
fn bad_assets_are_refused_with_the_place_and_the_remedy() {
    let checked = check_folder("asset", |name, text| {
        let mut problems = Vec::new();
        let mut resolver = Resolver::new(None, "acme");
        let asset = parse(Path::new(name), text, &mut resolver, &mut problems);
        assert!(!problems.is_empty(), "{name} was accepted: {asset:?}");
        super::super::sort(&mut problems);
        problems
    });
    assert!(checked >= 15, "only {checked} golden assets found");
}

#[test]
fn a_whole_asset_is_read() {
    let text = "name: users\nversion: 1.0.0\nschema:\n\
                - { name: id, type: int64, required: true }\n\
                - { name: email, type: string, classification: pii, description: to write to }\n\
                - { name: seen_at, type: \"timestamp(us, UTC)\", classification: phi }\n\
                - { name: note, type: json, classification: internal }\n\
                classifications:\n  pii: { mask: hash, key: \"${SECRET:CARGO_PKG_NAME}\" }\n  phi: { mask: null }\n  other: { mask: redact }\n\
                dataset:\n  required_columns: [email]\n  unique: { columns: [id, email] }\n  rows: { min: 1, max: 1 }\n\
                \x20 freshness: { column: seen_at, max_age: 1day }\n";
    let mut problems = Vec::new();
    let mut resolver = Resolver::new(None, "acme");
    let draft = parse(Path::new("users.yaml"), text, &mut resolver, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    let contract = draft.unwrap().finish(&resolver.finish());
    let masks: Vec<Option<&str>> = contract
        .columns
        .iter()
        .map(|column| column.mask.as_ref().map(|mask| mask.describe()))
        .collect();
    assert_eq!(masks, [None, Some("hash with a key"), Some("null"), None]);
    assert_eq!(contract.dataset.unique.unwrap().memory_bytes, 256 << 20);
    assert_eq!(contract.columns[1].at.as_ref().unwrap().line, 5);
    // The key is there, and nothing that could be printed has it.
    assert!(!format!("{:?}", contract.columns).contains(env!("CARGO_PKG_NAME")));
}
