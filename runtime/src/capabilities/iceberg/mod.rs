//! Iceberg tables: data files written by the host, and snapshots that hold the state of the run.
//!
//! Grants name tables (`write s3://lake/acme sales.orders`) and catalogs (`catalog https://catalog.example`). The threats it
//! bounds: a table, a catalog or a folder that the job does not name; a password of a catalog that goes elsewhere; files
//! that another run wrote; a commit in the name of another tenant, job or run. Who commits comes from the run and never
//! from the guest, and a commit takes files from the folder of its run alone.

mod catalog;
mod commit;
mod conform;
mod data_files;
mod evolve;
mod grant;
mod history;
mod host;
mod receipt;
mod retry;
mod snapshot;
mod table;
mod target;
mod types;
mod upsert;
mod verify;
mod warehouse;

pub use grant::shown;
pub use host::HostDataFiles;

use std::sync::Arc;

use crate::capabilities::aws::Aws;
use crate::capabilities::failure::Failure;
use crate::error::Result;
use crate::job::{AwsSettings, Secrets};
use crate::staging::StagedBytes;
use grant::Grant;
use warehouse::Warehouse;

/// What one component may reach.
pub struct Access {
    grant: Grant,
    secrets: Secrets,
    aws: Arc<Aws>,
    staged: Arc<StagedBytes>,
}

impl Access {
    /// From the lines of a plan: `write s3://lake/acme sales.orders`, `catalog https://catalog.example`.
    pub fn new<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
        aws: &AwsSettings,
    ) -> Result<Self> {
        Ok(Self {
            grant: Grant::parse(lines, secrets)?,
            secrets: secrets.clone(),
            aws: Aws::new(aws, secrets),
            staged: StagedBytes::new(&aws.tenant),
        })
    }

    fn warehouse(&self, root: &str) -> Result<Warehouse, Failure> {
        Warehouse::new(root, self.aws.clone(), self.staged.clone())
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self {
            grant: Grant::default(),
            secrets: Secrets::default(),
            aws: Aws::new(&AwsSettings::default(), &Secrets::default()),
            staged: StagedBytes::new(""),
        }
    }
}
