//! Lets the function table grow, so that the guest can try to grow it without end.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32") {
        println!("cargo::rustc-link-arg=--growable-table");
    }
}
