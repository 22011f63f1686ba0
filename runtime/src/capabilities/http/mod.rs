//! HTTP: which requests a component may send, and sending them.
//!
//! Grants name methods, origins and paths (`GET https://api.example/v1/*`). The threats it bounds: a request to a host
//! that the job does not name, by a name, by an address behind a name or by a redirect; a secret that a component sees
//! or sends elsewhere; an answer without end; an API that is asked more often than it allows.

mod grant;
mod host;
mod usage;

pub use host::HostClient;
pub use usage::{Usage, UsageReport};

use std::sync::Arc;

use crate::error::Result;
use crate::job::{HttpSettings, Secrets};
use grant::Grant;

/// What one component may reach.
pub struct Access {
    grant: Grant,
    secrets: Secrets,
    /// Connections, rates and tokens are kept for each tenant.
    tenant: String,
    settings: HttpSettings,
    pub usage: Arc<Usage>,
}

impl Access {
    /// From the lines of a plan: `GET https://api.example/v1/*`.
    pub fn new<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
        tenant: &str,
        settings: &HttpSettings,
    ) -> Result<Self> {
        Ok(Self {
            grant: Grant::parse(lines)?,
            secrets: secrets.clone(),
            tenant: tenant.to_owned(),
            settings: settings.clone(),
            usage: Arc::default(),
        })
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self {
            grant: Grant::default(),
            secrets: Secrets::default(),
            tenant: String::new(),
            settings: HttpSettings::default(),
            usage: Arc::default(),
        }
    }
}
