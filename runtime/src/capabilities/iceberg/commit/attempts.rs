//! What is sent to the catalog, for the table as it is at each attempt.
//!
//! Writes metadata files, receipts and, for an upsert, data files. Asks no catalog, and decides nothing about answers.

use std::collections::HashMap;

use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;

use super::{Committer, Folders};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::iceberg::history::{self, Landed};
use crate::capabilities::iceberg::receipt::{self, Content, Receipt};
use crate::capabilities::iceberg::snapshot::{Change, Prepared, Removes};
use crate::capabilities::iceberg::target::{Mode, Target};
use crate::capabilities::iceberg::upsert::{Entry, Upsert};
use crate::capabilities::iceberg::warehouse::Warehouse;
use crate::component::ComponentRef;

/// The version of the contract that a snapshot was written under.
const CONTRACT: &str = "0.1.0";

pub struct Attempts<'a> {
    target: &'a Target,
    warehouse: &'a Warehouse,
    folders: &'a Folders,
    committer: &'a Committer,
    pub state: Option<String>,
    /// Of the files that the snapshot of the last attempt adds.
    pub receipt: Receipt,
    change: Change,
    upsert: Option<Upsert>,
    /// What the table will say of the run, once its receipt is written.
    landed: Option<Landed>,
}

impl<'a> Attempts<'a> {
    pub fn new(
        target: &'a Target,
        warehouse: &'a Warehouse,
        folders: &'a Folders,
        committer: &'a Committer,
        state: Option<String>,
    ) -> Self {
        let removes = match target.mode {
            Mode::Append | Mode::Upsert => Removes::Nothing,
            Mode::Overwrite => Removes::All,
            Mode::OverwritePartitions => Removes::Partitions,
        };
        Self {
            target,
            warehouse,
            folders,
            committer,
            state,
            receipt: Receipt {
                run: committer.run.clone(),
                tenant: committer.owner.tenant.clone(),
                job: committer.owner.job.clone(),
                files: Vec::new(),
            },
            change: Change::new(removes, &folders.metadata, &folders.run),
            upsert: None,
            landed: None,
        }
    }

    /// Takes what the run wrote, before the first attempt.
    pub async fn take_in(
        &mut self,
        metadata: &TableMetadata,
        entries: Vec<Entry>,
        memory_bytes: u64,
    ) -> Result<()> {
        self.receipt.files = entries.iter().map(|entry| entry.written.clone()).collect();
        if self.target.mode == Mode::Upsert {
            let (warehouse, folder) = (self.warehouse, &self.folders.data);
            let upsert = Upsert::new(
                self.target,
                metadata,
                warehouse,
                folder,
                entries,
                memory_bytes,
            );
            self.upsert = Some(upsert.await?);
        } else {
            self.change.added = entries.into_iter().map(|entry| entry.file).collect();
        }
        Ok(())
    }

    /// What follows the current snapshot of `metadata`, and what the table will say of the run then.
    pub async fn prepare(&mut self, metadata: &TableMetadata) -> Result<(Prepared, Landed)> {
        let (folder, run) = (&self.folders.metadata, &self.folders.run);
        let merged = match &mut self.upsert {
            Some(upsert) => Some(upsert.merge(metadata).await?),
            None => None,
        };
        let mut landed = match self.landed.take() {
            Some(landed) => landed,
            // It says, too, that an attempt may be out there.
            None => self.save(receipt::url(folder, run)).await?,
        };
        if let Some(merged) = merged {
            if merged.files != self.receipt.files {
                self.receipt.files = merged.files;
                landed = self.save(receipt::url_of_attempt(folder, run)).await?;
            }
            self.change
                .set(merged.added, merged.deletes, merged.removed);
        }
        self.change.properties = summary(self.committer, &self.receipt, &landed);
        let mut prepared = self.change.prepare(metadata, self.warehouse).await?;
        let last = serde_json::to_string(&landed)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        prepared.updates.push(TableUpdate::SetProperties {
            updates: HashMap::from([(history::property(&self.committer.owner), last)]),
        });
        self.landed = Some(landed.clone());
        Ok((prepared, landed))
    }

    async fn save(&self, url: String) -> Result<Landed> {
        let (snapshot, state) = (self.change.snapshot_id, self.state.clone());
        self.receipt
            .save(self.warehouse, url, snapshot, state)
            .await
    }
}

/// The summary of the snapshot: who wrote what, from which code.
fn summary(committer: &Committer, receipt: &Receipt, landed: &Landed) -> HashMap<String, String> {
    let component = |reference: &ComponentRef| format!("{} {}", reference.name, reference.version);
    let rows = |content| -> u64 {
        let files = receipt.files.iter().filter(|file| file.content == content);
        files.map(|file| file.rows).sum()
    };
    let pairs = [
        (history::RUN, committer.run.clone()),
        (history::TENANT, committer.owner.tenant.clone()),
        (history::JOB, committer.owner.job.clone()),
        ("dativo.reader", component(&committer.reader)),
        ("dativo.reader-digest", committer.reader.digest.clone()),
        ("dativo.writer", component(&committer.writer)),
        ("dativo.writer-digest", committer.writer.digest.clone()),
        ("dativo.contract-version", CONTRACT.to_owned()),
        ("dativo.rows", rows(Content::Rows).to_string()),
        (history::RECEIPT, landed.receipt.clone()),
        (history::RECEIPT_SHA256, landed.receipt_sha256.clone()),
    ];
    let state = landed.state.clone().map(|state| (history::STATE, state));
    pairs
        .into_iter()
        .chain(state)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
