//! Where a sealed file lies, on a disk or in a bucket: its length, and ranges of it as long as it is the one that was opened.
//!
//! What is read twice must be the same twice, and what is read in pieces must be one file; so every read says whether it
//! still is. The openers of `seal/` would find a change too, as damage: here it has its own name.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use crate::capabilities::object_store::{Access, Fixed};
use crate::error::{Error, Kind, Result};
use crate::job::{AwsSettings, Secrets};

/// A sealed file that does not change while it is read.
pub struct Source {
    name: String,
    bytes: u64,
    place: Place,
}

enum Place {
    File { file: Arc<File>, stamp: Stamp },
    Object(Fixed),
}

/// What changes with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(facts: &Metadata) -> Self {
        Self {
            bytes: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        }
    }
}

impl Source {
    /// Opens what `name` stands for: a path, or `s3://bucket/key`.
    pub async fn open(name: &str) -> Result<Self> {
        if name.starts_with("s3://") {
            let grant = format!("read {name}");
            let lines = [grant.as_str()].into_iter();
            let access = Access::new(lines, &Secrets::default(), &AwsSettings::default())?;
            let object = access.open(name).await?;
            return Ok(Self {
                name: name.to_owned(),
                bytes: object.bytes(),
                place: Place::Object(object),
            });
        }
        let path = name.to_owned();
        let (file, facts) = blocking(name, move || open_file(&path)).await?;
        if !facts.is_file() {
            let message = format!("`{name}` is no file");
            return Err(Error::new(Kind::JobInvalid, message).hint("name a sealed file"));
        }
        Ok(Self {
            name: name.to_owned(),
            bytes: facts.len(),
            place: Place::File {
                file: Arc::new(file),
                stamp: Stamp::of(&facts),
            },
        })
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of the whole.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The `bytes` at `offset`, all of them, which must be within the file.
    pub async fn read_at(&self, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let (file, stamp) = match &self.place {
            Place::File { file, stamp } => (file, stamp),
            Place::Object(object) => return Ok(object.read_at(offset, bytes).await?),
        };
        let (file, before) = (file.clone(), *stamp);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let read = move || {
            let mut block = vec![0; length];
            let whole = match file.read_exact_at(&mut block, offset) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
                outcome => outcome.map(|()| true)?,
            };
            let is_same = whole && Stamp::of(&file.metadata()?) == before;
            Ok(is_same.then_some(block))
        };
        blocking(&self.name, read).await?.ok_or_else(|| {
            let message = format!("`{}` changed while it was read", self.name);
            Error::new(Kind::Unavailable, message)
                .hint("keep the file from being written to, and try again")
        })
    }
}

fn open_file(path: &str) -> std::io::Result<(File, Metadata)> {
    // A pipe would not open before someone writes to it.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let facts = file.metadata()?;
    Ok((file, facts))
}

/// Waits for a disk on a thread that may.
async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| {
        Error::new(Kind::Rejected, format!("cannot read `{name}`")).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str) -> Result<Source> {
        run(Source::open(name))
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn refuses_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        for (name, what) in [
            ("s3://lake/../orders", "`..`"),
            ("s3://lake", "name of a folder"),
            (folder.path().to_str().unwrap(), "is no file"),
            (pipe.to_str().unwrap(), "is no file"),
            ("/nonexistent/file", "cannot read"),
        ] {
            let error = open(name).err().unwrap();
            assert!(error.message().contains(what), "{error}");
        }
    }

    #[test]
    fn a_file_that_changes_between_two_reads_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealed");
        type Change<'a> = &'a dyn Fn();
        let changes: [Change; 3] = [
            &|| std::fs::write(&path, "7654321076543210").unwrap(),
            &|| {
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(9)
                    .unwrap()
            },
            &|| {
                File::options()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .write_at(b"x", 0)
                    .map(drop)
                    .unwrap()
            },
        ];
        for change in changes {
            std::fs::write(&path, "0123456789abcdef").unwrap();
            let source = open(path.to_str().unwrap()).unwrap();
            assert_eq!(run(source.read_at(3, 4)).unwrap(), b"3456");
            // The clock of a file system moves every few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let error = run(source.read_at(3, 4)).unwrap_err();
            assert!(error.message().contains("changed while"), "{error}");
            assert_eq!(error.kind(), Kind::Unavailable);
        }
        // Another file under the name is not this one.
        std::fs::write(&path, "0123456789abcdef").unwrap();
        let source = open(path.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run(source.read_at(3, 4)).unwrap(), b"3456");
    }
}
