//! Folders by handle: everything below a granted root is reached through these and never through a symbolic link.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::capabilities::failure::{ErrorKind, Failure};
use crate::capabilities::object_store::grant::Place;

/// Times to make a folder and use it, while others remove it because they found it empty.
const RACES: usize = 16;

pub struct Folder(OwnedFd);

pub struct Entry {
    pub name: String,
    pub is_folder: bool,
}

/// For reading. The object and nothing else: no folder, pipe or device.
pub fn open(place: &Place) -> io::Result<File> {
    if place.is_exact() {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        return regular(rustix::fs::open(place.path(), flags, Mode::empty())?);
    }
    let (folder, name) = split(place)?;
    Folder::root(place)?.below(folder)?.open_file(name)
}

/// The root of `place`, the folder of the object, and its name in it; folders are made where they are missing.
pub fn create_parents(place: &Place) -> io::Result<(Folder, Folder, &str)> {
    let (folder, name) = split(place)?;
    let root = Folder::create_root(place)?;
    let parent = root.create_below(folder)?;
    Ok((root, parent, name))
}

fn split(place: &Place) -> io::Result<(&[String], &str)> {
    match place.below_root().split_last() {
        Some((name, folder)) => Ok((folder, name)),
        None => Err(Errno::ISDIR.into()),
    }
}

fn regular(file: OwnedFd) -> io::Result<File> {
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => Err(Errno::ISDIR.into()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )),
    }
}

impl Folder {
    /// The root of `place`, which exists.
    pub fn root(place: &Place) -> io::Result<Self> {
        Self::open_path(&place.root_path())
    }

    /// The root of `place`, made where it is missing.
    pub fn create_root(place: &Place) -> io::Result<Self> {
        let root = place.root_path();
        create_durably(&root)?;
        Self::open_path(&root)
    }

    fn open_path(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    pub fn child(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(folder) => Ok(Self(folder)),
            // Linux calls a link that may not be followed `not a directory`.
            Err(Errno::NOTDIR) if self.file_type(name)? == FileType::Symlink => {
                Err(Errno::LOOP.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn below(&self, segments: &[String]) -> io::Result<Self> {
        let mut folder = Self(self.0.try_clone()?);
        for segment in segments {
            folder = folder.child(segment)?;
        }
        Ok(folder)
    }

    pub fn create_below(&self, segments: &[String]) -> io::Result<Self> {
        let mut folder = Self(self.0.try_clone()?);
        for segment in segments {
            folder = folder.create_child(segment)?;
        }
        Ok(folder)
    }

    fn create_child(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.child(name)
    }

    /// Makes folders and does `work` in the last, again where another process removed them in between.
    pub fn retry_below<T>(
        &self,
        segments: &[String],
        work: impl Fn(&Folder) -> io::Result<T>,
    ) -> io::Result<(Folder, T)> {
        let attempt = || {
            let folder = self.create_below(segments)?;
            let done = work(&folder)?;
            Ok((folder, done))
        };
        for _ in 1..RACES {
            match attempt() {
                Err(error) if is_missing(&error) => {}
                outcome => return outcome,
            }
        }
        attempt()
    }

    /// Removes the last of these folders and those around it, as long as they are empty.
    pub fn remove_empty(&self, segments: &[String]) {
        if let Some((name, around)) = segments.split_last() {
            let removed = self
                .below(around)
                .and_then(|folder| Ok(rustix::fs::unlinkat(&folder.0, name, AtFlags::REMOVEDIR)?));
            if removed.is_ok() {
                self.remove_empty(around);
            }
        }
    }

    pub fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        regular(rustix::fs::openat(&self.0, name, flags, Mode::empty())?)
    }

    pub fn append_to(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        regular(rustix::fs::openat(&self.0, name, flags, Mode::empty())?)
    }

    /// A file that was not there.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &self.0,
            name,
            flags,
            Mode::from_raw_mode(0o666),
        )?))
    }

    /// Moves a file to a name that nothing has.
    pub fn rename_new(&self, name: &str, to: &Folder, new_name: &str) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.0, name, &to.0, new_name, RenameFlags::NOREPLACE) {
            // File systems that cannot rename so can link, which does not replace either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&self.0, name, &to.0, new_name, AtFlags::empty())?;
                self.remove(name)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Moves a file in this folder, over what has the name.
    pub fn replace(&self, name: &str, new_name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &self.0, new_name)?)
    }

    /// Success where it is gone already.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn has(&self, name: &str) -> io::Result<bool> {
        match self.file_type(name) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// In bytes, and in milliseconds since 1970.
    pub fn size_and_time(&self, name: &str) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
        let nanoseconds = stat.st_mtime_nsec as u64;
        Ok((
            size,
            seconds
                .saturating_mul(1000)
                .saturating_add(nanoseconds / 1_000_000),
        ))
    }

    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the name {:?} in it is not UTF-8", entry.file_name()),
                ));
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let file_type = match entry.file_type() {
                FileType::Unknown => self.file_type(name)?,
                known => known,
            };
            entries.push(Entry {
                name: name.to_owned(),
                is_folder: file_type == FileType::Directory,
            });
        }
        Ok(entries)
    }

    /// Makes durable which files are in it.
    pub fn sync(&self) -> io::Result<()> {
        sync(&self.0)
    }

    fn file_type(&self, name: &str) -> io::Result<FileType> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

