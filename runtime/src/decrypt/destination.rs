//! The file that plaintext goes to: its owner's alone, without its name until all of it is true, and gone if it never is.
//!
//! Where the file system can, it has no name at all in between, so that nothing is left even of a process that was killed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{Error, Kind, Result};

/// Where open files have names, even those that have none elsewhere.
const OPEN_FILES: &str = "/proc/self/fd";

pub struct Destination {
    path: PathBuf,
    name: OsString,
    folder: Arc<File>,
    file: Arc<File>,
    /// None where the file has no name.
    temporary: Option<Temporary>,
    bytes: u64,
}

/// A name that goes with its owner.
struct Temporary {
    folder: Arc<File>,
    name: String,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is left to be told. After the renaming it is not there.
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

impl Destination {
    /// For `path`, which must not exist and whose folder must.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_as(path, Path::new(OPEN_FILES).exists())
    }

    fn create_as(path: &Path, nameless: bool) -> Result<Self> {
        let shown = path.display();
        let invalid = |what: &str| Error::new(Kind::JobInvalid, format!("`{shown}` {what}"));
        let name = path
            .file_name()
            .ok_or_else(|| invalid("does not name a file").hint("name the file to be written"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(parent)
            .map_err(|error| {
                invalid("cannot be written: its folder cannot be opened")
                    .caused_by(error)
                    .hint(format!("create the folder `{}`", parent.display()))
            })?;
        match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(exists(path)),
            Err(error) => return Err(cannot_write(path, error.into())),
        }
        let folder = Arc::new(folder);
        let (file, temporary) =
            create(&folder, nameless).map_err(|error| cannot_write(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            folder,
            file: Arc::new(file),
            temporary,
            bytes: 0,
        })
    }

    /// How much was written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds `plain`, and gives its memory back empty.
    pub async fn write(&mut self, mut plain: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>> {
        self.bytes += plain.len() as u64;
        let file = self.file.clone();
        self.blocking(move || {
            (&*file).write_all(&plain)?;
            plain.zeroize();
            Ok(plain)
        })
        .await
    }

    /// Makes the file durable, and gives it its name, which nothing may have taken meanwhile.
    pub async fn publish(self) -> Result<()> {
        let (file, folder) = (self.file.clone(), self.folder.clone());
        let (name, temporary) = (self.name.clone(), self.temporary.as_ref());
        let temporary = temporary.map(|temporary| temporary.name.clone());
        self.blocking(move || {
            file.sync_all()?;
            match temporary {
                Some(temporary) => rename_new(&folder, &temporary, &name)?,
                None => {
                    let open = format!("{OPEN_FILES}/{}", file.as_raw_fd());
                    rustix::fs::linkat(CWD, open, &folder, &name, AtFlags::SYMLINK_FOLLOW)?;
                }
            }
            folder.sync_all()
        })
        .await
    }

    /// Waits for a disk on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        done.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&self.path),
            _ => cannot_write(&self.path, error),
        })
    }
}

/// A new file in `folder`, without a name where that can be.
fn create(folder: &Arc<File>, nameless: bool) -> std::io::Result<(File, Option<Temporary>)> {
    let owner = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if nameless {
        match rustix::fs::openat(folder, ".", flags | OFlags::TMPFILE, owner) {
            Ok(file) => return Ok((file.into(), None)),
            // What a file system says that has none, or a kernel that knows none.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let name = format!(".dativo-{}", uuid::Uuid::now_v7());
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(folder, &*name, flags, owner)?;
    let folder = folder.clone();
    Ok((file.into(), Some(Temporary { folder, name })))
}

/// Moves a file to a name that nothing has.
fn rename_new(folder: &File, name: &str, new_name: &OsString) -> std::io::Result<()> {
    match rustix::fs::renameat_with(folder, name, folder, new_name, RenameFlags::NOREPLACE) {
        // File systems that cannot rename so can link, which does not replace either. The old name goes with its owner.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(rustix::fs::linkat(
            folder,
            name,
            folder,
            new_name,
            AtFlags::empty(),
        )?),
        outcome => Ok(outcome?),
    }
}

fn exists(path: &Path) -> Error {
    let message = format!("`{}` exists, and nothing is overwritten", path.display());
    Error::new(Kind::JobInvalid, message).hint("name another file, or remove it first")
}

fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Rejected, format!("cannot write `{}`", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    fn write(destination: &mut Destination, text: &str) {
        let plain = Zeroizing::new(text.as_bytes().to_vec());
        assert!(run(destination.write(plain)).unwrap().is_empty());
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn has_its_name_at_the_end_and_leaves_nothing_without_it() {
        for nameless in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("plain");
            let mut destination = Destination::create_as(&path, nameless).unwrap();
            write(&mut destination, "half");
            assert_eq!(names(folder.path()).len(), usize::from(!nameless));
            assert!(!path.exists());
            drop(destination);
            assert!(names(folder.path()).is_empty());

            let mut destination = Destination::create_as(&path, nameless).unwrap();
            write(&mut destination, "all ");
            write(&mut destination, "of it");
            assert_eq!(destination.bytes(), 9);
            run(destination.publish()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "all of it");
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            assert_eq!(names(folder.path()), ["plain"]);
        }
    }

    #[test]
    fn what_exists_is_never_replaced() {
        for nameless in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("plain");
            let mut late = Destination::create_as(&path, nameless).unwrap();
            write(&mut late, "late");
            std::fs::write(&path, "first").unwrap();
            for error in [
                Destination::create_as(&path, nameless).err().unwrap(),
                run(late.publish()).unwrap_err(),
            ] {
                assert!(
                    error.message().contains("nothing is overwritten"),
                    "{error}"
                );
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
            assert_eq!(names(folder.path()), ["plain"]);
        }
    }

    #[test]
    fn refuses_a_path_that_names_no_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("nowhere", &link).unwrap();
        for (path, what) in [
            (folder.path().to_owned(), "nothing is overwritten"),
            (link, "nothing is overwritten"),
            (
                folder.path().join("nowhere/plain"),
                "its folder cannot be opened",
            ),
            (folder.path().join(".."), "does not name a file"),
        ] {
            let error = Destination::create(&path).err().unwrap();
            assert!(error.message().contains(what), "{error}");
        }
    }
}
