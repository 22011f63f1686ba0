//! The text that names a staged object, and the files that belong to it.
//!
//! A token comes back through guests, so nothing in it is believed: the root must be one that the job grants for
//! writing, the name below it must be covered, and the path of the staged file is put together here.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::folder::{Folder, is_missing};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{check_run, hex, is_id};
use crate::capabilities::object_store::grant::{Access, Grant, Place};
use crate::capabilities::object_store::name::STAGING_FOLDER;

/// Longest token, in bytes: two paths of the largest size, escaped, and some fields.
const MAX_TOKEN_BYTES: usize = 32 << 10;

const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    version: u32,
    /// The granted folder, absolute.
    pub root: String,
    /// Of the object, below the root. Empty where a crash left bytes without their token.
    pub name: String,
    pub run: String,
    pub id: String,
    /// Of a complete object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    pub bytes: u64,
    pub sha256: String,
}

impl Token {
    /// Of bytes that are not complete. `name` is empty where it is not known.
    pub fn begun(root: &Place, name: &[String], run: &str, id: &str) -> Self {
        Self {
            version: VERSION,
            root: root.root_path().display().to_string(),
            name: name.join("/"),
            run: run.to_owned(),
            id: id.to_owned(),
            content: None,
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
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

    pub fn text(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The object, if the name is one and covered.
    pub fn place(&self, grant: &Grant, root: &Place) -> Result<Place> {
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
    pub fn folder(&self) -> [String; 2] {
        [STAGING_FOLDER.to_owned(), self.run.clone()]
    }

    pub fn part(&self) -> String {
        format!("{}.part", self.id)
    }

    pub fn early(&self, part: u32) -> String {
        format!("{}.early-{part}", self.id)
    }

    pub fn write(&self, folder: &Folder) -> io::Result<()> {
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
    pub fn read(folder: &Folder, orphan: &Token) -> Token {
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

    pub fn remove_files(&self, root: &Folder) -> io::Result<()> {
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
    pub fn is_of(&self, mut file: File) -> io::Result<bool> {
        if file.metadata()?.len() != self.bytes {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        Ok(hex(&hash.finalize()) == self.sha256)
    }
}
