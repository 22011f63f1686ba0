//! The asset file: YAML → `spec.rs` as written → a [`Contract`], which cannot be wrong.
//!
//! Works like the job file, with the same parser, checks and messages. Knows nothing of schemas of
//! sources: that is `contract/`.

mod build;
mod spec;

#[cfg(test)]
mod golden;

use std::path::Path;
use std::sync::Arc;

use super::secrets::{Resolver, Secrets};
use super::yaml::{Document, What};
use super::{parse_spec, read_text};
use crate::contract::{Contract, MaskKey};
use crate::error::{Error, Kind};

pub use spec::schema;

/// A contract whose keys are still placeholders.
#[derive(Debug)]
pub struct AssetDraft {
    contract: Contract,
    /// For each column, by its place: the key of its mask.
    keys: Vec<Option<String>>,
}

impl AssetDraft {
    /// The contract with its keys.
    pub fn finish(mut self, secrets: &Secrets) -> Contract {
        use crate::contract::Mask;
        for (column, key) in self.contract.columns.iter_mut().zip(self.keys) {
            if let Some(key) = key {
                let key = MaskKey::new(secrets.fill(&key).as_bytes());
                column.mask = Some(Mask::Hash(Some(key)));
            }
        }
        self.contract
    }

    pub fn contract(&self) -> &Contract {
        &self.contract
    }
}

/// Reads and checks an asset file. All that is wrong is added to `problems`.
pub fn load(
    file: &Path,
    resolver: &mut Resolver,
    problems: &mut Vec<Error>,
) -> Result<Option<AssetDraft>, Error> {
    let text = read_text(file, What::Asset)?;
    Ok(parse(file, &text, resolver, problems))
}

fn parse(
    file: &Path,
    text: &str,
    resolver: &mut Resolver,
    problems: &mut Vec<Error>,
) -> Option<AssetDraft> {
    let (document, found) = match Document::parse(What::Asset, file, text) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.push(error);
            return None;
        }
    };
    problems.extend(found);
    let document = Arc::new(document);
    if !document.value().is_object() {
        problems.push(
            Error::new(Kind::JobInvalid, "an asset is a mapping of keys to values")
                .at(document.locate(""))
                .hint("start with `name: NAME`; `dativo-wasm schema asset` prints all keys"),
        );
        return None;
    }
    let (spec, refused) = parse_spec(&document, &schema(), problems)?;
    build::asset(spec, &document, &refused, resolver, problems)
}
