//! JSON: bodies parsed once, records decoded to Arrow in the host.
//!
//! Needs no grant: it reaches nothing. The threats it bounds: a body that nests, repeats or grows until the host runs
//! out of stack or memory, and a value that arrives as another one.

mod decode;
mod host;

pub use host::HostDocument;
