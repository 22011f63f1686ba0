//! Upserts: the rows of a table whose key a run wrote anew, and what comes instead of them.
//!
//! Copy-on-write: files that hold such a row are written again without it. Merge-on-read: a file of keys says that older rows with
//! them are gone. Reads the table as it is at each attempt to commit, so that the later of two runs wins a key. Asks no catalog.

mod keys;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use iceberg::spec::{
    DataContentType, DataFile, PartitionSpec, PrimitiveType, Schema, SortOrder, Struct,
    TableMetadata, Type,
};

use super::conform::Form;
use super::data_files::{DataFiles, FileRows, Layout};
use super::receipt::{Content, Written};
use super::snapshot::{self, broken};
use super::target::{MergeMode, Target};
use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use keys::{Keys, Place};

/// Of the memory that an instance has left, the keys may take this part, and as much is for files that are read and written.
const KEYS_PART: u64 = 2;

/// A run's rows on their way into a table.
pub struct Upsert {
    warehouse: Warehouse,
    /// The data files of the run; ends in `/`.
    folder: String,
    target: Target,
    /// The columns of the key alone.
    key: Arc<Schema>,
    keys: Keys,
    /// What the run wrote, each key once.
    own: Vec<Made>,
    /// The partitions of these, where the key alone decides about partitions.
    partitions: Option<HashSet<Struct>>,
    /// The files of keys, once they are written: the same for each attempt.
    deletes: Option<Vec<Made>>,
    /// What became of files of the table, by their paths; none where they hold no row of these keys.
    rewritten: HashMap<String, Option<Vec<Made>>>,
    /// For the files that are read and written.
    memory_bytes: u64,
}

/// A file that a split wrote.
pub struct Entry {
    pub split: u32,
    pub written: Written,
    pub file: DataFile,
}

/// A file, for a receipt and for a manifest.
#[derive(Clone)]
struct Made {
    written: Written,
    file: DataFile,
}

/// What one attempt to commit does to the table.
pub struct Merged {
    pub added: Vec<DataFile>,
    pub deletes: Vec<DataFile>,
    /// The paths that go, by the manifests that list them.
    pub removed: HashMap<String, HashSet<String>>,
    pub files: Vec<Written>,
}

/// The fields of a key; fails where they are no key.
pub fn key_schema(schema: &Schema, key: &[String]) -> Result<Arc<Schema>> {
    let mut fields = Vec::with_capacity(key.len());
    for name in key {
        let columns = schema.as_struct().fields();
        let Some(field) = columns.iter().find(|field| field.name == *name) else {
            let columns: Vec<_> = columns
                .iter()
                .map(|field| format!("`{}`", field.name))
                .collect();
            let message = format!("`key` names `{name}`, which is no column of the table");
            return Err(Failure::new(ErrorKind::InvalidConfig, message)
                .hint(format!("name some of {}", columns.join(", "))));
        };
        let is_fit = match field.field_type.as_ref() {
            Type::Primitive(kind) => !matches!(kind, PrimitiveType::Float | PrimitiveType::Double),
            _ => false,
        };
        if !is_fit {
            let message = format!(
                "`{name}` is of the type {}, which is no key",
                field.field_type
            );
            return Err(Failure::new(ErrorKind::InvalidConfig, message).hint(
                "name columns of numbers without fractions, decimals, text, dates, times or bytes",
            ));
        }
        if fields.contains(field) {
            let message = format!("`key` names `{name}` twice");
            return Err(Failure::new(ErrorKind::InvalidConfig, message).hint("name it once"));
        }
        fields.push(field.clone());
    }
    let schema = Schema::builder()
        .with_schema_id(schema.schema_id())
        .with_fields(fields);
    schema.build().map(Arc::new).map_err(broken)
}

