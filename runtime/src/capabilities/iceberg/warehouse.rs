//! The objects of a warehouse, in a local folder or under a prefix of an S3 bucket.
//!
//! Owns the rule that nothing outside the root is touched. Knows no tables, no catalogs and no components. Names are
//! raw text, never percent-encoded: other programs that read the same tables do not decode them.

mod local;
mod s3;
mod upload;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::capabilities::aws::Aws;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::staging::StagedBytes;

pub use upload::{Upload, Written};

/// Largest object that is read whole. Metadata and manifests are far below; above it, memory would be at stake.
pub const MAX_READ_BYTES: u64 = 1 << 30;

/// Most objects that one listing gives. Each takes some 200 bytes of memory.
const MAX_LISTED: usize = 2_000_000;

#[derive(Clone)]
pub struct Warehouse {
    /// Without a slash at its end.
    root: String,
    aws: Arc<Aws>,
    staged: Arc<StagedBytes>,
}

/// Where an object is. Only [`Warehouse::place`] makes one, so that it is below the root.
#[derive(Clone)]
enum Place {
    Local(PathBuf),
    S3(Object),
}

/// An object of a bucket, and its URL for messages.
#[derive(Clone)]
struct Object {
    bucket: String,
    key: String,
    url: String,
}

impl Warehouse {
    /// `root` is `s3://bucket/prefix`, `file:///folder`, or a path, which is taken from the current folder.
    pub fn new(root: &str, aws: Arc<Aws>, staged: Arc<StagedBytes>) -> Result<Self> {
        let root = match bucket_part(root) {
            Some(rest) => format!("s3://{}", bucket_root(root, rest)?),
            None => format!("file://{}", local_root(root)?),
        };
        Ok(Self { root, aws, staged })
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether `url` is an object below the root.
    pub fn holds(&self, url: &str) -> bool {
        self.below(url).is_some()
    }

    /// The whole object.
    pub async fn read(&self, url: &str) -> Result<Bytes> {
        match self.place(url)? {
            Place::Local(path) => local::read(path).await,
            Place::S3(object) => s3::read(&self.aws, &object).await,
        }
    }

    /// `length` bytes from `start` on; fewer where the object ends before.
    pub async fn read_range(&self, url: &str, start: u64, length: u64) -> Result<Bytes> {
        match self.place(url)? {
            Place::Local(path) => local::read_range(path, start, length).await,
            Place::S3(object) => s3::read_range(&self.aws, &object, start, length).await,
        }
    }

    /// Writes a whole object, which is durable on return. One that is there already stays and is an error, except where
    /// it has the same bytes: then an earlier try did it, and its answer was lost.
    pub async fn write_new(&self, url: &str, bytes: Bytes) -> Result<()> {
        let is_new = match self.place(url)? {
            Place::Local(path) => local::write_new(path, bytes.clone()).await?,
            Place::S3(object) => s3::write_new(&self.aws, &object, bytes.clone()).await?,
        };
        if is_new {
            return Ok(());
        }
        let is_same = self.size(url).await? == bytes.len() as u64
            && (bytes.len() as u64 > MAX_READ_BYTES || self.read(url).await? == bytes);
        match is_same {
            true => Ok(()),
            false => Err(Failure::new(
                ErrorKind::Rejected,
                format!("`{url}` exists already, with other bytes"),
            )
            .hint("run the job again: it takes new names")),
        }
    }

    pub async fn size(&self, url: &str) -> Result<u64> {
        match self.place(url)? {
            Place::Local(path) => local::size(path).await,
            Place::S3(object) => s3::size(&self.aws, &object).await,
        }
    }

    /// The number of bytes and their SHA-256 in lowercase hex, read piece by piece.
    pub async fn digest(&self, url: &str) -> Result<(u64, String)> {
        match self.place(url)? {
            Place::Local(path) => local::digest(path).await,
            Place::S3(object) => s3::digest(&self.aws, &object).await,
        }
    }

    /// Removes an object. One that is not there is a success.
    pub async fn remove(&self, url: &str) -> Result<()> {
        match self.place(url)? {
            Place::Local(path) => local::remove(path).await,
            Place::S3(object) => s3::remove(&self.aws, &object).await,
        }
    }

    /// All objects in a folder, whose URL ends in `/`, and in folders below it, with their sizes, in order of their URLs.
    /// Files that are still being written are left out.
    pub async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let inside = folder
            .strip_suffix('/')
            .ok_or_else(|| self.denied(folder, "does not end in `/`, as a folder does"))?;
        let place = match plain(inside).as_deref() {
            Some(text) if text == self.root => self.locate(String::new()),
            _ => self.place(inside)?,
        };
        let mut found = match place {
            Place::Local(path) => local::list(path, folder.to_owned()).await?,
            Place::S3(object) => s3::list(&self.aws, &object, folder).await?,
        };
        found.retain(|(url, _)| self.holds(url));
        found.sort();
        Ok(found)
    }

