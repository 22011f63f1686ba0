//! Snapshots: manifests, the manifest list and the updates that make them the table's current state.
//!
//! The crate `iceberg` commits appends alone and keeps its producer of snapshots to itself; this one is on its public types, and also
//! takes files out. Specification: <https://iceberg.apache.org/spec/#snapshots>
//!
//! Writes metadata files, and does not ask the catalog.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, MAIN_BRANCH, Manifest, ManifestContentType, ManifestFile,
    ManifestList, ManifestListWriter, ManifestWriterBuilder, Operation, PartitionSpec, Snapshot,
    SnapshotReference, SnapshotRetention, SnapshotSummaryCollector, Summary, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// The numbers of a summary that add up from one snapshot to the next: total, added, deleted.
const TOTALS: [[&str; 3]; 6] = [
    ["total-data-files", "added-data-files", "deleted-data-files"],
    [
        "total-delete-files",
        "added-delete-files",
        "removed-delete-files",
    ],
    ["total-records", "added-records", "deleted-records"],
    ["total-files-size", "added-files-size", "removed-files-size"],
    [
        "total-position-deletes",
        "added-position-deletes",
        "removed-position-deletes",
    ],
    [
        "total-equality-deletes",
        "added-equality-deletes",
        "removed-equality-deletes",
    ],
];

/// Which of the table's files a snapshot takes out.
pub enum Removes {
    Nothing,
    All,
    /// All files of the partitions that a file is added to.
    Partitions,
    /// These paths, by the manifests that list them.
    Files(HashMap<String, HashSet<String>>),
}

/// A data file of the current snapshot.
pub struct Live {
    pub file: DataFile,
    pub spec_id: i32,
    /// The path of the manifest that lists it.
    pub manifest: String,
}

impl Live {
    pub fn spec<'a>(&self, metadata: &'a TableMetadata) -> Result<&'a PartitionSpec> {
        spec(metadata, self.spec_id)
    }
}

/// One commit being made: the same for each attempt, whatever the table has become.
pub struct Change {
    pub snapshot_id: i64,
    pub added: Vec<DataFile>,
    /// Files of deletes that come with them.
    deletes: Vec<DataFile>,
    removes: Removes,
    /// Of the summary.
    pub properties: HashMap<String, String>,
    /// Where its metadata files go; ends in `/`.
    folder: String,
    /// Stands in their names.
    run: String,
    attempts: u32,
    /// The manifests of what is added, once they are written: attempts that add the same share them.
    manifests: Option<Vec<ManifestFile>>,
}

/// What the catalog is asked to do.
pub struct Prepared {
    pub requirements: Vec<TableRequirement>,
    pub updates: Vec<TableUpdate>,
}

impl Change {
    pub fn new(removes: Removes, folder: &str, run: &str) -> Self {
        Self {
            snapshot_id: random_id(),
            added: Vec::new(),
            deletes: Vec::new(),
            removes,
            properties: HashMap::new(),
            folder: folder.to_owned(),
            run: run.to_owned(),
            attempts: 0,
            manifests: None,
        }
    }

    /// Sets anew what is added and what is taken out.
    pub fn set(
        &mut self,
        added: Vec<DataFile>,
        deletes: Vec<DataFile>,
        removed: HashMap<String, HashSet<String>>,
    ) {
        (self.added, self.deletes) = (added, deletes);
        self.removes = Removes::Files(removed);
        self.manifests = None;
    }