/// Each row must have a key.
pub fn check_rows(key: &Schema, rows: &RecordBatch) -> Result<()> {
    for field in key.as_struct().fields() {
        let nulls = rows
            .column_by_name(&field.name)
            .map_or(0, |column| column.null_count());
        if nulls > 0 {
            let message = format!(
                "{nulls} rows have NULL in `{}`, which is of the key",
                field.name
            );
            return Err(Failure::new(ErrorKind::InvalidData, message).hint(
                "name columns as the `key` that each row has, or leave such rows out at the source",
            ));
        }
    }
    Ok(())
}

/// Columns of the key, in its order.
pub fn key_columns(key: &Schema, rows: &RecordBatch) -> Vec<ArrayRef> {
    let fields = key.as_struct().fields().iter();
    fields
        .filter_map(|field| rows.column_by_name(&field.name).cloned())
        .collect()
}

/// Whether the key alone says which partition a row is in.
fn decides_partition(key: &Schema, spec: &PartitionSpec) -> bool {
    let has = |id| key.as_struct().fields().iter().any(|field| field.id == id);
    spec.fields().iter().all(|field| has(field.source_id))
}

/// Fails where the partitions of the table do not let a file of keys say which rows are gone.
pub fn check_merge_on_read(key: &Schema, metadata: &TableMetadata) -> Result<()> {
    let spec = metadata.default_partition_spec();
    let is_alone = metadata.partition_specs_iter().count() == 1;
    if spec.is_unpartitioned() || is_alone && decides_partition(key, spec) {
        return Ok(());
    }
    let message = "`merge_mode: merge_on_read` needs a table without partitions, or one that was always partitioned by columns of the key";
    Err(Failure::new(ErrorKind::InvalidConfig, message).hint(
        "write `merge_mode: copy_on_write`, or name the columns of the partitions in `key`, too",
    ))
}

impl Upsert {
    /// Takes what the splits of a run wrote, in their order.
    pub async fn new(
        target: &Target,
        metadata: &TableMetadata,
        warehouse: &Warehouse,
        folder: &str,
        entries: Vec<Entry>,
        memory_bytes: u64,
    ) -> Result<Self> {
        let key = key_schema(metadata.current_schema(), &target.key)?;
        let form = Form::new(&key)?;
        let types = form
            .schema()
            .fields()
            .iter()
            .map(|field| field.data_type().clone());
        let types: Vec<_> = types.collect();
        let rows = entries.iter().map(|entry| entry.written.rows).sum();
        let mut upsert = Self {
            warehouse: warehouse.clone(),
            folder: folder.to_owned(),
            target: target.clone(),
            keys: Keys::new(&types, rows, memory_bytes / KEYS_PART)?,
            key,
            own: Vec::new(),
            partitions: None,
            deletes: None,
            rewritten: HashMap::new(),
            memory_bytes: memory_bytes / KEYS_PART,
        };
        upsert.take_in(metadata, entries).await?;
        if decides_partition(&upsert.key, metadata.default_partition_spec()) {
            let partitions = upsert.own.iter().map(|own| own.file.partition().clone());
            upsert.partitions = Some(partitions.collect());
        }
        Ok(upsert)
    }

    /// Reads the keys of the run's own rows; of rows with one key, the last stays.
    async fn take_in(&mut self, metadata: &TableMetadata, entries: Vec<Entry>) -> Result<()> {
        let mut older: HashMap<u32, HashSet<u64>> = HashMap::new();
        for (at, entry) in (0..).zip(&entries) {
            let mut place = Place { file: at, row: 0 };
            let mut rows = self
                .open(&entry.file, metadata.default_partition_spec(), &self.key)
                .await?;
            while let Some(batch) = rows.next().await? {
                for (before, now) in self.keys.insert(&key_columns(&self.key, &batch), place)? {
                    if !is_later(&entries, before.file, now.file) {
                        return Err(twice(&self.target.key));
                    }
                    older
                        .entry(before.file)
                        .or_default()
                        .insert(before.row.into());
                }
                place.row += u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            }
        }
        for (at, entry) in (0..).zip(entries) {
            let Entry { written, file, .. } = entry;
            let Some(older) = older.get(&at) else {
                self.own.push(Made { written, file });
                continue;
            };
            let mut row = 0_u64;
            let newest = |batch: &RecordBatch| {
                let rows = row..row + batch.num_rows() as u64;
                row = rows.end;
                Ok(rows.map(|row| Some(!older.contains(&row))).collect())
            };
            let spec = metadata.default_partition_spec();
            let made = self
                .rewrite(metadata, &file, spec, Content::Rows, newest)
                .await?;
            self.own.extend(made);
        }
        Ok(())
    }

