//! Lets the function table grow, so that the guest can try to grow it without end.

fn main() {
    println!("cargo::rustc-link-arg=--growable-table");
}
