//! Objects in the local file system.
//!
//! Knows no wasm. Every function takes a [`Place`], which only a grant makes. The granted root is opened by its path,
//! links and all, because the user named it. From there each segment is opened below the folder handle before it and
//! no symbolic link is followed, so no swap of a folder for a link while a call is under way leads outside, and the
//! usual race between a check and its use does not exist. What remains: the root's own path is resolved anew by each
//! call, so whoever may rename folders *above* the root (never a guest) decides what it is. An object that a grant
//! spells in full is the user's choice and may be a link, for reading.
//!
//! All calls block; the host runs them where blocking is allowed.

mod folder;
mod publish;
mod staging;
#[cfg(test)]
mod tests;
mod token;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::FlockOperation;
use uuid::Uuid;

use self::folder::{Entry, Folder, failure};
pub use self::folder::{failure as file_failure, open};
pub use self::publish::{check_staged, discard, leftovers, list_staged, publish};
pub use self::staging::Upload;
use super::{MAX_LISTED, MAX_VISITED, Object, already_there, too_large};
use crate::capabilities::failure::Result;
use crate::capabilities::object_store::grant::{Access, Grant, Place};
use crate::capabilities::object_store::name::STAGING_FOLDER;

/// Folders inside one another that a listing enters, with a file handle for each.
const MAX_DEPTH: usize = 64;

/// Inside the staging folder: files of [`put_new`] that are not yet in place.
const UNPLACED: &str = ".put";

pub fn head(place: &Place) -> Result<Object> {
    let metadata = folder::open(place)
        .and_then(|file| file.metadata())
        .map_err(failure(place.written()))?;
    let modified = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(Object {
        url: place.written().to_owned(),
        size_bytes: metadata.len(),
        modified_ms: modified.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Up to `length` bytes from `offset`, fewer at the end.
pub fn get(place: &Place, offset: u64, length: u32) -> Result<Vec<u8>> {
    let read = |mut file: File| {
        let left = file
            .metadata()?
            .len()
            .saturating_sub(offset)
            .min(u64::from(length));
        let mut bytes = Vec::with_capacity(usize::try_from(left).unwrap_or(0));
        if left > 0 {
            file.seek(SeekFrom::Start(offset))?;
            file.take(left).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    folder::open(place)
        .and_then(read)
        .map_err(failure(place.written()))
}

/// Puts a whole object in place at once, durable on return. An object that is there stays.
pub fn put_new(place: &Place, bytes: &[u8]) -> Result<()> {
    let failure = failure(place.written());
    let (root, parent, name) = folder::create_parents(place).map_err(&failure)?;
    if parent.has(name).map_err(&failure)? {
        return Err(already_there(place));
    }
    let in_staging = [STAGING_FOLDER.to_owned(), UNPLACED.to_owned()];
    let (folder, unplaced, mut file) = create_unplaced(&root, &in_staging).map_err(&failure)?;
    let placed = (|| {
        remove_abandoned(&folder);
        file.write_all(bytes)?;
        file.sync_all()?;
        folder.rename_new(&unplaced, &parent, name)?;
        parent.sync()
    })();
    if placed.is_err() {
        let _ = folder.remove(&unplaced);
    }
    root.remove_empty(&in_staging);
    match placed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(already_there(place)),
        outcome => outcome.map_err(failure),
    }
}

/// A new file and its name, locked: the lock says that its writer lives, and ends with the process.
fn create_unplaced(root: &Folder, folder: &[String]) -> io::Result<(Folder, String, File)> {
    loop {
        let name = Uuid::now_v7().to_string();
        let (folder, file) = root.retry_below(folder, |folder| folder.create_file(&name))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        // Before it was locked, another writer may have taken it for abandoned.
        if folder.has(&name)? {
            return Ok((folder, name, file));
        }
    }
}

/// Removes what killed processes left. A live one holds a lock on its file.
fn remove_abandoned(folder: &Folder) {
    for entry in folder.entries().unwrap_or_default() {
        let Ok(file) = folder.open_file(&entry.name) else {
            continue;
        };
        // Held until it is removed: whoever gets the lock after that sees that the name is gone.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = folder.remove(&entry.name);
        }
    }
}

/// The covered objects in a folder and in folders below it, in order of their names. Symbolic links are named
/// like objects: opening one says why it cannot be read, where leaving it out would lose data without a word.
pub fn list(grant: &Grant, prefix: &Place) -> Result<Vec<Object>> {
    let start = Folder::root(prefix).and_then(|root| root.below(prefix.below_root()));
    let start = match start {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        start => start.map_err(failure(prefix.written()))?,
    };
    let mut listing = Listing {
        grant,
        prefix,
        objects: Vec::new(),
        visited: 0,
    };
    listing.enter(&start, &mut Vec::new())?;
    listing.objects.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(listing.objects)
}

struct Listing<'a> {
    grant: &'a Grant,
    prefix: &'a Place,
    objects: Vec<Object>,
    visited: usize,
}

impl Listing<'_> {
    fn enter(&mut self, folder: &Folder, segments: &mut Vec<String>) -> Result<()> {
        if segments.len() > MAX_DEPTH {
            return Err(too_large(
                self.prefix,
                &format!("folders more than {MAX_DEPTH} levels deep"),
            ));
        }
        let failure = failure(self.prefix.written());
        for Entry { name, is_folder } in folder.entries().map_err(&failure)? {
            self.visited += 1;
            if self.visited > MAX_VISITED {
                return Err(too_large(
                    self.prefix,
                    &format!("more than {MAX_VISITED} entries"),
                ));
            }
            if name == STAGING_FOLDER {
                continue;
            }
            segments.push(name);
            let name = &segments[segments.len() - 1];
            if is_folder {
                match folder.child(name) {
                    // Removed since its folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    child => self.enter(&child.map_err(&failure)?, segments)?,
                }
            } else if self
                .prefix
                .below(self.grant, Access::Read, segments)
                .is_some()
            {
                match folder.size_and_time(name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    found => {
                        let (size_bytes, modified_ms) = found.map_err(&failure)?;
                        let url = self.prefix.name_below(segments);
                        self.objects.push(Object {
                            url,
                            size_bytes,
                            modified_ms,
                        });
                    }
                }
                if self.objects.len() > MAX_LISTED {
                    return Err(too_large(
                        self.prefix,
                        &format!("more than {MAX_LISTED} objects"),
                    ));
                }
            }
            segments.pop();
        }
        Ok(())
    }
}
