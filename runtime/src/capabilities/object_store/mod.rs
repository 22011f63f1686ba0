//! Objects under URLs and paths: what a component may read and write outside the run.
//!
//! Grants name an access and a pattern (`read data/*.csv`). The threats it bounds: a name that leaves
//! the grant (`..`, encodings, symbolic links), a staged token that was forged, an object that is
//! visible before its run commits.

mod backends;
mod grant;
mod host;

use std::path::PathBuf;
use std::sync::Arc;

pub use host::{HostByteStream, HostUpload};

use crate::error::{Error, Kind, Result};
use crate::job::Secrets;
use grant::Grant;

/// What one component may reach, and with whose secrets.
pub struct Access {
    grants: Vec<Grant>,
    /// Relative names are resolved here: the working directory of the run.
    folder: PathBuf,
    secrets: Arc<Secrets>,
}

impl Access {
    /// From the lines of a plan: `read data/*.csv`.
    pub fn new<'a>(lines: impl Iterator<Item = &'a str>, secrets: Arc<Secrets>) -> Result<Self> {
        let folder = std::env::current_dir().map_err(|error| {
            Error::new(Kind::JobInvalid, "the working directory cannot be read").caused_by(error)
        })?;
        let grants = lines.map(|line| Grant::parse(line, &folder)).collect::<Result<_, _>>()?;
        Ok(Self { grants, folder, secrets })
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self { grants: Vec::new(), folder: PathBuf::new(), secrets: Arc::default() }
    }
}
