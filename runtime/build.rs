//! Finds the built-in connectors, which are components carried inside the binary.

use std::path::Path;

const BUILT_IN: [&str; 3] = ["csv", "parquet", "discard"];

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/dist");
    let mut list = String::from("&[\n");
    for name in BUILT_IN {
        let file = dist.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.exists() {
            println!(
                "cargo::error=the built-in connector `{name}` is not built; run `make guests` first"
            );
        }
        list.push_str(&format!(
            "(\"{name}\", include_bytes!({:?})),\n",
            file.to_string_lossy()
        ));
    }
    list.push_str("]\n");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set; build with cargo");
        return;
    };
    if let Err(error) = std::fs::write(Path::new(&out).join("built_in.rs"), list) {
        println!("cargo::error=cannot write the list of built-in connectors: {error}");
    }
}
