//! Objects that are written and durable, and not yet visible under their names.
//!
//! They lie in `ROOT/.dativo-staged/RUN/`, where ROOT is the granted folder: on the same file system as their
//! names, hidden, and with endings that no pattern for data files matches:
//!
//! - `ID.part`: the bytes. It is there from the start of the upload until it is published or discarded.
//! - `ID.token`: the token. Without a checksum as long as the object is not complete.
//! - `ID.early-N`: part N, which came before a part that precedes it.
//!
//! A token comes back through guests, so nothing in it is believed: the root must be one that the job grants for
//! writing, the name below it must be covered, and the path of the staged file is put together here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::folder::{self, Entry, Folder, failure, is_missing};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::{Access, Grant, Place};
use crate::capabilities::object_store::name::STAGING_FOLDER;

/// As object stores have it.
const MAX_PARTS: u32 = 10_000;

/// Longest token, in bytes: two paths of the largest size, escaped, and some fields.
const MAX_TOKEN_BYTES: usize = 32 << 10;

const VERSION: u32 = 1;

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub token: String,
    pub url: String,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    version: u32,
    /// The granted folder, absolute.
    root: String,
    /// Of the object, below the root. Empty where a crash left bytes without their token.
    name: String,
    run: String,
    id: String,
    /// Of a complete object.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    bytes: u64,
    sha256: String,
}