    /// Removes what killed programs left of files in a folder, whose URL ends in `/`, and the folder where it is empty then. On
    /// S3 nothing is to be seen of a file before it is whole, and a rule of the bucket ends uploads that nobody finishes.
    pub async fn remove_unfinished(&self, folder: &str) -> Result<()> {
        match self.place(folder.trim_end_matches('/'))? {
            Place::Local(path) => local::remove_unfinished(path).await,
            Place::S3(_) => Ok(()),
        }
    }

    /// Begins an object whose bytes come piece by piece.
    pub async fn upload(&self, url: &str) -> Result<Upload> {
        match self.place(url)? {
            Place::Local(path) => Upload::local(url, path, self.staged.portion()).await,
            Place::S3(object) => Ok(Upload::s3(&self.aws, object, self.staged.portion())),
        }
    }

    fn place(&self, url: &str) -> Result<Place> {
        let below = self
            .below(url)
            .ok_or_else(|| self.denied(url, "is not below the warehouse"))?;
        Ok(self.locate(below))
    }

    /// What follows the root and a slash in `url`, if every part of it is a proper name.
    fn below(&self, url: &str) -> Option<String> {
        let url = plain(url)?;
        let below = url.strip_prefix(&self.root)?.strip_prefix('/')?;
        let is_name =
            |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_control());
        below.split('/').all(is_name).then(|| below.to_owned())
    }

    /// `below` is empty for the root itself.
    fn locate(&self, below: String) -> Place {
        if let Some(path) = self.root.strip_prefix("file://") {
            return Place::Local(Path::new(path).join(below));
        }
        let rest = self.root.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let key = match (prefix, below.as_str()) {
            ("", key) | (key, "") => key.to_owned(),
            (prefix, below) => format!("{prefix}/{below}"),
        };
        Place::S3(Object {
            bucket: bucket.to_owned(),
            url: format!("s3://{bucket}/{key}"),
            key,
        })
    }

    fn denied(&self, url: &str, what: &str) -> Failure {
        let root = &self.root;
        Failure::new(
            ErrorKind::Denied,
            format!("`{}` {what} (`{root}/`)", url.escape_debug()),
        )
        .hint("name a warehouse that holds the files of the table")
    }
}

/// `url` in the one form that is compared: other programs write `file:/a`, `/a` and `s3a://` for the same.
fn plain(url: &str) -> Option<String> {
    if let Some(rest) = bucket_part(url) {
        return Some(format!("s3://{rest}"));
    }
    let path = match url.strip_prefix("file:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => url,
    };
    let is_path = path.starts_with('/') && !path.starts_with("//");
    is_path.then(|| format!("file://{path}"))
}

fn bucket_part(url: &str) -> Option<&str> {
    ["s3://", "s3a://", "s3n://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
}

fn bucket_root<'a>(written: &str, rest: &'a str) -> Result<&'a str> {
    let rest = rest.trim_end_matches('/');
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.chars().any(|c| c.is_control() || "?#".contains(c))
    };
    match rest.split('/').all(is_name) {
        true => Ok(rest),
        false => Err(invalid(written, "is not a bucket and a prefix")),
    }
}

/// The folder as an absolute path without `.` and `..`.
fn local_root(written: &str) -> Result<String> {
    let path = match written.strip_prefix("file:") {
        Some(rest) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(invalid(written, "is not `file:///` and a path"));
            }
            path
        }
        None if written.contains("://") => {
            return Err(invalid(
                written,
                "is neither on S3 nor a folder of this machine",
            ));
        }
        None => written,
    };
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(ErrorKind::Unavailable, error.to_string()))?;
    let mut absolute = PathBuf::new();
    for part in here.join(path).components() {
        match part {
            Component::ParentDir => {
                absolute.pop();
            }
            Component::CurDir => {}
            other => absolute.push(other),
        }
    }
    // Other programs take the text after `?` and `#` for a query.
    let is_fit = |text: &&str| !text.chars().any(|c| c.is_control() || "?#".contains(c));
    match absolute.to_str().filter(is_fit) {
        Some(text) if text.len() > 1 && !path.is_empty() => Ok(text.to_owned()),
        _ => Err(invalid(written, "is not the name of a folder")),
    }
}

fn invalid(root: &str, what: &str) -> Failure {
    Failure::new(
        ErrorKind::InvalidConfig,
        format!("the warehouse `{}` {what}", root.escape_debug()),
    )
    .hint("write it like `s3://bucket/prefix`, `file:///data/lake` or `lake`, without `?` and `#`")
}

fn too_large(name: &str, bytes: u64) -> Failure {
    let most = MAX_READ_BYTES >> 20;
    Failure::new(
        ErrorKind::LimitExceeded,
        format!(
            "`{name}` has {} MiB, and at most {most} MiB are read at once",
            bytes >> 20
        ),
    )
    .hint("expire old snapshots of the table, or rewrite its manifests into smaller ones")
}

fn too_many(name: &str) -> Failure {
    Failure::new(
        ErrorKind::LimitExceeded,
        format!("`{name}` holds more than {MAX_LISTED} objects"),
    )
    .hint("remove files that no snapshot needs, with a tool that maintains Iceberg tables")
}

#[cfg(test)]
mod tests;
