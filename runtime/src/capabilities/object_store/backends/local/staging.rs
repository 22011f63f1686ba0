//! Objects that are written and durable, and not yet visible under their names.
//!
//! They lie in `ROOT/.dativo-staged/RUN/`, where ROOT is the granted folder: on the same file system as their
//! names, hidden, and with endings that no pattern for data files matches:
//!
//! - `ID.part`: the bytes. It is there from the start of the upload until it is published or discarded.
//! - `ID.token`: the token. Without a checksum as long as the object is not complete.
//! - `ID.early-N`: part N, which came before a part that precedes it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::folder::{Folder, failure};
use super::token::{Content, Token};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{Staged, check_part, check_run, hex};
use crate::capabilities::object_store::grant::Place;

/// An object being written. Dropped before it is staged, it removes its files.
pub struct Upload {
    place: Place,
    token: Token,
    hash: Sha256,
    bytes: u64,
    next_part: u32,
    early: BTreeSet<u32>,
    /// A write failed, so the bytes so far are unknown.
    is_broken: bool,
    is_staged: bool,
}

impl Upload {
    pub fn create(place: &Place, run: &str) -> Result<Self> {
        check_run(run)?;
        let id = Uuid::now_v7().to_string();
        let token = Token::begun(place, place.below_root(), run, &id);
        let failure = failure(place.written());
        let root = Folder::create_root(place).map_err(&failure)?;
        let (folder, _) = root
            .retry_below(&token.folder(), |folder| folder.create_file(&token.part()))
            .map_err(&failure)?;
        token.write(&folder).map_err(&failure)?;
        Ok(Self {
            place: place.clone(),
            token,
            hash: Sha256::new(),
            bytes: 0,
            next_part: 1,
            early: BTreeSet::new(),
            is_broken: false,
            is_staged: false,
        })
    }

    /// Parts are numbered from 1 and come in any order, each once.
    pub fn put(&mut self, part: u32, chunks: &[&[u8]]) -> Result<()> {
        check_part(&self.place, part)?;
        self.refuse_broken()?;
        if part < self.next_part || self.early.contains(&part) {
            return Err(self.rejected(format!("part {part} was put twice")));
        }
        let put = self
            .folder()
            .and_then(|folder| match part == self.next_part {
                true => self.append(&folder, chunks),
                false => self.set_aside(&folder, part, chunks),
            });
        put.map_err(|error| {
            self.is_broken = true;
            failure(self.place.written())(error)
        })
    }

    /// Ends the upload: the bytes are durable when this returns.
    pub fn stage(mut self) -> Result<Staged> {
        self.refuse_broken()?;
        if let Some(last) = self.early.last() {
            return Err(self.rejected(format!(
                "part {} is missing, and part {last} is there",
                self.next_part
            )));
        }
        let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
        self.token.content = Some(Content {
            bytes: self.bytes,
            sha256: sha256.clone(),
        });
        self.make_durable().map_err(failure(self.place.written()))?;
        self.is_staged = true;
        Ok(Staged {
            token: self.token.text(),
            url: self.place.url(),
            bytes: self.bytes,
            sha256,
        })
    }

    fn make_durable(&self) -> io::Result<()> {
        let folder = self.folder()?;
        folder.append_to(&self.token.part())?.sync_all()?;
        self.token.write(&folder)?;
        folder.sync()
    }

    /// The next part, and the parts that waited for it.
    fn append(&mut self, folder: &Folder, chunks: &[&[u8]]) -> io::Result<()> {
        // Opened for each part: a thousand partitions must not need a thousand file handles.
        let mut file = folder.append_to(&self.token.part())?;
        if file.metadata()?.len() != self.bytes {
            return Err(io::Error::other("another process wrote to the staged file"));
        }
        for chunk in chunks {
            self.write(&mut file, chunk)?;
        }
        self.next_part += 1;
        while self.early.remove(&self.next_part) {
            let name = self.token.early(self.next_part);
            let mut early = folder.open_file(&name)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                match early.read(&mut buffer)? {
                    0 => break,
                    read => self.write(&mut file, &buffer[..read])?,
                }
            }
            folder.remove(&name)?;
            self.next_part += 1;
        }
        Ok(())
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn set_aside(&mut self, folder: &Folder, part: u32, chunks: &[&[u8]]) -> io::Result<()> {
        let mut file = folder.create_file(&self.token.early(part))?;
        for chunk in chunks {
            file.write_all(chunk)?;
        }
        self.early.insert(part);
        Ok(())
    }

    fn folder(&self) -> io::Result<Folder> {
        Folder::root(&self.place)?.below(&self.token.folder())
    }

    fn refuse_broken(&self) -> Result<()> {
        match self.is_broken {
            true => Err(self.rejected("an earlier part could not be written".to_owned())),
            false => Ok(()),
        }
    }

    fn rejected(&self, what: String) -> Failure {
        Failure::new(
            ErrorKind::Rejected,
            format!("upload of `{}`: {what}", self.place.written()),
        )
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_staged
            && let Ok(root) = Folder::root(&self.place)
        {
            // What cannot be removed is found by `list_staged`.
            let _ = self.token.remove_files(&root);
        }
    }
}