    /// Writes the metadata files of a snapshot that follows the current one of `metadata`.
    pub async fn prepare(
        &mut self,
        metadata: &TableMetadata,
        warehouse: &Warehouse,
    ) -> Result<Prepared> {
        let files = Files::new(warehouse);
        let mut summary = SnapshotSummaryCollector::default();
        let spec = metadata.default_partition_spec();
        let schema = metadata.current_schema();
        for file in self.added.iter().chain(&self.deletes) {
            summary.add_file(file, schema.clone(), spec.clone());
        }
        let mut manifests = Vec::new();
        let mut removed = 0_u64;
        let before = current(metadata, &files).await?;
        let mut contents = files.contents(before.iter().filter(|manifest| self.reads(manifest)));
        for manifest in before {
            let read = match self.reads(&manifest) {
                true => files.next(&manifest, &mut contents).await?,
                false => None,
            };
            let kept = self.keep(metadata, &files, manifest, read, &mut summary, &mut removed);
            manifests.extend(kept.await?);
        }
        let added = match self.manifests.take() {
            Some(added) => added,
            None => self.add(metadata, &files).await?,
        };
        manifests.extend(added.clone());
        self.manifests = Some(added);
        self.attempts += 1;
        let (folder, run, attempt) = (&self.folder, &self.run, self.attempts);
        let url = format!("{folder}snap-{}-{attempt}-{run}.avro", self.snapshot_id);
        let parent = metadata.current_snapshot_id();
        let sequence = metadata.next_sequence_number();
        let output = files.io.new_output(&url).map_err(broken)?;
        let output = output.writer().await.map_err(broken)?;
        let mut list = ManifestListWriter::v2(output, self.snapshot_id, parent, sequence);
        list.add_manifests(manifests.into_iter()).map_err(broken)?;
        list.close().await.map_err(broken)?;
        files.save(&url).await?;
        let removed = removed + self.deletes.len() as u64;
        let operation = match (&self.removes, removed) {
            (Removes::Nothing | Removes::Partitions | Removes::Files(_), 0) => Operation::Append,
            _ => Operation::Overwrite,
        };
        let counts = totals(metadata, summary.build());
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(now_ms().max(metadata.last_updated_ms()))
            .with_manifest_list(url)
            .with_summary(Summary {
                operation,
                additional_properties: self.properties.clone().into_iter().chain(counts).collect(),
            })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let retention = SnapshotRetention::branch(None, None, None);
        let requirements = vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: parent,
            },
        ];
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_owned(),
                reference: SnapshotReference::new(self.snapshot_id, retention),
            },
        ];
        Ok(Prepared {
            requirements,
            updates,
        })
    }

    /// Whether files that a manifest names may be taken out.
    fn reads(&self, manifest: &ManifestFile) -> bool {
        manifest.content == ManifestContentType::Data
            && match &self.removes {
                Removes::Nothing => false,
                Removes::All | Removes::Partitions => true,
                Removes::Files(paths) => paths.contains_key(&manifest.manifest_path),
            }
    }

    /// A manifest of the table as the new snapshot has it; none where it has nothing of it. `read` is what it holds, where
    /// [`Self::reads`] says so.
    async fn keep(
        &self,
        metadata: &TableMetadata,
        files: &Files,
        manifest: ManifestFile,
        read: Option<Manifest>,
        summary: &mut SnapshotSummaryCollector,
        removed: &mut u64,
    ) -> Result<Option<ManifestFile>> {
        let Some(read) = read else {
            let is_of_deletes = manifest.content == ManifestContentType::Deletes;
            return match &self.removes {
                Removes::All if is_of_deletes => Ok(None),
                Removes::Partitions if is_of_deletes => {
                    check_deletes(&manifest).map(|()| Some(manifest))
                }
                _ => Ok(Some(manifest)),
            };
        };
        let spec_id = manifest.partition_spec_id;
        let live = || read.entries().iter().filter(|entry| entry.is_alive());
        let takes_out = |file| self.takes_out(&manifest, file, metadata);
        if !live().any(|entry| takes_out(entry.data_file())) {
            return Ok(Some(manifest));
        }
        let spec = Arc::new(spec(metadata, spec_id)?.clone());
        let schema = metadata.current_schema();
        let builder = self.writer(files, read.metadata().schema().clone(), (*spec).clone())?;
        let mut writer = builder.build_v2_data();
        for entry in live() {
            let (file, sequence) = (entry.data_file(), entry.sequence_number().unwrap_or(0));
            let written = if takes_out(file) {
                *removed += 1;
                summary.remove_file(file, schema.clone(), spec.clone());
                writer.add_delete_file(file.clone(), sequence, entry.file_sequence_number)
            } else {
                let since = entry.snapshot_id().unwrap_or_default();
                writer.add_existing_file(file.clone(), since, sequence, entry.file_sequence_number)
            };
            written.map_err(broken)?;
        }
        let manifest = writer.write_manifest_file().await.map_err(broken)?;
        files.save(&manifest.manifest_path).await?;
        Ok(Some(manifest))
    }

    fn takes_out(
        &self,
        manifest: &ManifestFile,
        file: &DataFile,
        metadata: &TableMetadata,
    ) -> bool {
        match &self.removes {
            Removes::Nothing => false,
            Removes::All => true,
            Removes::Partitions => {
                let is_default = manifest.partition_spec_id == metadata.default_partition_spec_id();
                is_default
                    && self
                        .added
                        .iter()
                        .any(|added| added.partition() == file.partition())
            }
            Removes::Files(paths) => paths
                .get(&manifest.manifest_path)
                .is_some_and(|paths| paths.contains(file.file_path())),
        }
    }

    /// The manifests of what is added: rows and deletes have one each.
    async fn add(&self, metadata: &TableMetadata, files: &Files) -> Result<Vec<ManifestFile>> {
        let mut manifests = Vec::new();
        for added in [&self.added, &self.deletes] {
            if added.is_empty() {
                continue;
            }
            let spec = metadata.default_partition_spec().as_ref().clone();
            let builder = self.writer(files, metadata.current_schema().clone(), spec)?;
            let mut writer = match added[0].content_type() {
                DataContentType::Data => builder.build_v2_data(),
                _ => builder.build_v2_deletes(),
            };
            for file in added {
                // Its sequence number is that of the snapshot which takes it in.
                writer.add_file(file.clone(), -1).map_err(broken)?;
            }
            let manifest = writer.write_manifest_file().await.map_err(broken)?;
            files.save(&manifest.manifest_path).await?;
            manifests.push(manifest);
        }
        Ok(manifests)
    }

    fn writer(
        &self,
        files: &Files,
        schema: iceberg::spec::SchemaRef,
        spec: PartitionSpec,
    ) -> Result<ManifestWriterBuilder> {
        let url = format!("{}{}-{}-m0.avro", self.folder, self.run, Uuid::new_v4());
        let output = files.io.new_output(url).map_err(broken)?;
        let id = Some(self.snapshot_id);
        Ok(ManifestWriterBuilder::new(output, id, schema, spec))
    }
}