impl Upload {
    pub fn create(place: &Place, run: &str) -> Result<Self> {
        check_run(run)?;
        let token = Token {
            version: VERSION,
            root: place.root_path().display().to_string(),
            name: place.below_root().join("/"),
            run: run.to_owned(),
            id: Uuid::now_v7().to_string(),
            content: None,
        };
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
        if part == 0 || part > MAX_PARTS {
            return Err(Failure::new(
                ErrorKind::LimitExceeded,
                format!(
                    "part {part} of `{}`; parts are numbered 1 to {MAX_PARTS}",
                    self.place.written()
                ),
            ));
        }
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

/// Makes a staged object visible. Done already is success.
pub fn publish(grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let root_place = grant.root(Access::Write, &token.root)?;
    let place = token.place(grant, &root_place)?;
    let failure = failure(place.written());
    let Some(content) = &token.content else {
        return Err(Failure::new(
            ErrorKind::Rejected,
            format!(
                "`{}` cannot be published: its upload never ended",
                place.written()
            ),
        ));
    };
    let gone = || {
        Failure::new(
            ErrorKind::NotFound,
            format!(
                "what was staged for `{}` is gone: it was discarded",
                place.written()
            ),
        )
    };
    let root = match Folder::root(&place) {
        Err(error) if is_missing(&error) => return Err(gone()),
        root => root.map_err(&failure)?,
    };
    let staged = match root
        .below(&token.folder())
        .and_then(|folder| Ok((folder.open_file(&token.part())?, folder)))
    {
        Err(error) if is_missing(&error) => None,
        staged => Some(staged.map_err(&failure)?),
    };
    let Some((file, folder)) = staged else {
        let published = match folder::open(&place) {
            Err(error) if is_missing(&error) => false,
            file => file
                .and_then(|file| content.is_of(file))
                .map_err(&failure)?,
        };
        // A crash may have come between the move and its durability.
        return match published {
            true => folder::create_parents(&place)
                .and_then(|(root, parent, _)| {
                    parent.sync()?;
                    token.remove_files(&root)
                })
                .map_err(failure),
            false => Err(gone()),
        };
    };
    if file.metadata().map_err(&failure)?.len() != content.bytes {
        return Err(Failure::new(
            ErrorKind::Rejected,
            format!(
                "what was staged for `{}` is not {} bytes long",
                place.written(),
                content.bytes
            ),
        ));
    }
    let (_, parent, name) = folder::create_parents(&place).map_err(&failure)?;
    match folder.rename_new(&token.part(), &parent, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let same = parent
                .open_file(name)
                .and_then(|file| content.is_of(file))
                .map_err(&failure)?;
            if !same {
                return Err(Failure::new(
                    ErrorKind::Rejected,
                    format!("`{}` exists already, with other bytes", place.written()),
                )
                .hint("move it away, or write to another folder"));
            }
        }
        moved => moved.map_err(&failure)?,
    }
    parent
        .sync()
        .and_then(|()| token.remove_files(&root))
        .map_err(failure)
}

/// Removes a staged object. Done already is success; a published object stays.
pub fn discard(grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let root_place = grant.root(Access::Write, &token.root)?;
    if !token.name.is_empty() {
        token.place(grant, &root_place)?;
    }
    match Folder::root(&root_place) {
        Err(error) if is_missing(&error) => Ok(()),
        root => root
            .and_then(|root| token.remove_files(&root))
            .map_err(failure(&token.root)),
    }
}

/// Tokens of all that `run` staged or began to stage below `prefix`, in order of their uploads.
pub fn list_staged(grant: &Grant, prefix: &Place, run: &str) -> Result<Vec<String>> {
    check_run(run)?;
    let mut tokens = Vec::new();
    for root_place in grant.roots(Access::Write, prefix) {
        let failure = failure(prefix.written());
        let in_staging = [STAGING_FOLDER.to_owned(), run.to_owned()];
        let opened =
            Folder::root(&root_place).and_then(|root| Ok((root.below(&in_staging)?, root)));
        let (folder, root) = match opened {
            Err(error) if is_missing(&error) => continue,
            opened => opened.map_err(&failure)?,
        };
        let entries = folder.entries().map_err(&failure)?;
        remove_ended(&folder, &entries);
        root.remove_empty(&in_staging);
        for entry in entries {
            let Some(id) = entry.name.strip_suffix(".part").filter(|id| is_id(id)) else {
                continue;
            };
            let orphan = Token {
                version: VERSION,
                root: root_place.root_path().display().to_string(),
                name: String::new(),
                run: run.to_owned(),
                id: id.to_owned(),
                content: None,
            };
            let token = Token::read(&folder, &orphan);
            let is_below = match token.place(grant, &root_place) {
                Ok(place) => prefix.contains(&place),
                Err(_) => prefix.contains(&root_place),
            };
            if is_below {
                tokens.push((token.id.clone(), token.text()));
            }
        }
    }
    tokens.sort();
    Ok(tokens.into_iter().map(|(_, text)| text).collect())
}

/// Removes what a crash left of uploads that were published or discarded: all but their bytes, which come first and
/// go first.
fn remove_ended(folder: &Folder, entries: &[Entry]) {
    for Entry { name, .. } in entries {
        let id = name.split('.').next().unwrap_or_default();
        let has_bytes = folder.has(&format!("{id}.part"));
        if is_id(id) && matches!(has_bytes, Ok(false)) {
            let _ = folder.remove(name);
        }
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self> {
        let refuse = |what: &str| {
            Failure::new(
                ErrorKind::Rejected,
                format!("not a token of a staged object: {what}"),
            )
        };
        if text.len() > MAX_TOKEN_BYTES {
            return Err(refuse("it is too long"));
        }
        let token: Token =
            serde_json::from_str(text).map_err(|error| refuse(&error.to_string()))?;
        if token.version != VERSION {
            return Err(refuse(&format!("it is of version {}", token.version)));
        }
        check_run(&token.run)?;
        if !is_id(&token.id) {
            return Err(refuse("its id is malformed"));
        }
        Ok(token)
    }

    fn text(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The object, if the name is one and covered.
    fn place(&self, grant: &Grant, root: &Place) -> Result<Place> {
        let denied = || {
            Failure::new(
                ErrorKind::Denied,
                format!(
                    "the token names `{}`, which is outside the grant",
                    self.name
                ),
            )
        };
        let full = format!("{}/{}", self.root.trim_end_matches('/'), self.name);
        let place = grant.object(Access::Write, &full)?;
        match root.contains(&place) {
            true => root
                .below(grant, Access::Write, &place.segments_below(root))
                .ok_or_else(denied),
            false => Err(denied()),
        }
    }

    /// Below the root.
    fn folder(&self) -> [String; 2] {
        [STAGING_FOLDER.to_owned(), self.run.clone()]
    }

    fn part(&self) -> String {
        format!("{}.part", self.id)
    }

    fn early(&self, part: u32) -> String {
        format!("{}.early-{part}", self.id)
    }

    fn write(&self, folder: &Folder) -> io::Result<()> {
        let name = format!("{}.token", self.id);
        let new = format!("{}.token-new", self.id);
        let mut file = folder.create_file(&new)?;
        file.write_all(self.text().as_bytes())?;
        if self.content.is_some() {
            file.sync_all()?;
        }
        folder.replace(&new, &name)
    }

    /// The token of this id, or `orphan` where a crash came before it was written.
    fn read(folder: &Folder, orphan: &Token) -> Token {
        let mut text = String::new();
        folder
            .open_file(&format!("{}.token", orphan.id))
            .and_then(|file| file.take(MAX_TOKEN_BYTES as u64).read_to_string(&mut text))
            .ok()
            .and_then(|_| Token::parse(&text).ok())
            .filter(|token| {
                (&token.id, &token.run, &token.root) == (&orphan.id, &orphan.run, &orphan.root)
            })
            .unwrap_or_else(|| orphan.clone())
    }

    fn remove_files(&self, root: &Folder) -> io::Result<()> {
        let folder = match root.below(&self.folder()) {
            Err(error) if is_missing(&error) => return Ok(()),
            folder => folder?,
        };
        // The bytes first: a token without bytes is nothing, bytes without a token can only be discarded.
        folder.remove(&self.part())?;
        for entry in folder.entries()? {
            if entry
                .name
                .strip_prefix(&self.id)
                .is_some_and(|rest| rest.starts_with('.'))
            {
                folder.remove(&entry.name)?;
            }
        }
        root.remove_empty(&self.folder());
        Ok(())
    }
}

impl Content {
    fn is_of(&self, mut file: File) -> io::Result<bool> {
        if file.metadata()?.len() != self.bytes {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        Ok(hex(&hash.finalize()) == self.sha256)
    }
}

/// A run becomes a folder name.
fn check_run(run: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if (1..=128).contains(&run.len()) && run.chars().all(is_plain) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::Rejected,
        "a run id is 1 to 128 letters, digits, `-` and `_`",
    ))
}

fn is_id(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|uuid| uuid.to_string() == id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
