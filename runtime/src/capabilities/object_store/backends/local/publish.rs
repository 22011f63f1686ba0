//! From staged to published or discarded, by token: in this process or another.

use std::io;

use super::folder::{self, Entry, Folder, failure, is_missing};
use super::token::Token;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{Leftover, check_run, gone, is_id};
use crate::capabilities::object_store::grant::{Access, Grant, Place};
use crate::capabilities::object_store::name::STAGING_FOLDER;

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
    let root = match Folder::root(&place) {
        Err(error) if is_missing(&error) => return Err(gone(&place)),
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
            false => Err(gone(&place)),
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

/// Whether [`publish`] would find what the token names, staged or published.
pub fn check_staged(grant: &Grant, token: &str) -> Result<()> {
    let token = Token::parse(token)?;
    let place = token.place(grant, &grant.root(Access::Write, &token.root)?)?;
    let is_there = |opened: io::Result<_>| match opened {
        Err(error) if is_missing(&error) => Ok(false),
        opened => opened.map(|_| true),
    };
    let staged =
        Folder::root(&place).and_then(|root| root.below(&token.folder())?.open_file(&token.part()));
    let found = is_there(staged)
        .and_then(|staged| Ok(staged || is_there(folder::open(&place))?))
        .map_err(failure(place.written()))?;
    match found {
        true => Ok(()),
        false => Err(gone(&place)),
    }
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

/// What every run left in the folder that `root` is. Who they are for is not written here.
pub fn leftovers(grant: &Grant, root: &Place) -> Result<Vec<Leftover>> {
    let failure = failure(root.written());
    let staging = Folder::root(root).and_then(|folder| folder.child(STAGING_FOLDER));
    let staging = match staging {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        staging => staging.map_err(&failure)?,
    };
    let mut found = Vec::new();
    for entry in staging.entries().map_err(&failure)? {
        if !entry.is_folder || check_run(&entry.name).is_err() {
            continue;
        }
        for token in list_staged(grant, root, &entry.name)? {
            let parsed = Token::parse(&token)?;
            let place = parsed.place(grant, root);
            found.push(Leftover {
                owner: None,
                run: entry.name.clone(),
                url: place.map_or_else(|_| root.url(), |place| place.url()),
                token,
            });
        }
    }
    Ok(found)
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
            let orphan = Token::begun(&root_place, &[], run, id);
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