    /// What a commit onto the table as `metadata` has it does.
    pub async fn merge(&mut self, metadata: &TableMetadata) -> Result<Merged> {
        let key = key_schema(metadata.current_schema(), &self.target.key)?;
        if key.as_struct() != self.key.as_struct() {
            let message = "the columns of the key were changed while the run wrote to the table";
            return Err(Failure::new(ErrorKind::Rejected, message).hint("run the job again"));
        }
        let mut merged = Merged {
            added: self.own.iter().map(|own| own.file.clone()).collect(),
            deletes: Vec::new(),
            removed: HashMap::new(),
            files: self.own.iter().map(|own| own.written.clone()).collect(),
        };
        if metadata.current_snapshot().is_none() || self.own.is_empty() {
            return Ok(merged);
        }
        match self.target.merge_mode {
            MergeMode::MergeOnRead => {
                let deletes = match self.deletes.take() {
                    Some(deletes) => deletes,
                    None => self.write_deletes(metadata).await?,
                };
                merged
                    .deletes
                    .extend(deletes.iter().map(|made| made.file.clone()));
                merged
                    .files
                    .extend(deletes.iter().map(|made| made.written.clone()));
                self.deletes = Some(deletes);
            }
            MergeMode::CopyOnWrite => self.copy(metadata, &mut merged).await?,
        }
        Ok(merged)
    }

    /// Writes the table's files that hold rows of these keys again, without them.
    async fn copy(&mut self, metadata: &TableMetadata, merged: &mut Merged) -> Result<()> {
        for live in snapshot::live(metadata, &self.warehouse).await? {
            if !self.may_hold(&live.file, live.spec_id, metadata) {
                continue;
            }
            let path = live.file.file_path().to_owned();
            let known = self.rewritten.remove(&path);
            let made = match known {
                Some(made) => made,
                None => self.replace(metadata, &live).await?,
            };
            if let Some(made) = &made {
                let removed = merged.removed.entry(live.manifest).or_default();
                removed.insert(path.clone());
                merged
                    .added
                    .extend(made.iter().map(|made| made.file.clone()));
                merged
                    .files
                    .extend(made.iter().map(|made| made.written.clone()));
            }
            self.rewritten.insert(path, made);
        }
        Ok(())
    }

