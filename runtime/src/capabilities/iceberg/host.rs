//! The `iceberg` interface: check the grant, write data files, count their memory, commit for the run of the instance.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::Access;
use super::commit::{self, Committed, Committer, Folders, Staged};
use super::data_files::{DataFiles, Layout};
use super::history::Owner;
use super::receipt::{Content, Written};
use super::table::Table;
use super::target::{MergeMode, Mode};
use super::upsert;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::component::State;
use crate::component::bindings::imports::iceberg as wit;
use crate::component::bindings::imports::types::Error as WitError;
use crate::data::{HostBatch, HostSchema};

/// Of the memory that an instance may still take, open files may hold this part, with a batch and a closing file beside.
const HELD_PART: u64 = 2;

/// The data files of a split, behind a handle.
pub struct HostDataFiles {
    /// None once they are staged, or broken.
    files: Option<DataFiles>,
    staged: Staged,
    counted_bytes: u64,
}

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    fn tables(&self) -> wasmtime::Result<Arc<Access>> {
        let granted = self.granted.iceberg.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`iceberg` is not granted"))
    }

    fn table(&self, target: &str) -> wasmtime::Result<Result<Table>> {
        Ok(Table::new(&self.tables()?, target))
    }

    /// Whom it is committed for says the run, and never the guest.
    fn committer(&self) -> Committer {
        Committer {
            run: self.scope.run_id.clone(),
            owner: Owner {
                tenant: self.scope.tenant.clone(),
                job: self.scope.job.clone(),
            },
            reader: self.scope.reader.clone(),
            writer: self.scope.writer.clone(),
        }
    }

    /// Counts what open files hold now instead of what they held before.
    fn recount_files(&mut self, handle: &Resource<HostDataFiles>) -> Answer<()> {
        let held = self.get_mut(handle)?;
        let now = held.files.as_ref().map_or(0, DataFiles::memory_bytes);
        let before = std::mem::replace(&mut held.counted_bytes, now);
        self.budget.give(before);
        let counted = self.budget.take(now);
        if counted.is_err() {
            // A refused amount is not counted, so it must not be given back later.
            self.get_mut(handle)?.counted_bytes = 0;
        }
        Ok(counted)
    }
}

/// Opens the files of `split` in a run, which may hold `memory_bytes` together.
async fn create_files(
    table: Table,
    schema: &arrow::datatypes::Schema,
    run: String,
    split: u32,
    memory_bytes: u64,
) -> Result<HostDataFiles> {
    let loaded = table.with_columns(schema).await?;
    let metadata = &loaded.metadata;
    let warehouse = table.warehouse(metadata)?;
    let folder = Folders::new(metadata.location(), &run).data;
    let mut layout = Layout::new(metadata, &table.target, &folder, memory_bytes)?;
    if table.target.mode == Mode::Upsert {
        let key = upsert::key_schema(metadata.current_schema(), &table.target.key)?;
        if table.target.merge_mode == MergeMode::MergeOnRead {
            upsert::check_merge_on_read(&key, metadata)?;
        }
        layout.key = Some(key);
    }
    let staged = Staged {
        run,
        split,
        table: metadata.uuid(),
        schema: metadata.current_schema_id(),
        files: Vec::new(),
    };
    Ok(HostDataFiles {
        files: Some(DataFiles::new(layout, warehouse, format!("{split:05}"))?),
        staged,
        counted_bytes: 0,
    })
}

impl HostDataFiles {
    /// Ends the files: what the guest gets names them, and a commit looks for each.
    async fn stage(&mut self) -> Result<String> {
        let files = self.files.take().ok_or_else(over)?;
        self.staged.files = files.finish().await?;
        serde_json::to_string(&self.staged)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))
    }
}

impl wit::Host for State {
    async fn commit(
        &mut self,
        target: String,
        base: Option<String>,
        staged: Vec<String>,
        state: Option<String>,
    ) -> Answer<wit::Committed> {
        let table = match self.table(&target)? {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let committer = self.committer();
        // Nothing else takes of it meanwhile: an instance does one thing at a time.
        let memory_bytes = self.budget.left();
        let base = base.as_deref();
        let committed =
            commit::commit(&table, &committer, base, &staged, state, memory_bytes).await;
        Ok(committed
            .map(|committed| answer(&table, committed))
            .map_err(WitError::from))
    }

    async fn abort(&mut self, target: String) -> Answer<()> {
        let table = match self.table(&target)? {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure.into())),
        };
        Ok(commit::abort(&table, &self.committer())
            .await
            .map_err(WitError::from))
    }

    async fn last_commit(&mut self, target: String) -> Answer<Option<wit::Committed>> {
        let table = match self.table(&target)? {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let last = commit::last_commit(&table, &self.committer().owner).await;
        let last = last.map(|last| last.map(|committed| answer(&table, committed)));
        Ok(last.map_err(WitError::from))
    }
}

fn answer(table: &Table, committed: Committed) -> wit::Committed {
    let details = committed.details(table);
    let own = |file: &Written| file.content == Content::Rows;
    let files = committed.files.into_iter().filter(own);
    let files = files.map(|file| wit::DataFile {
        path: file.path,
        rows: file.rows,
        bytes: file.bytes,
        sha256: file.sha256,
    });
    wit::Committed {
        files: files.collect(),
        run: committed.landed.run,
        state: committed.landed.state,
        details,
    }
}

fn over() -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        "the files are staged, or a call on them failed",
    )
    .hint("create others; what these wrote is removed with the run")
}

impl wit::HostDataFiles for State {
    async fn create(
        &mut self,
        target: String,
        schema: Resource<HostSchema>,
        split: u32,
    ) -> Answer<Resource<HostDataFiles>> {
        let schema = self.schema(&schema)?;
        let table = match self.table(&target)? {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let memory_bytes = self.budget.left() / HELD_PART;
        let run = self.scope.run_id.clone();
        Ok(
            match create_files(table, &schema, run, split, memory_bytes).await {
                Ok(files) => self.hold(files, 0),
                Err(failure) => Err(failure.into()),
            },
        )
    }

    async fn write(
        &mut self,
        handle: Resource<HostDataFiles>,
        batch: Resource<HostBatch>,
    ) -> Answer<()> {
        let batch = self.take_batch(batch)?;
        let Some(mut files) = self.get_mut(&handle)?.files.take() else {
            return Ok(Err(over().into()));
        };
        if let Err(failure) = files.write(batch).await {
            return Ok(Err(failure.into()));
        }
        self.get_mut(&handle)?.files = Some(files);
        self.recount_files(&handle)
    }

    async fn stage(&mut self, handle: Resource<HostDataFiles>) -> Answer<String> {
        let staged = self.get_mut(&handle)?.stage().await;
        if let Err(error) = self.recount_files(&handle)? {
            return Ok(Err(error));
        }
        Ok(staged.map_err(WitError::from))
    }

    async fn drop(&mut self, handle: Resource<HostDataFiles>) -> wasmtime::Result<()> {
        self.release(handle, |held| held.counted_bytes).map(drop)
    }
}
