//! Grants for HTTP: which requests a guest may send. Pure: no network, no wasmtime.

use crate::error::Error;

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone, Default)]
pub struct Grant(Vec<String>);

impl Grant {
    pub fn parse<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        Ok(Self(rules.map(str::to_owned).collect()))
    }
}