/// The data files of the current snapshot. Fails where there are files of deletes, which are about some of them.
pub async fn live(metadata: &TableMetadata, warehouse: &Warehouse) -> Result<Vec<Live>> {
    let files = Files::new(warehouse);
    let (mut live, mut manifests) = (Vec::new(), Vec::new());
    for manifest in current(metadata, &files).await? {
        match manifest.content {
            ManifestContentType::Deletes => check_deletes(&manifest)?,
            ManifestContentType::Data => manifests.push(manifest),
        }
    }
    let mut contents = files.contents(manifests.iter());
    for manifest in &manifests {
        let Some(read) = files.next(manifest, &mut contents).await? else {
            break;
        };
        let alive = read.entries().iter().filter(|entry| entry.is_alive());
        live.extend(alive.map(|entry| Live {
            file: entry.data_file().clone(),
            spec_id: manifest.partition_spec_id,
            manifest: manifest.manifest_path.clone(),
        }));
    }
    Ok(live)
}

/// Where files of deletes are in force, data files cannot be replaced one by one.
fn check_deletes(manifest: &ManifestFile) -> Result<()> {
    let live = manifest.added_files_count.unwrap_or(1) + manifest.existing_files_count.unwrap_or(0);
    if live == 0 {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::Rejected,
        "the table has delete files, and files of it that those are about would have to be replaced",
    )
    .hint("compact the table first (Spark: `rewrite_data_files`), or write with `mode: append`"))
}

