//! Commits: one snapshot for each run, decided by the table itself.
//!
//! A commit names the snapshot that it follows, and a catalog takes one successor of each. So an attempt whose answer was lost
//! either is in the table when it is read again, or cannot land once another attempt did. What was staged is deleted by
//! `abort` alone, and only where no attempt may still land: each leaves its metadata files until it is known to be refused.

mod attempts;

use std::collections::{HashMap, HashSet};

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::catalog::{Commit, Loaded};
use super::data_files::StagedFile;
use super::history::{self, Landed, Owner};
use super::receipt::{self, Written};
use super::retry::Retry;
use super::snapshot;
use super::table::Table;
use super::target::Mode;
use super::upsert::Entry;
use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::ComponentRef;
use crate::pipeline::crash;
use attempts::Attempts;

/// Larger states do not belong into metadata that every reader of the table loads.
const MAX_STATE_BYTES: usize = 1 << 20;

/// Who commits, from the scope of the instance.
pub struct Committer {
    pub run: String,
    pub owner: Owner,
    pub reader: ComponentRef,
    pub writer: ComponentRef,
}

/// What a split staged, as it stands in the warehouse.
#[derive(Serialize, Deserialize)]
pub struct Staged {
    pub run: String,
    pub split: u32,
    /// Of the table.
    pub table: uuid::Uuid,
    pub schema: i32,
    pub files: Vec<StagedFile>,
}

/// A run that is in the table, with its files.
pub struct Committed {
    pub landed: Landed,
    pub files: Vec<Written>,
}

/// Where the files of a run are, inside of the table.
pub struct Folders {
    /// Its data files; ends in `/`.
    pub data: String,
    /// Metadata files of all runs, without folders in it, as stores made for tables want it; ends in `/`.
    metadata: String,
    run: String,
}

impl Folders {
    pub fn new(location: &str, run: &str) -> Self {
        let location = location.trim_end_matches('/');
        Self {
            data: format!("{location}/data/{run}/"),
            metadata: format!("{location}/metadata/"),
            run: run.to_owned(),
        }
    }

