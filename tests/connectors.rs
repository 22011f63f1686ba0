//! The plugins directory: what is found there is run, and what cannot run is refused with the reason.

use std::path::Path;

use serde_json::Value;

use crate::support::{TestDir, cli, test_guests};

/// The bytes of a healthy test component.
fn component() -> Vec<u8> {
    std::fs::read(test_guests().join("hostile.wasm")).unwrap()
}

/// `bytes` with every `from` replaced by `to`, which must be as long.
fn patched(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut patched = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = patched[at..]
        .windows(from.len())
        .position(|w| w == from.as_bytes())
    {
        patched[at + found..at + found + to.len()].copy_from_slice(to.as_bytes());
        at += found + to.len();
    }
    patched
}

fn job(implementation: &str) -> String {
    format!(
        "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: {implementation}, \
         config: {{ attack: none }} }} }}\n\
         target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
    )
}

fn run(dir: &TestDir, implementation: &str) -> (i32, Value) {
    let file = dir.write("job.yaml", &job(implementation));
    let output = cli(dir, &["run", file.to_str().unwrap(), "--json"]);
    (output.code, output.json())
}

#[test]
fn runs_a_component_that_was_dropped_into_the_plugins_directory() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugins/orders.wasm"), component()).unwrap();
    let (code, report) = run(&dir, "orders");
    assert_eq!((code, &report["rows_written"]), (0, &30.into()), "{report}");
}

#[test]
fn runs_a_component_by_its_path() {
    let dir = TestDir::new();
    std::fs::write(dir.path().join("orders.wasm"), component()).unwrap();
    let (code, report) = run(&dir, "./orders.wasm");
    assert_eq!((code, &report["rows_written"]), (0, &30.into()), "{report}");
}

#[test]
fn refuses_what_is_no_component_with_the_reason() {
    let healthy = component();
    let cases: [(&str, Vec<u8>, &str, &str); 6] = [
        (
            "text",
            b"hello".to_vec(),
            "component_invalid",
            "not a valid WebAssembly component",
        ),
        (
            "core",
            b"\0asm\x01\0\0\0".to_vec(),
            "component_invalid",
            "not a valid WebAssembly component",
        ),
        (
            "cut",
            healthy[..healthy.len() / 2].to_vec(),
            "component_invalid",
            "not a valid",
        ),
        (
            "newer",
            patched(&healthy, "@0.1.0", "@9.1.0"),
            "component_invalid",
            "made for contract 9.1.0; this runtime has 0.1.0",
        ),
        (
            "unknown-import",
            patched(&healthy, "dativo:connector/log@", "dativo:connector/lug@"),
            "component_invalid",
            "`dativo:connector/lug@0.1.0`, which this runtime does not have",
        ),
        (
            "no-role",
            patched(
                &healthy,
                "dativo:connector/reader@",
                "dativo:connector/raeder@",
            ),
            "component_invalid",
            "neither `reader` nor `writer`",
        ),
    ];
    for (name, bytes, kind, text) in cases {
        let dir = TestDir::new();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        std::fs::write(dir.path().join(format!("plugins/{name}.wasm")), bytes).unwrap();
        let (code, report) = run(&dir, name);
        let error = &report["errors"][0];
        assert_eq!(code, 2, "{name}: {report}");
        assert_eq!(error["kind"], kind, "{name}: {report}");
        assert!(
            error["message"].as_str().unwrap().contains(text),
            "{name}: {report}"
        );
    }
}

#[test]
fn names_what_is_there_when_a_connector_is_unknown() {
    let dir = TestDir::new();
    let (code, report) = run(&dir, "nowhere");
    assert_eq!(code, 2);
    let error = &report["errors"][0];
    assert_eq!(error["message"], "there is no connector `nowhere`");
    assert!(error["hint"].as_str().unwrap().contains(
        "built in are `csv`, `postgres`, `rest`, `parquet`, `encrypted-s3`, `iceberg`, `discard`"
    ));
    assert_eq!(error["location"]["line"], 2);
}

#[test]
fn a_component_in_the_wrong_role_is_refused() {
    let dir = TestDir::new();
    let text = "tenant_id: t\nsource: { reader: { type: custom, implementation: ./x.wasm, config: { attack: none } } }\n\
                target: { writer: { type: custom, implementation: ./x.wasm } }\n";
    std::fs::write(dir.path().join("x.wasm"), component()).unwrap();
    let file = dir.write("job.yaml", text);
    let output = cli(&dir, &["run", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.code, 2);
    let message = output.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(message, "`x` is a reader, and the job uses it as a writer");
}

#[test]
fn a_file_with_the_name_of_a_built_in_connector_is_reported_and_never_preferred() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugins/discard.wasm"), b"hello").unwrap();
    std::fs::write(dir.path().join("plugins/orders.wasm"), component()).unwrap();
    let (code, report) = run(&dir, "orders");
    assert_eq!(code, 0, "{report}");
    let listed = cli(&dir, &["plugins", "--json"]).json();
    let shadowed: Vec<&Value> = listed["connectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["origin"] == "plugins/discard.wasm")
        .collect();
    assert_eq!(shadowed.len(), 1, "{listed}");
    assert_eq!(shadowed[0]["usable"], false);
}

#[test]
fn a_component_that_uses_storage_needs_a_grant() {
    let dir = TestDir::new();
    std::fs::write(dir.path().join("data.csv"), "n\n1\n").unwrap();
    let text = "tenant_id: t\nsource: { reader: { type: custom, implementation: csv, \
                config: { file_path: data.csv } } }\n\
                target: { writer: { type: custom, implementation: ./bare.wasm, config: { path: out } } }\n";
    std::fs::write(dir.path().join("bare.wasm"), bare_writer()).unwrap();
    let file = dir.write("job.yaml", text);
    let output = cli(&dir, &["run", file.to_str().unwrap(), "--json"]);
    let error = output.json()["errors"][0].clone();
    assert_eq!(
        (output.code, &error["kind"]),
        (2, &"grant_missing".into()),
        "{error}"
    );
    assert_eq!(
        error["hint"],
        "add `grants: { object-store: [...] }` under `target.writer`"
    );
}

/// The Parquet writer without the keyword that derives its grants from its config.
fn bare_writer() -> Vec<u8> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/dist/parquet.wasm");
    patched(
        &std::fs::read(built_in).unwrap(),
        "x-dativo-grants",
        "x-nothing-grant",
    )
}

#[test]
fn inspect_tells_kind_version_config_and_imports() {
    let dir = TestDir::new();
    for (name, kind) in [
        ("csv", "reader"),
        ("parquet", "writer"),
        ("discard", "writer"),
    ] {
        let shown = cli(&dir, &["inspect", name, "--json"]).json();
        assert_eq!(shown["kind"], kind, "{shown}");
        assert_eq!(shown["contract"], "0.1.0");
        assert_eq!(shown["config_schema"]["type"], "object");
        assert!(shown["imports"].as_array().unwrap().len() > 1);
    }
}
