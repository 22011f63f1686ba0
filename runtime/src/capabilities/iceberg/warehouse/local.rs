//! Objects as files of this machine.
//!
//! Takes paths that have been found to be below the root. What is written is durable when a function returns.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{MAX_LISTED, MAX_READ_BYTES, too_large, too_many};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::Result;
use crate::capabilities::object_store::file_failure;
use crate::component::hex;

/// How much is read at a time where the bytes are only hashed.
const PIECE_BYTES: usize = 1 << 20;

/// Folders inside one another that a listing enters.
const MAX_DEPTH: usize = 64;

pub async fn read(path: PathBuf) -> Result<Bytes> {
    on(path, |path| {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        if bytes > MAX_READ_BYTES {
            return Ok(Err(too_large(&path.display().to_string(), bytes)));
        }
        let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(MAX_READ_BYTES).read_to_end(&mut read)?;
        Ok(Ok(read.into()))
    })
    .await?
}

pub async fn read_range(path: PathBuf, start: u64, length: u64) -> Result<Bytes> {
    on(path, move |path| {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let there = file.metadata()?.len().saturating_sub(start).min(length);
        let mut read = Vec::with_capacity(usize::try_from(there).unwrap_or(0));
        file.take(length).read_to_end(&mut read)?;
        Ok(read.into())
    })
    .await
}

/// Whether it was written: not where the name is taken.
pub async fn write_new(path: PathBuf, bytes: Bytes) -> Result<bool> {
    on(path, move |path| {
        let folder = create_parent(path)?;
        if path.try_exists()? {
            return Ok(false);
        }
        // A name of its own: several may try to write the same object.
        let part = part_name(path, &format!("{}.", uuid::Uuid::now_v7()));
        let placed = (|| {
            let mut file = File::create_new(&part)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            rename_new(&part, path)
        })();
        match placed {
            Ok(()) => sync_folder(folder).map(|()| true),
            Err(error) => {
                let _ = fs::remove_file(&part);
                match error.kind() {
                    io::ErrorKind::AlreadyExists => Ok(false),
                    _ => Err(error),
                }
            }
        }
    })
    .await
}

pub async fn size(path: PathBuf) -> Result<u64> {
    on(path, |path| {
        let metadata = fs::metadata(path)?;
        match metadata.is_file() {
            true => Ok(metadata.len()),
            false => Err(io::ErrorKind::IsADirectory.into()),
        }
    })
    .await
}

pub async fn digest(path: PathBuf) -> Result<(u64, String)> {
    on(path, |path| {
        let mut file = File::open(path)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok((bytes, hex(&hash.finalize())));
            }
            hash.update(&piece[..read]);
            bytes += read as u64;
        }
    })
    .await
}

pub async fn remove(path: PathBuf) -> Result<()> {
    on(path, |path| match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    })
    .await
}

/// The files below a folder; `url` is that of the folder.
pub async fn list(path: PathBuf, url: String) -> Result<Vec<(String, u64)>> {
    on(path, move |path| {
        let mut found = Vec::new();
        let entered = enter(path, &url, 0, &mut found);
        match entered {
            Ok(()) if found.len() > MAX_LISTED => Ok(Err(too_many(&url))),
            Ok(()) => Ok(Ok(found)),
            Err(error) => Err(error),
        }
    })
    .await?
}

fn enter(path: &Path, url: &str, depth: usize, found: &mut Vec<(String, u64)>) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let url = format!("{url}{name}");
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() && depth < MAX_DEPTH {
            enter(&entry.path(), &format!("{url}/"), depth + 1, found)?;
        } else if metadata.is_file() && !is_part(&name) {
            found.push((url, metadata.len()));
        }
        if found.len() > MAX_LISTED {
            return Ok(());
        }
    }
    Ok(())
}

pub async fn remove_unfinished(path: PathBuf) -> Result<()> {
    on(path, |path| {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut is_empty = true;
        for entry in entries {
            let entry = entry?;
            match entry.file_name().to_str().is_some_and(is_part) {
                true => fs::remove_file(entry.path())?,
                false => is_empty = false,
            }
        }
        match is_empty {
            true => fs::remove_dir(path),
            false => Ok(()),
        }
    })
    .await
}

/// The name of a file on its way: `.NAME.part` beside it.
pub fn part_name(path: &Path, id: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{id}part"))
}

fn is_part(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".part")
}

/// The folder of `path`, made where it is absent.
pub fn create_parent(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    create_folder(folder)?;
    Ok(folder)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent().filter(|_| !folder.is_dir()) else {
        return Ok(());
    };
    create_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.and_then(|()| sync_folder(parent)),
    }
}

/// Makes durable which files are in it.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match rustix::fs::fsync(File::open(folder)?) {
        // File systems that keep no folders on disk.
        Err(Errno::INVAL) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Gives a file a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that cannot rename so can link, which does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        outcome => Ok(outcome?),
    }
}

/// Works on a file where it holds up nobody, and says what an error is about.
pub async fn on<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    blocking(move || work(&path).map_err(file_failure(&path.display().to_string()))).await
}