pub fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn sync(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        // File systems that keep no folders on disk.
        Err(Errno::INVAL) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else {
        return Ok(());
    };
    create_durably(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.and_then(|()| Folder::open_path(parent)?.sync()),
    }
}

/// An error of the file system, about the name that the guest used.
pub fn failure(name: &str) -> impl Fn(io::Error) -> Failure {
    move |error| {
        use io::ErrorKind as Io;
        let new = |kind, what: &str| Failure::new(kind, format!("`{name}` {what}"));
        match (
            error.kind(),
            error.raw_os_error().map(Errno::from_raw_os_error),
        ) {
            (_, Some(Errno::LOOP)) => new(ErrorKind::Denied, "passes through a symbolic link")
                .hint("name what the link points to, in the job and in its grants"),
            (_, Some(Errno::MFILE | Errno::NFILE)) => new(
                ErrorKind::Unavailable,
                "cannot be opened: too many files are open",
            )
            .hint("raise the limit with `ulimit -n 65536`, or use fewer splits and partitions"),
            (Io::NotFound, _) => new(ErrorKind::NotFound, "does not exist"),
            (Io::PermissionDenied, _) => {
                new(ErrorKind::Rejected, "may not be accessed by this user")
                    .hint(format!("check the owner and the mode with `ls -ld {name}`"))
            }
            (Io::ReadOnlyFilesystem, _) => {
                new(ErrorKind::Rejected, "is on a read-only file system")
            }
            (Io::StorageFull | Io::QuotaExceeded, _) => new(
                ErrorKind::Unavailable,
                "cannot be written: no space is left on its file system",
            )
            .hint("free some space there and run the job again; nothing was published"),
            (Io::FileTooLarge, _) => new(
                ErrorKind::Rejected,
                "is larger than its file system or `ulimit -f` allows",
            ),
            (Io::IsADirectory, _) => new(ErrorKind::Rejected, "is a folder, not an object"),
            (Io::NotADirectory, _) => new(
                ErrorKind::Rejected,
                "passes through an object that is not a folder",
            ),
            (Io::InvalidFilename, _) => new(
                ErrorKind::Rejected,
                "has a part too long for its file system",
            ),
            (Io::CrossesDevices, _) => new(
                ErrorKind::Rejected,
                "is on another file system than the granted folder",
            )
            .hint("grant a folder that is on one file system"),
            (Io::InvalidInput, None) => {
                new(ErrorKind::Rejected, &format!("cannot be read: {error}"))
            }
            _ => new(
                ErrorKind::Unavailable,
                &format!("could not be read or written: {error}"),
            ),
        }
    }
}
