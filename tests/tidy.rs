//! The invariants of `docs/ARCHITECTURE.md`, read from the sources.

use std::path::Path;

use crate::support::repository;

/// Path below the repository and text of each Rust file of a folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = repository();
    let mut found = Vec::new();
    collect(&root.join(folder), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    });
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn collect(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["target", "dist"].contains(&name) {
            collect(&path, each);
        } else if path.is_file() {
            each(&path);
        }
    }
}

/// The code of a file: without comments, and without its unit tests.
fn code(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The runtime's files that name `word` in their code, but for those that may.
fn offenders(word: &str, may: impl Fn(&str) -> bool) -> Vec<String> {
    let files = sources("runtime/src").into_iter();
    files
        .filter(|(name, text)| {
            !may(name) && !name.ends_with("tests.rs") && code(text).contains(word)
        })
        .map(|(name, _)| name)
        .collect()
}

fn check(word: &str, may: impl Fn(&str) -> bool) {
    assert_eq!(
        offenders(word, may),
        Vec::<String>::new(),
        "`{word}` is named where it must not be"
    );
}

#[test]
fn only_the_job_layer_knows_yaml() {
    check("saphyr", |file| file.starts_with("runtime/src/job/"));
}

#[test]
fn decisions_do_no_io_and_read_no_clock() {
    let decodes = |name: &str| name.contains("/postgres/decode/") || name.contains("/json/decode/");
    let decides = |name: &str| {
        name.ends_with("/plan.rs")
            || name.ends_with("/egress.rs")
            || name.ends_with("/postgres/server.rs")
            || name.ends_with("/grant.rs")
            || name.ends_with("/pipeline/commit.rs")
            || name.ends_with("/pipeline/envelope.rs")
            || name.ends_with("/pipeline/retry.rs")
            || name.ends_with("/kms/refusal.rs")
            || name.ends_with("/iceberg/conform.rs")
            || name.ends_with("/iceberg/evolve.rs")
            || name.ends_with("/iceberg/history.rs")
            || name.ends_with("/iceberg/target.rs")
            || name.ends_with("/iceberg/types.rs")
            || name.ends_with("/http/path.rs")
            || name.ends_with("/http/rate.rs")
            || name.ends_with("/http/request.rs")
            || name.ends_with("/http/retry.rs")
            || name.ends_with("/http/client/redirect.rs")
    };
    let mut checked = 0;
    for (name, text) in sources("runtime/src")
        .into_iter()
        .filter(|(name, _)| decides(name) || decodes(name))
    {
        checked += usize::from(decides(&name));
        for word in [
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
            "SystemTime",
            "Instant",
            "async fn",
        ] {
            assert!(!code(&text).contains(word), "{name} names `{word}`");
        }
    }
    assert_eq!(checked, 22);
}

#[test]
fn contracts_do_no_io_and_read_no_clock() {
    for (name, text) in sources("runtime/src/contract") {
        for word in [
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
            "SystemTime::now",
            "Instant",
            "async fn",
            "wasmtime",
        ] {
            assert!(!code(&text).contains(word), "{name} names `{word}`");
        }
    }
}

#[test]
fn sealing_does_no_io_reads_no_clock_and_is_the_only_cryptography_of_its_kind() {
    for (name, text) in sources("runtime/src/seal") {
        for word in [
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
            "SystemTime",
            "Instant",
            "async fn",
            "wasmtime",
            "crate::",
        ] {
            assert!(!code(&text).contains(word), "{name} names `{word}`");
        }
    }
    for library in ["aws_lc_rs", "ghash::"] {
        check(library, |file| file.starts_with("runtime/src/seal/"));
    }
}

#[test]
fn an_envelope_is_opened_in_one_place() {
    check("envelope::open", |file| {
        file == "runtime/src/pipeline/commit.rs"
    });
}

#[test]
fn wasmtime_is_named_only_at_the_boundary() {
    check("wasmtime", |file| {
        file.starts_with("runtime/src/component/")
            || file.starts_with("runtime/src/data/")
            || file == "runtime/src/capabilities/mod.rs"
            || file.ends_with("/host.rs")
    });
}

/// Where drivers may be named: the client of a capability, which is a file or a folder, its backends, or what several share.
fn client(file: &str) -> bool {
    ["aws", "aws_http"]
        .iter()
        .any(|name| file == format!("runtime/src/capabilities/{name}.rs"))
        || file.ends_with("/client.rs")
        || file.contains("/client/")
        || file.contains("/backends/")
        || file.contains("/iceberg/catalog/")
        || file.contains("/iceberg/warehouse/")
}

#[test]
fn drivers_are_named_only_in_their_client() {
    for decoder in ["flate2", "bzip2::", "zstd::"] {
        check(decoder, client);
    }
    // They read what the encoder wrote, and what other writers did.
    check("use parquet::", |file| {
        let reads = |name| file.ends_with(&format!("/iceberg/data_files/{name}.rs"));
        client(file) || reads("metrics") || reads("read")
    });
    for driver in [
        "postgres_protocol",
        "reqwest",
        "rustls",
        "tokio::net",
        "aws_sdk_",
        "aws_config",
    ] {
        check(driver, |file| {
            // It listens, and reaches nothing.
            client(file)
                || (driver == "reqwest" && file == "runtime/src/telemetry/client.rs")
                || (driver == "tokio::net" && file.starts_with("runtime/src/serve/api"))
        });
    }
    check("rusqlite", |file| {
        file.starts_with("runtime/src/runs/") || file.ends_with("/iceberg/catalog/sqlite.rs")
    });
}

#[test]
fn only_the_data_layer_decodes_arrow_ipc() {
    check("ipc::reader", |file| file.starts_with("runtime/src/data/"));
    check("skip_validation", |_| false);
}

#[test]
fn only_the_report_prints_and_only_main_exits() {
    for word in ["println!", "eprintln!", "io::stdout", "io::stderr()"] {
        check(word, |file| file == "runtime/src/report.rs");
    }
    check("ExitCode", |file| file == "runtime/src/main.rs");
    // The second signal ends the process at once, whatever hangs.
    check("process::exit", |file| file == "runtime/src/cli/run.rs");
}

#[test]
fn capabilities_do_not_know_each_other() {
    let boundary = |file: &str| {
        file == "runtime/src/capabilities/mod.rs" || file == "runtime/src/component/bindings.rs"
    };
    check("capabilities::json", boundary);
    // A catalog may be a database, and so may the run store.
    check("capabilities::postgres", |file| {
        file.ends_with("/iceberg/catalog/postgres.rs")
            || file == "runtime/src/runs/postgres/connection.rs"
            || boundary(file)
    });
    check("capabilities::iceberg", |file| {
        file.starts_with("runtime/src/capabilities/iceberg/")
            || file.starts_with("runtime/src/cli/")
            || boundary(file)
    });
    // Keys are asked for, and Parquet encrypts by itself; the data files of tables are Parquet.
    check("capabilities::parquet", |file| {
        file == "runtime/src/capabilities/kms/host.rs"
            || file.starts_with("runtime/src/capabilities/iceberg/")
            || boundary(file)
    });
    check("capabilities::http", |file| {
        file.starts_with("runtime/src/capabilities/http/")
            // TLS is set up in one way.
            || file.ends_with("/iceberg/catalog/rest.rs")
            || file == "runtime/src/telemetry/client.rs"
            || file.starts_with("runtime/src/pipeline/")
            || boundary(file)
    });
    check("capabilities::kms", |file| {
        file.starts_with("runtime/src/capabilities/kms/")
            || file.starts_with("runtime/src/decrypt/")
            || file == "runtime/src/cli/decrypt.rs"
            || boundary(file)
    });
    check("capabilities::object_store", |file| {
        file.starts_with("runtime/src/capabilities/object_store/")
            || file.starts_with("runtime/src/pipeline/")
            // Verbs that a user points at objects, with no guest in between.
            || file.starts_with("runtime/src/cli/")
            || file == "runtime/src/decrypt/source.rs"
            // What went wrong with a file is said in one way.
            || file.ends_with("/iceberg/warehouse/local.rs")
            || boundary(file)
    });
}

#[test]
fn unsafe_code_stands_in_four_places() {
    check("unsafe {", |file| {
        [
            "runtime/src/capabilities/postgres/decode/text.rs",
            "runtime/src/component/cache.rs",
            "runtime/src/component/cpu.rs",
            "runtime/src/memory.rs",
        ]
        .contains(&file)
    });
}

#[test]
fn secrets_are_opened_only_where_bytes_leave() {
    check(".fill(", |file| {
        file.starts_with("runtime/src/job/") || client(file)
    });
}

#[test]
fn every_file_opens_with_what_it_owns_and_stays_readable() {
    for folder in ["runtime/src", "guests", "tests"] {
        for (name, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{name} does not say what it owns");
            let lines = code(&text).lines().count();
            let is_test = name.ends_with("tests.rs");
            assert!(is_test || lines <= 500, "{name} has {lines} lines of code");
        }
    }
}

#[test]
fn every_capability_is_an_interface_and_a_folder() {
    let root = repository();
    let world = std::fs::read_to_string(root.join("wit/world.wit")).unwrap();
    // `types` and `data` are what every capability speaks in; `log` needs no grant.
    let mut interfaces: Vec<String> = world
        .lines()
        .filter_map(|line| line.trim().strip_prefix("import ")?.strip_suffix(';'))
        .filter(|name| !["types", "data", "log"].contains(name))
        .map(|name| name.replace('-', "_"))
        .collect();
    interfaces.sort();
    let capabilities = root.join("runtime/src/capabilities");
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&capabilities).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert!(path.join("mod.rs").is_file() && path.join("host.rs").is_file());
            folders.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    folders.sort();
    assert_eq!(interfaces, folders);
    assert!(!folders.is_empty());
}