    /// The files that come instead of one; none where it stays.
    async fn replace(
        &self,
        metadata: &TableMetadata,
        live: &snapshot::Live,
    ) -> Result<Option<Vec<Made>>> {
        let spec = live.spec(metadata)?;
        let mut rows = self.open(&live.file, spec, &self.key).await?;
        let mut is_held = false;
        while let (false, Some(batch)) = (is_held, rows.next().await?) {
            is_held = self.keys.holds(&key_columns(&self.key, &batch))?.has_true();
        }
        if !is_held {
            return Ok(None);
        }
        let others = |batch: &RecordBatch| {
            let held = self.keys.holds(&key_columns(&self.key, batch))?;
            not(&held).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))
        };
        let made = self
            .rewrite(metadata, &live.file, spec, Content::Rewritten, others)
            .await?;
        Ok(Some(made))
    }

    /// The rows of a file that `keep` lets stay, in files of the table's partitions and order.
    async fn rewrite(
        &self,
        metadata: &TableMetadata,
        file: &DataFile,
        spec: &PartitionSpec,
        content: Content,
        mut keep: impl FnMut(&RecordBatch) -> Result<BooleanArray>,
    ) -> Result<Vec<Made>> {
        let layout = self.layout(metadata)?;
        let mut files = DataFiles::new(layout, self.warehouse.clone(), "merge")?;
        let mut rows = self.open(file, spec, metadata.current_schema()).await?;
        while let Some(batch) = rows.next().await? {
            let kept = filter_record_batch(&batch, &keep(&batch)?)
                .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
            files.write(kept).await?;
        }
        made(metadata, files, content).await
    }

    /// Writes the run's keys into files that say which older rows are gone.
    async fn write_deletes(&self, metadata: &TableMetadata) -> Result<Vec<Made>> {
        check_merge_on_read(&self.key, metadata)?;
        let ids = self.key.as_struct().fields().iter().map(|field| field.id);
        let mut layout = self.layout(metadata)?;
        layout.schema = self.key.clone();
        layout.sort_order = Arc::new(SortOrder::unsorted_order());
        layout.content = DataContentType::EqualityDeletes;
        layout.equality_ids = Some(ids.collect());
        let mut files = DataFiles::new(layout, self.warehouse.clone(), "deletes")?;
        for own in &self.own {
            let spec = metadata.default_partition_spec();
            let mut rows = self.open(&own.file, spec, &self.key).await?;
            while let Some(batch) = rows.next().await? {
                files.write(batch).await?;
            }
        }
        made(metadata, files, Content::Deletes).await
    }

    fn layout(&self, metadata: &TableMetadata) -> Result<Layout> {
        Layout::new(metadata, &self.target, &self.folder, self.memory_bytes / 2)
    }

    async fn open(
        &self,
        file: &DataFile,
        spec: &PartitionSpec,
        schema: &Arc<Schema>,
    ) -> Result<FileRows> {
        FileRows::open(&self.warehouse, file, spec, schema, self.memory_bytes / 2).await
    }

    /// Whether a file of the table can hold one of these keys, by its partition and its bounds.
    fn may_hold(&self, file: &DataFile, spec_id: i32, metadata: &TableMetadata) -> bool {
        if spec_id == metadata.default_partition_spec_id()
            && let Some(partitions) = &self.partitions
            && !partitions.contains(file.partition())
        {
            return false;
        }
        let ids: Vec<i32> = self
            .key
            .as_struct()
            .fields()
            .iter()
            .map(|field| field.id)
            .collect();
        self.own
            .iter()
            .any(|own| ids.iter().all(|id| overlap(&own.file, file, *id)))
    }
}

/// Whether a column of two files can have a value in common. What cannot be compared can.
fn overlap(one: &DataFile, other: &DataFile, id: i32) -> bool {
    let ends_before = |one: &DataFile, other: &DataFile| match (
        one.upper_bounds().get(&id),
        other.lower_bounds().get(&id),
    ) {
        (Some(upper), Some(lower)) => upper < lower,
        _ => false,
    };
    !ends_before(one, other) && !ends_before(other, one)
}

/// Whether all rows of the first file that can have a key of the second came before those of the second.
fn is_later(entries: &[Entry], first: u32, second: u32) -> bool {
    let (Some(first), Some(second)) = (entries.get(first as usize), entries.get(second as usize))
    else {
        return false;
    };
    first.split == second.split && first.file.partition() == second.file.partition()
}

async fn made(metadata: &TableMetadata, files: DataFiles, content: Content) -> Result<Vec<Made>> {
    let staged = files.finish().await?;
    let made = staged.into_iter().map(|staged| {
        let file = staged.read(metadata.default_partition_spec(), metadata.current_schema())?;
        let written = Written {
            content,
            ..staged.written
        };
        Ok(Made { written, file })
    });
    made.collect()
}

fn twice(key: &[String]) -> Failure {
    let key = key.join(", ");
    let message = format!(
        "rows with the same key ({key}) came from two splits, or with different partitions: which is the newer cannot be told"
    );
    Failure::new(ErrorKind::InvalidData, message).hint(
        "read with one split, let the source give each key once, or name more columns in `key`",
    )
}
