//! PostgreSQL servers: which a component may connect to, and rows decoded to Arrow in the host.
//!
//! Grants name servers and databases (`connect db.example:5432/app`). The threats it bounds: a server that the job does
//! not name, reached by a name, by an address behind a name, or with TLS turned off; a password that a component
//! sees or sends elsewhere; a statement that writes, or that leaves the transaction it was given.

mod client;
mod decode;
mod grant;
mod host;
mod server;

// Used without components by `examples/postgres_native.rs`.
pub use client::{Connection, Reading};
pub use client::{Fault, Writer};
pub use grant::shown;
pub use host::{HostConnection, HostRows};

use crate::error::Result;
use crate::job::Secrets;
use grant::Grant;

/// What one component may reach.
pub struct Access {
    grant: Grant,
    secrets: Secrets,
    /// Connections are pooled for each tenant.
    tenant: String,
}

impl Access {
    /// From the lines of a plan: `connect db.example:5432/app`.
    pub fn new<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
        tenant: &str,
    ) -> Result<Self> {
        Ok(Self {
            grant: Grant::parse(lines)?,
            secrets: secrets.clone(),
            tenant: tenant.to_owned(),
        })
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self {
            grant: Grant::default(),
            secrets: Secrets::default(),
            tenant: String::new(),
        }
    }
}