#[test]
fn a_secret_has_no_display_and_no_serialize() {
    let file = "runtime/src/job/secrets.rs";
    let text = code(&std::fs::read_to_string(repository().join(file)).unwrap());
    assert!(text.contains("struct Secret "), "{file} has no `Secret`");
    for word in ["Display for Secret", "Serialize", "Deref for Secret"] {
        assert!(!text.contains(word), "{file} names `{word}`");
    }
}

#[test]
fn the_key_of_a_mask_has_no_display_and_no_serialize() {
    let file = "runtime/src/contract/hmac.rs";
    let text = code(&std::fs::read_to_string(repository().join(file)).unwrap());
    assert!(text.contains("struct MaskKey("), "{file} has no `MaskKey`");
    for word in ["Display for", "Serialize", "Deref for"] {
        assert!(!text.contains(word), "{file} names `{word}`");
    }
}

#[test]
fn a_data_key_and_a_master_key_have_no_display_and_no_serialize() {
    for (file, key) in [
        ("runtime/src/seal/keys.rs", "struct DataKey("),
        ("runtime/src/seal/local.rs", "struct LocalKey("),
    ] {
        let text = code(&std::fs::read_to_string(repository().join(file)).unwrap());
        assert!(text.contains(key), "{file} has no `{key}`");
        for word in ["Display for", "Serialize", "Deref for", "Clone"] {
            assert!(!text.contains(word), "{file} names `{word}`");
        }
    }
}

