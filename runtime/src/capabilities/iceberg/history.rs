//! What a table's metadata says of the runs that are in it.
//!
//! Pure. A run is a snapshot among the ancestors of the current one, with the run in its summary. Since snapshots expire, the last
//! run of each job stands in the properties of the table, too, set in the same commit. A snapshot that was rolled back
//! is there and no ancestor, so its run does not count.

use std::collections::HashMap;

use iceberg::spec::{SnapshotRef, TableMetadata};
use serde::{Deserialize, Serialize};

/// Names in the summary of a snapshot.
pub const RUN: &str = "dativo.run";
pub const TENANT: &str = "dativo.tenant";
pub const JOB: &str = "dativo.job";
pub const STATE: &str = "dativo.state";
pub const RECEIPT: &str = "dativo.receipt";
pub const RECEIPT_SHA256: &str = "dativo.receipt-sha256";

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub tenant: String,
    pub job: String,
}

/// A run that is in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    pub run: String,
    pub snapshot: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The URL of the list of its files, and what its SHA-256 must be.
    pub receipt: String,
    pub receipt_sha256: String,
    /// The snapshot's summary; empty where the snapshot expired.
    #[serde(skip)]
    pub summary: HashMap<String, String>,
}

/// The runs of a job, the last one first, as far as snapshots go back.
pub fn runs(metadata: &TableMetadata, owner: &Owner) -> Vec<Landed> {
    let own = ancestors(metadata).filter_map(|snapshot| landed(snapshot, owner));
    let mut runs: Vec<Landed> = own.collect();
    if runs.is_empty()
        && let Some(text) = metadata.properties().get(&property(owner))
        && let Ok(last) = serde_json::from_str::<Landed>(text)
        && metadata.snapshot_by_id(last.snapshot).is_none()
    {
        runs.push(last);
    }
    runs
}

/// The name of the property that holds a job's last run.
pub fn property(owner: &Owner) -> String {
    format!("dativo.last-run.{}.{}", owner.tenant, owner.job)
}

fn ancestors(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    std::iter::successors(metadata.current_snapshot(), |snapshot| {
        metadata.snapshot_by_id(snapshot.parent_snapshot_id()?)
    })
}

fn landed(snapshot: &SnapshotRef, owner: &Owner) -> Option<Landed> {
    let summary = &snapshot.summary().additional_properties;
    let is = |key, value: &String| summary.get(key) == Some(value);
    if !is(TENANT, &owner.tenant) || !is(JOB, &owner.job) {
        return None;
    }
    Some(Landed {
        run: summary.get(RUN)?.clone(),
        snapshot: snapshot.snapshot_id(),
        state: summary.get(STATE).cloned(),
        receipt: summary.get(RECEIPT).cloned().unwrap_or_default(),
        receipt_sha256: summary.get(RECEIPT_SHA256).cloned().unwrap_or_default(),
        summary: summary.clone(),
    })
}
