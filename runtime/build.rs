//! Says what to do where the built-in connectors, which are carried inside the binary, are not built.

use std::path::Path;

fn main() {
    // Asked at run time: a target folder that two clones share keeps this program for both.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let dist = Path::new(&package).join("../guests/dist");
    for name in [
        "csv",
        "postgres",
        "rest",
        "parquet",
        "encrypted-s3",
        "iceberg",
        "discard",
    ] {
        let file = dist.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.exists() {
            println!(
                "cargo::error=the built-in connector `{name}` is not built; run `make guests` first"
            );
        }
    }
}