#[test]
fn nothing_that_is_committed_knows_this_machine() {
    let root = repository();
    let clone = root.display().to_string();
    let home = std::env::var("HOME").unwrap_or_default();
    // A short path, such as `/src`, is a part of honest ones.
    let machine: Vec<String> = [(clone, 2), (home, 1)]
        .into_iter()
        .filter(|(path, least)| path.split('/').filter(|part| !part.is_empty()).count() >= *least)
        .map(|(path, _)| format!("{path}/"))
        .collect();
    let mut files = 0;
    for name in tracked() {
        let Ok(text) = std::fs::read_to_string(root.join(&name)) else {
            continue; // not text, or removed and not yet committed
        };
        files += 1;
        for path in &machine {
            assert!(!text.contains(path), "{name} names `{path}`");
        }
        if name.ends_with("Cargo.lock") {
            for source in text.lines().filter(|line| line.starts_with("source = ")) {
                assert_eq!(
                    source, "source = \"registry+https://github.com/rust-lang/crates.io-index\"",
                    "{name}"
                );
            }
        }
        let is_pip = name.ends_with("requirements.txt");
        assert!(
            !is_pip || !text.contains("://") && !text.contains("--"),
            "{name} names an index"
        );
        let is_cargo = name.ends_with(".cargo/config.toml");
        assert!(
            !is_cargo || !text.contains("[source"),
            "{name} names a registry"
        );
    }
    assert!(files > 50, "only {files} files are tracked");
}

/// The files that git tracks.
fn tracked() -> Vec<String> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).unwrap();
    names.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn one_arrow_major_is_in_the_tree() {
    for lock in ["Cargo.lock", "guests/Cargo.lock"] {
        let lock = std::fs::read_to_string(repository().join(lock)).unwrap();
        assert_eq!(lock.matches("name = \"arrow-array\"").count(), 1);
    }
}
