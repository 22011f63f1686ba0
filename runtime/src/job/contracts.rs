//! What a job says about its contract: the asset file, and where the rows go that break it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Map;

use super::Endpoint;
use super::asset::{self, AssetDraft};
use super::build::Builder;
use super::endpoints::Draft;
use super::implementation::{Implementation, Role};
use super::secrets::Resolver;
use super::tenant::{Covered, TenantPolicy};
use crate::contract::Mode;

const ASSET: &str = "/asset_path";
const DEAD_LETTER: &str = "/dead_letter";

impl Builder<'_> {
    /// The contract that the job names, where it can be read.
    /// Whether the operator lets the tenant's jobs read this file: what is wrong in it would be shown.
    pub fn may_read(&mut self, path: &str, policy: &TenantPolicy) -> bool {
        let line = format!("read {path}");
        if policy.covers("files", &line) != Covered::No {
            return true;
        }
        let hint = format!(
            "ask the operator to add it to `grants: {{ files: [\"{line}\"] }}` of the tenant"
        );
        self.problem(
            ASSET,
            "the operator's file on the tenant does not allow this `asset_path`",
            &hint,
        );
        false
    }

    pub fn asset(&mut self, path: &str, resolver: &mut Resolver) -> Option<AssetDraft> {
        match asset::load(Path::new(path), resolver, self.problems) {
            Ok(asset) => asset,
            Err(error) => {
                self.problems.push(error.at(self.document.locate(ASSET)));
                None
            }
        }
    }

    /// Rows that break a rule need a place in mode `warn`, and have none otherwise.
    pub fn dead_letter(&mut self, has_asset: bool, asset: Option<&AssetDraft>, given: bool) {
        let mode = asset.map(|asset| asset.contract().mode);
        match (mode, given) {
            (Some(Mode::Warn), false) if !self.was_refused(DEAD_LETTER) => self.problem(
                ASSET,
                "a contract of mode `warn` needs a place for the rows that break it",
                "add `dead_letter: { path: out/rejected }` to the job",
            ),
            (Some(Mode::Strict), true) => self.problem(
                DEAD_LETTER,
                "a contract of mode `strict` ends the run at the first row that breaks it, and has no dead letter",
                "remove `dead_letter`, or write `mode: warn` in the asset",
            ),
            (None, true) if !has_asset && !self.was_refused(ASSET) => self.problem(
                DEAD_LETTER,
                "a dead letter takes what a contract refuses, and the job has no contract",
                "add `asset_path: ...`, or remove `dead_letter`",
            ),
            _ => {}
        }
    }

    /// The dead letter as a target of its own, written by the built-in Parquet writer.
    pub fn dead_letter_endpoint(&mut self, path: &str, resolver: &mut Resolver) -> Endpoint {
        let draft = Draft {
            role: Role::Writer,
            implementation: Implementation::BuiltIn("parquet"),
            implementation_pointer: DEAD_LETTER.to_owned(),
            config: Map::from_iter([("path".to_owned(), path.into())]),
            config_pointer: DEAD_LETTER.to_owned(),
            pointer: DEAD_LETTER.to_owned(),
            grants: BTreeMap::new(),
        };
        self.hide_secrets(draft, resolver)
    }
}