pub fn spec(metadata: &TableMetadata, id: i32) -> Result<&PartitionSpec> {
    let spec = metadata.partition_spec_by_id(id).map(AsRef::as_ref);
    spec.ok_or_else(|| {
        Failure::new(
            ErrorKind::Rejected,
            format!("the table has no partition spec {id}"),
        )
    })
}

/// The manifests of the current snapshot.
async fn current(metadata: &TableMetadata, files: &Files) -> Result<Vec<ManifestFile>> {
    let Some(snapshot) = metadata.current_snapshot() else {
        return Ok(Vec::new());
    };
    let bytes = files.warehouse.read(snapshot.manifest_list()).await?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version());
    Ok(list.map_err(broken)?.entries().to_vec())
}

/// Manifests that are on their way at a time.
const READ_AHEAD: usize = 8;

type Contents = BoxStream<'static, Result<Bytes>>;

/// Metadata files: the crate reads and writes them in memory, and they are kept in the warehouse.
struct Files {
    io: FileIO,
    warehouse: Warehouse,
}

impl Files {
    fn new(warehouse: &Warehouse) -> Self {
        Self {
            io: FileIO::new_with_memory(),
            warehouse: warehouse.clone(),
        }
    }

    /// The bytes of manifests in their order, read ahead.
    fn contents<'a>(&self, manifests: impl Iterator<Item = &'a ManifestFile>) -> Contents {
        let paths: Vec<String> = manifests.map(|one| one.manifest_path.clone()).collect();
        let warehouse = self.warehouse.clone();
        let reading = paths.into_iter().map(move |path| {
            let warehouse = warehouse.clone();
            async move { warehouse.read(&path).await }
        });
        futures::stream::iter(reading).buffered(READ_AHEAD).boxed()
    }

    /// What `manifest` holds, whose bytes are next.
    async fn next(
        &self,
        manifest: &ManifestFile,
        contents: &mut Contents,
    ) -> Result<Option<Manifest>> {
        let Some(bytes) = contents.next().await.transpose()? else {
            return Ok(None);
        };
        let memory = self
            .io
            .new_output(&manifest.manifest_path)
            .map_err(broken)?;
        memory.write(bytes).await.map_err(broken)?;
        let read = manifest.load_manifest(&self.io).await.map_err(broken);
        self.io
            .delete(&manifest.manifest_path)
            .await
            .map_err(broken)?;
        read.map(Some)
    }

    async fn save(&self, url: &str) -> Result<()> {
        let bytes = self
            .io
            .new_input(url)
            .map_err(broken)?
            .read()
            .await
            .map_err(broken)?;
        self.warehouse.write_new(url, bytes).await
    }
}

/// The counts of a summary, with the totals that follow from those of the snapshot before.
fn totals(
    metadata: &TableMetadata,
    mut counts: HashMap<String, String>,
) -> HashMap<String, String> {
    let before = metadata
        .current_snapshot()
        .map(|snapshot| snapshot.summary());
    for [total, added, deleted] in TOTALS {
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<u64>().ok());
        let before = match before {
            Some(summary) => number(summary.additional_properties.get(total)),
            None => Some(0),
        };
        // Where the snapshot before has no total, there is none to go on from.
        let Some(before) = before else { continue };
        let added = number(counts.get(added)).unwrap_or(0);
        let deleted = number(counts.get(deleted)).unwrap_or(0);
        let after = before.saturating_add(added).saturating_sub(deleted);
        counts.insert(total.to_owned(), after.to_string());
    }
    counts
}

/// Not below 0: snapshots have no order by their ids.
fn random_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    i64::try_from((high ^ low) >> 1).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Metadata that the crate cannot read or write.
pub fn broken(error: iceberg::Error) -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        format!("the metadata of the table cannot be read or extended: {error}"),
    )
    .hint("read the table with another engine; if that works, report this message")
}