    /// Whether the run may have been sent to the catalog, by whatever process.
    async fn has_attempt(&self, warehouse: &Warehouse) -> Result<bool> {
        let receipt = receipt::url(&self.metadata, &self.run);
        match warehouse.size(&receipt).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Metadata files of the run's attempts to commit: each has the run in its name.
    async fn attempts(&self, warehouse: &Warehouse) -> Result<Vec<String>> {
        let all = warehouse.list(&self.metadata).await?.into_iter();
        Ok(all
            .map(|(url, _)| url)
            .filter(|url| url.contains(&self.run))
            .collect())
    }
}

impl Committed {
    /// The snapshot and its counts, as JSON.
    pub fn details(&self, table: &Table) -> String {
        let count = |key: &str| {
            self.landed
                .summary
                .get(key)
                .and_then(|text| text.parse::<u64>().ok())
        };
        json!({
            "table": table.name.to_string(),
            "snapshot_id": self.landed.snapshot,
            "added_rows": count("added-records"),
            "deleted_rows": count("deleted-records"),
            "total_rows": count("total-records"),
        })
        .to_string()
    }
}

/// Commits what every split staged, with the state. An upsert takes at most `memory_bytes`.
pub async fn commit(
    table: &Table,
    committer: &Committer,
    base: Option<&str>,
    staged: &[String],
    state: Option<String>,
    memory_bytes: u64,
) -> Result<Committed> {
    if let Some(state) = &state {
        check_state(table, state)?;
    }
    let mut loaded = table.reload().await?;
    let warehouse = table.warehouse(&loaded.metadata)?;
    let folders = Folders::new(loaded.metadata.location(), &committer.run);
    if let Some(landed) = find(&loaded, committer) {
        return found(&warehouse, &folders, landed).await;
    }
    let staged = read(&warehouse, &folders, committer, staged).await?;
    let files = entries(&loaded.metadata, &staged)?;
    // An attempt may have landed, or may still: its answer was lost, or this program was killed after it.
    let mut is_unknown = folders.has_attempt(&warehouse).await?;
    let mut attempts = Attempts::new(&table.target, &warehouse, &folders, committer, state);
    let taken = match check_table(table, &loaded, &staged) {
        Ok(()) => {
            attempts
                .take_in(&loaded.metadata, files, memory_bytes)
                .await
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = taken {
        return Err(given_up(table, &warehouse, &folders, is_unknown, failure).await);
    }
    let mut retry = Retry::new(loaded.metadata.properties());
    loop {
        let fits = check_base(&loaded, committer, base)
            .and_then(|()| check_table(table, &loaded, &staged));
        let prepared = match fits {
            Ok(()) => attempts.prepare(&loaded.metadata).await,
            Err(failure) => Err(failure),
        };
        let (prepared, landed) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                return Err(given_up(table, &warehouse, &folders, is_unknown, failure).await);
            }
        };
        crash::point("iceberg-prepared");
        let sent = table
            .catalog
            .commit(
                &table.name,
                &loaded,
                prepared.requirements,
                prepared.updates,
            )
            .await;
        crash::point("iceberg-committed");
        let failure = match sent {
            Commit::Landed(after) => {
                let landed = find(&after, committer).unwrap_or(landed);
                let files = attempts.receipt.files;
                tidy(&warehouse, &folders, &files).await;
                return Ok(Committed { landed, files });
            }
            Commit::Refused(failure) => {
                return Err(given_up(table, &warehouse, &folders, is_unknown, failure).await);
            }
            Commit::Conflict(failure) => failure,
            Commit::Unknown(failure) => {
                is_unknown = true;
                failure
            }
        };
        let goes_on = retry.wait().await;
        // What became of the attempts is for the table to say.
        loaded = match table.reload().await {
            Ok(loaded) => loaded,
            Err(failure) => {
                return Err(given_up(table, &warehouse, &folders, is_unknown, failure).await);
            }
        };
        if let Some(landed) = find(&loaded, committer) {
            return found(&warehouse, &folders, landed).await;
        }
        if !goes_on {
            let message = format!(
                "the table `{}` changed with every attempt: {}",
                table.name, failure.message
            );
            let failure = Failure::new(ErrorKind::Rejected, message).hint(
                "run the job again; with many writers, raise the table's `commit.retry.num-retries`",
            );
            return Err(given_up(table, &warehouse, &folders, is_unknown, failure).await);
        }
    }
}

/// No further attempt is made. Where none may still land, their metadata files are removed, which tells `abort` so.
async fn given_up(
    table: &Table,
    warehouse: &Warehouse,
    folders: &Folders,
    is_unknown: bool,
    failure: Failure,
) -> Failure {
    if is_unknown {
        return lost(table, &failure);
    }
    withdraw(warehouse, folders).await;
    failure
}

/// Removes the data files of a run, unless it is in the table, or may still come into it.
pub async fn abort(table: &Table, committer: &Committer) -> Result<()> {
    let Some(loaded) = table.load().await? else {
        return Ok(());
    };
    let warehouse = table.warehouse(&loaded.metadata)?;
    let folders = Folders::new(loaded.metadata.location(), &committer.run);
    if find(&loaded, committer).is_some() {
        return Ok(());
    }
    if folders.has_attempt(&warehouse).await? {
        let (run_id, table) = (committer.run.clone(), table.name.to_string());
        tracing::warn!(
            run_id,
            table,
            folder = folders.data,
            "a commit of the run was sent and is not in the table; its files stay, since it may still land"
        );
        return Ok(());
    }
    for (url, _) in warehouse.list(&folders.data).await? {
        warehouse.remove(&url).await?;
    }
    warehouse.remove_unfinished(&folders.data).await
}

/// The last commit of a job.
pub async fn last_commit(table: &Table, owner: &Owner) -> Result<Option<Committed>> {
    let Some(loaded) = table.load().await? else {
        return Ok(None);
    };
    let Some(landed) = history::runs(&loaded.metadata, owner).into_iter().next() else {
        return Ok(None);
    };
    let warehouse = table.warehouse(&loaded.metadata)?;
    let files = receipt::files(&warehouse, &landed).await?;
    Ok(Some(Committed { landed, files }))
}

fn find(loaded: &Loaded, committer: &Committer) -> Option<Landed> {
    let runs = history::runs(&loaded.metadata, &committer.owner);
    runs.into_iter().find(|landed| landed.run == committer.run)
}

/// The job's last commit must be the one that the run began after.
fn check_base(loaded: &Loaded, committer: &Committer, base: Option<&str>) -> Result<()> {
    let runs = history::runs(&loaded.metadata, &committer.owner);
    let last = runs.first().map(|landed| landed.run.as_str());
    if last == base {
        return Ok(());
    }
    let message = format!(
        "another run of the job committed meanwhile: {}",
        last.unwrap_or("none is left in the table")
    );
    Err(Failure::new(ErrorKind::Rejected, message)
        .hint("let one machine at a time run a job; run it again to read what is new"))
}

/// What was staged must still fit the table.
fn check_table(table: &Table, loaded: &Loaded, staged: &[Staged]) -> Result<()> {
    let metadata = &loaded.metadata;
    let replaced = staged.iter().any(|split| split.table != metadata.uuid());
    let spec = metadata.default_partition_spec_id();
    let files = || staged.iter().flat_map(|split| &split.files);
    let what = match () {
        () if replaced => "was replaced by another",
        () if files().any(|file| file.spec_id != spec) => "was given other partitions",
        () => return Ok(()),
    };
    let message = format!(
        "the table `{}` {what} while the run wrote to it",
        table.name
    );
    Err(Failure::new(ErrorKind::Rejected, message).hint("run the job again"))
}

fn check_state(table: &Table, state: &str) -> Result<()> {
    if state.len() > MAX_STATE_BYTES {
        let message = format!(
            "the reader's state has {} bytes; a snapshot takes {MAX_STATE_BYTES}",
            state.len()
        );
        return Err(Failure::new(ErrorKind::LimitExceeded, message)
            .hint("read fewer streams or files with one job"));
    }
    if matches!(
        table.target.mode,
        Mode::Overwrite | Mode::OverwritePartitions
    ) {
        return Err(Failure::new(
            ErrorKind::Rejected,
            "the reader reads what is new since its last run, and `mode: overwrite` would drop what it read before",
        )
        .hint("write `mode: append`, or let the reader read everything each time"));
    }
    Ok(())
}

/// What every split staged; each file must be one of the run, there, and as long as it was.
async fn read(
    warehouse: &Warehouse,
    folders: &Folders,
    committer: &Committer,
    staged: &[String],
) -> Result<Vec<Staged>> {
    let foreign = || {
        Failure::new(ErrorKind::Denied, "what a split staged is not of this run")
            .hint("hand the texts of `stage` to `commit` as they are, one for each split")
    };
    let mut splits: Vec<Staged> = Vec::with_capacity(staged.len());
    for text in staged {
        let split: Staged = serde_json::from_str(text).map_err(|_| foreign())?;
        if split.run != committer.run || splits.iter().any(|other| other.split == split.split) {
            return Err(foreign());
        }
        splits.push(split);
    }
    splits.sort_by_key(|split| split.split);
    if splits.iter().all(|split| split.files.is_empty()) {
        return Ok(splits);
    }
    let there: HashMap<String, u64> = warehouse.list(&folders.data).await?.into_iter().collect();
    for file in splits.iter().flat_map(|split| &split.files) {
        if !file.written.path.starts_with(&folders.data) {
            return Err(foreign());
        }
        if there.get(&file.written.path) != Some(&file.written.bytes) {
            let path = &file.written.path;
            let message = format!("`{path}`, which the run wrote, is gone or was changed");
            return Err(Failure::new(ErrorKind::Rejected, message).hint("run the job again"));
        }
    }
    Ok(splits)
}

/// The files of the splits, with their entries of a manifest.
fn entries(metadata: &TableMetadata, staged: &[Staged]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for split in staged {
        let schema = metadata
            .schema_by_id(split.schema)
            .unwrap_or_else(|| metadata.current_schema());
        for file in &split.files {
            let spec = snapshot::spec(metadata, file.spec_id)?;
            let read = file.read(spec, schema)?;
            if read.file_path() != file.written.path
                || read.file_size_in_bytes() != file.written.bytes
            {
                return Err(Failure::new(
                    ErrorKind::Denied,
                    "what a split staged was changed",
                ));
            }
            entries.push(Entry {
                split: split.split,
                written: file.written.clone(),
                file: read,
            });
        }
    }
    Ok(entries)
}

/// A run that is in the table already.
async fn found(warehouse: &Warehouse, folders: &Folders, landed: Landed) -> Result<Committed> {
    let files = receipt::files(warehouse, &landed).await?;
    let has_rows = landed
        .summary
        .get("dativo.rows")
        .is_none_or(|rows| rows != "0");
    // Without its receipt there is no telling which files are the table's.
    if !files.is_empty() || !has_rows {
        tidy(warehouse, folders, &files).await;
    }
    Ok(Committed { landed, files })
}

/// Removes what a run that is in the table staged beside its `files`, such as those of a split that was read again.
async fn tidy(warehouse: &Warehouse, folders: &Folders, files: &[Written]) {
    let kept: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let tidied = async {
        for (url, _) in warehouse.list(&folders.data).await? {
            if !kept.contains(url.as_str()) {
                warehouse.remove(&url).await?;
            }
        }
        warehouse.remove_unfinished(&folders.data).await
    };
    if let Err(failure) = tidied.await {
        let (run_id, problem) = (folders.run.clone(), failure.to_string());
        tracing::warn!(
            run_id,
            problem,
            "the commit landed; what the run staged beside could not be removed"
        );
    }
}

/// Removes metadata files of attempts that cannot land.
async fn withdraw(warehouse: &Warehouse, folders: &Folders) {
    let removed = async {
        let receipt = receipt::url(&folders.metadata, &folders.run);
        for url in folders.attempts(warehouse).await? {
            if url != receipt {
                warehouse.remove(&url).await?;
            }
        }
        // It says that an attempt may be out there, so it goes last.
        warehouse.remove(&receipt).await?;
        Ok::<_, Failure>(())
    };
    if let Err(failure) = removed.await {
        let (folder, problem) = (folders.metadata.clone(), failure.to_string());
        tracing::warn!(
            folder,
            problem,
            "metadata of a refused commit could not be removed"
        );
    }
}

fn lost(table: &Table, cause: &Failure) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!(
            "whether the commit to `{}` landed is not known: {}",
            table.name, cause.message
        ),
    )
    .hint("run the job again once the catalog answers: the table says what became of the commit")
}
