//! HTTP: which requests a component may send, and sending them.
//!
//! Grants name methods, origins and paths (`GET https://api.example/v1/*`). The threats it bounds: a request to a host
//! that the job does not name, by a name, by an address behind a name or by a redirect; a secret that a component sees
//! or sends elsewhere; an answer without end; an API that is asked more often than it allows.

mod client;
mod grant;
mod host;
mod path;
mod rate;
mod request;
mod retry;
mod usage;

pub use client::tls;
pub use grant::shown;
pub use host::HostClient;
pub use usage::{Usage, UsageReport};

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::job::{HttpSettings, Secrets};
use client::Concealer;
use grant::Grant;

/// What one component may reach.
pub struct Access {
    grant: Grant,
    secrets: Secrets,
    /// Hides them in answers.
    concealer: Concealer,
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
            concealer: Concealer::new(secrets)
                .map_err(|failure| Error::internal(failure.message))?,
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
            concealer: Concealer::default(),
            tenant: String::new(),
            settings: HttpSettings::default(),
            usage: Arc::default(),
        }
    }
}
