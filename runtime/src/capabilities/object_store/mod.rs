//! Objects under URLs and paths: what a component may read and write outside the run.
//!
//! Grants name an access and a pattern (`read data/*.csv`). The threats it bounds: a name that leaves
//! the grant (`..`, encodings, symbolic links), a staged token that was forged, an object that is
//! visible before its run commits.

mod backends;
mod grant;
mod host;
mod name;

pub use backends::Leftover;
pub use backends::local::file_failure;
pub use backends::s3::Fixed;
pub use host::{HostByteStream, HostUpload};

use std::sync::Arc;

use tokio::sync::RwLock;

use crate::capabilities::aws::Aws;
use crate::capabilities::failure::Failure;
use crate::error::{Error, Kind, Result};
use crate::job::{AwsSettings, Secrets};
use crate::staging::StagedBytes;
use grant::Grant;

/// What one component may reach.
pub struct Access {
    grant: Arc<Grant>,
    aws: Arc<Aws>,
    staged: Arc<StagedBytes>,
    /// Read while an upload is created; see [`host`].
    creating: Arc<RwLock<()>>,
}

impl Access {
    /// From the lines of a plan: `read data/*.csv`. Relative names begin at the working directory.
    pub fn new<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
        aws: &AwsSettings,
    ) -> Result<Self> {
        let folder = std::env::current_dir().map_err(|error| {
            Error::new(Kind::JobInvalid, "the working directory cannot be read").caused_by(error)
        })?;
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        // A path stands in messages, reports and manifests, where no secret may.
        if let Some(line) = lines.iter().find(|line| secrets.mask(line) != **line) {
            let shown = secrets.mask(line);
            return Err(Error::new(
                Kind::JobInvalid,
                format!("the path in `{shown}` holds a secret"),
            )
            .hint("write the path as it is; paths appear in reports and logs"));
        }
        Ok(Self {
            grant: Arc::new(Grant::parse(&lines, &folder)?),
            aws: Aws::new(aws, secrets),
            staged: StagedBytes::new(&aws.tenant),
            creating: Arc::default(),
        })
    }

    /// What runs left in the folders that may be written, and how many uploads there are not this program's.
    pub async fn leftovers(&self) -> Result<(Vec<Leftover>, u64), Failure> {
        let (mut found, mut others) = (Vec::new(), 0);
        for root in self.grant.all_roots(grant::Access::Write) {
            let (more, other) = backends::leftovers(&self.aws, &self.grant, root).await?;
            found.extend(more);
            others += other;
        }
        Ok((found, others))
    }

    pub async fn discard(&self, leftover: &Leftover) -> Result<(), Failure> {
        let tokens = vec![leftover.token.clone()];
        backends::each(
            backends::Verb::Discard,
            &self.aws,
            &self.grant,
            tokens,
            || (),
        )
        .await
    }

    /// A whole object of at most 64 MiB, for a user at the command line.
    pub async fn read(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let place = self.grant.object(grant::Access::Read, url)?;
        backends::get(&self.aws, place, 0, backends::MAX_GET_BYTES).await
    }

    /// An object of S3, to be read in ranges as long as it is the same.
    pub async fn open(&self, url: &str) -> Result<Fixed, Failure> {
        let place = self.grant.object(grant::Access::Read, url)?;
        Fixed::open(&self.aws, place).await
    }

    /// Length and SHA-256, in lowercase hex, of an object.
    pub async fn digest(&self, url: &str) -> Result<(u64, String), Failure> {
        let place = self.grant.object(grant::Access::Read, url)?;
        backends::digest(&self.aws, place).await
    }

    /// Reaches nothing.
    pub fn none() -> Self {
        Self {
            grant: Arc::new(Grant::none()),
            aws: Aws::new(&AwsSettings::default(), &Secrets::default()),
            staged: StagedBytes::new(""),
            creating: Arc::default(),
        }
    }
}
