//! Objects under a URL or a path.

pub mod backends;
pub mod grant;
pub mod name;
