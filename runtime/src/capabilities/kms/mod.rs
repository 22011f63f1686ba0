//! Master keys of a key service, under which a component has files sealed.
//!
//! Grants name keys (`generate arn:aws:kms:…:key/…`), each one exactly. The threats it bounds: a component that sees a key,
//! that has files sealed under a key which the job does not name, or for another tenant, job or run than its own. A data
//! key seals one file, and what it is bound to comes from the run and never from the guest.

mod client;
mod grant;
mod host;
mod key_file;
mod refusal;

pub use client::KeyService;
pub use grant::shown;
pub use host::HostSealer;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::capabilities::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::job::{AwsSettings, Secrets};
use grant::Grant;

/// What one component may reach.
pub struct Access {
    grant: Grant,
    service: KeyService,
    has_warned: AtomicBool,
}

impl Access {
    /// From the lines of a plan: `generate alias/lake`.
    pub fn new<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
        aws: &AwsSettings,
    ) -> Result<Self> {
        let lines: Vec<&str> = lines.collect();
        // A key's name stands in messages, reports and the metadata of objects, where no secret may.
        if let Some(line) = lines.iter().find(|line| secrets.mask(line) != **line) {
            let shown = secrets.mask(line);
            return Err(Error::new(
                Kind::JobInvalid,
                format!("the key in `{shown}` holds a secret"),
            )
            .hint("write the name of the key as it is; names appear in reports and logs"));
        }
        Ok(Self {
            grant: Grant::parse(lines.into_iter())?,
            service: KeyService::new(Aws::new(aws, secrets)),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self {
            grant: Grant::default(),
            service: KeyService::new(Aws::new(&AwsSettings::default(), &Secrets::default())),
            has_warned: AtomicBool::new(false),
        }
    }

    /// Whether nobody was warned yet: true once.
    fn is_to_warn(&self) -> bool {
        !self.has_warned.swap(true, Ordering::Relaxed)
    }
}
