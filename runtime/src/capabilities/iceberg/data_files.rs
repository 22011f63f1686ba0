//! The data files of one split: rows by partition, encoded, cut at their size, described for manifests.
//!
//! Knows no catalog. A file is durable once it is finished, and no reader of the table sees it before a commit.

mod metrics;
mod read;
mod sorted;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use iceberg::arrow::RecordBatchPartitionSplitter;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, PartitionSpec, PartitionSpecRef, Schema, SchemaRef,
    SortOrderRef, Struct, TableMetadata, Transform, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use serde::{Deserialize, Serialize};

use super::conform::Form;
use super::receipt::{Content, Written};
use super::snapshot::broken;
use super::target::{Target, check_identity};
use super::upsert;
use super::warehouse::{Upload, Warehouse};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::parquet::Encoder;
use metrics::Metrics;
pub use read::Rows as FileRows;
use sorted::Buffer;

/// What one file may hold in memory at the least, so that files do not end at once where little memory is left.
const MIN_HELD_BYTES: u64 = 8 << 20;

/// Files that are open at a time: each has an upload.
const MAX_OPEN: usize = 256;

/// How files are made.
pub struct Layout {
    pub schema: SchemaRef,
    pub spec: PartitionSpecRef,
    pub sort_order: SortOrderRef,
    /// A URL that ends in `/`.
    pub folder: String,
    /// A file is closed once it is this long.
    pub target_file_bytes: u64,
    /// Options of the Parquet encoder.
    pub options: String,
    /// What open files may hold together.
    pub memory_bytes: u64,
    pub content: DataContentType,
    /// The fields whose values say which rows are gone, where the content is equality deletes.
    pub equality_ids: Option<Vec<i32>>,
    /// The columns that tell rows apart, where they do: each row must have them.
    pub key: Option<SchemaRef>,
}

impl Layout {
    /// Rows of a table, in files as the table and the job want them.
    pub fn new(
        metadata: &TableMetadata,
        target: &Target,
        folder: &str,
        memory_bytes: u64,
    ) -> Result<Self> {
        Ok(Self {
            schema: metadata.current_schema().clone(),
            spec: metadata.default_partition_spec().clone(),
            sort_order: metadata.default_sort_order().clone(),
            folder: folder.to_owned(),
            target_file_bytes: target.file_bytes()?,
            options: target.encoding(),
            memory_bytes,
            content: DataContentType::Data,
            equality_ids: None,
            key: None,
        })
    }
}

/// A file that is durable, as the commit takes it in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StagedFile {
    #[serde(flatten)]
    pub written: Written,
    pub spec_id: i32,
    /// The entry of a manifest, as the crate writes it to JSON.
    data_file: String,
}

impl StagedFile {
    pub fn read(&self, spec: &PartitionSpec, schema: &Schema) -> Result<DataFile> {
        let partition = spec.partition_type(schema).map_err(broken)?;
        deserialize_data_file_from_json(&self.data_file, self.spec_id, &partition, schema)
            .map_err(broken)
    }
}

pub struct DataFiles {
    layout: Arc<Layout>,
    warehouse: Warehouse,
    /// What file names begin with, such as the number of the split.
    name: String,
    /// Differs between attempts to write the same.
    attempt: String,
    form: Arc<Form>,
    /// None where the table has no partitions.
    splitter: Option<Arc<RecordBatchPartitionSplitter>>,
    open: HashMap<Struct, Rows>,
    files: u32,
    staged: Vec<StagedFile>,
}

/// The rows of one partition that are not in a finished file.
enum Rows {
    Open(Box<OpenFile>),
    /// Until there are enough for a file.
    Unsorted(Buffer),
}

/// A file on its way.
struct OpenFile {
    encoder: Encoder,
    upload: Upload,
    metrics: Metrics,
}

impl DataFiles {
    pub fn new(layout: Layout, warehouse: Warehouse, name: impl Into<String>) -> Result<Self> {
        let splitter = match layout.spec.is_unpartitioned() {
            true => None,
            false => Some(Arc::new(
                RecordBatchPartitionSplitter::try_new_with_computed_values(
                    layout.schema.clone(),
                    layout.spec.clone(),
                )
                .map_err(broken)?,
            )),
        };
        sorted::check(&layout.sort_order)?;
        for field in layout.spec.fields() {
            if field.transform == Transform::Identity {
                let source = layout.schema.field_by_id(field.source_id);
                check_identity(source.map(|source| source.field_type.as_ref()), &field.name)?;
            }
        }
        let form = Arc::new(Form::new(&layout.schema)?);
        // What an encoder cannot take is known before the first row comes.
        Encoder::create(form.schema().clone(), &layout.options)?;
        Ok(Self {
            layout: Arc::new(layout),
            warehouse,
            name: name.into(),
            attempt: uuid::Uuid::new_v4().simple().to_string(),
            form,
            splitter,
            open: HashMap::new(),
            files: 0,
            staged: Vec::new(),
        })
    }

    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (form, splitter) = (self.form.clone(), self.splitter.clone());
        let key = self.layout.key.clone();
        let parts = blocking(move || {
            let batch = form.batch(&batch)?;
            if let Some(key) = key {
                upsert::check_rows(&key, &batch)?;
            }
            let Some(splitter) = splitter else {
                return Ok(vec![(Struct::empty(), batch)]);
            };
            let parts = splitter.split(&batch).map_err(broken)?;
            Ok(parts
                .into_iter()
                .map(|(key, rows)| (key.data().clone(), rows))
                .collect())
        })
        .await?;
        for (partition, rows) in parts {
            self.add(partition, rows).await?;
            self.close_some().await?;
        }
        Ok(())
    }

    /// Ends files until the open ones are within their limits, the largest first.
    async fn close_some(&mut self) -> Result<()> {
        let limit = self.layout.memory_bytes.max(MIN_HELD_BYTES);
        while self.open.len() > MAX_OPEN || self.memory_bytes() > limit {
            let most = self.open.iter().max_by_key(|(_, rows)| rows.memory_bytes());
            let Some(partition) = most.map(|(partition, _)| partition.clone()) else {
                break;
            };
            self.close(partition).await?;
        }
        Ok(())
    }

    /// Host memory that open files hold now.
    pub fn memory_bytes(&self) -> u64 {
        self.open.values().map(Rows::memory_bytes).sum()
    }

    /// Ends the files.
    pub async fn finish(mut self) -> Result<Vec<StagedFile>> {
        let partitions: Vec<Struct> = self.open.keys().cloned().collect();
        for partition in partitions {
            self.close(partition).await?;
        }
        // In the order in which they were begun.
        let order = |file: &StagedFile| (file.written.path.len(), file.written.path.clone());
        self.staged.sort_by_cached_key(order);
        Ok(self.staged)
    }

    async fn add(&mut self, partition: Struct, rows: RecordBatch) -> Result<()> {
        let is_full = if self.layout.sort_order.is_unsorted() {
            let mut file = match self.open.remove(&partition) {
                Some(Rows::Open(file)) => file,
                _ => Box::new(self.begin().await?),
            };
            file.write(rows).await?;
            let is_full = file.encoder.size() >= self.layout.target_file_bytes;
            self.open.insert(partition.clone(), Rows::Open(file));
            is_full
        } else {
            let mut buffer = match self.open.remove(&partition) {
                Some(Rows::Unsorted(buffer)) => buffer,
                _ => Buffer::default(),
            };
            buffer.push(rows);
            let is_full = buffer.bytes()
                >= self
                    .layout
                    .target_file_bytes
                    .min(self.layout.memory_bytes / 2);
            self.open.insert(partition.clone(), Rows::Unsorted(buffer));
            is_full
        };
        match is_full {
            true => self.close(partition).await,
            false => Ok(()),
        }
    }

    async fn begin(&mut self) -> Result<OpenFile> {
        let name = format!("{}-{}-{:05}.parquet", self.name, self.attempt, self.files);
        self.files += 1;
        let url = format!("{}{name}", self.layout.folder);
        Ok(OpenFile {
            encoder: Encoder::create(self.form.schema().clone(), &self.layout.options)?,
            upload: self.warehouse.upload(&url).await?,
            metrics: Metrics::new(self.form.schema()),
        })
    }

    async fn close(&mut self, partition: Struct) -> Result<()> {
        let file = match self.open.remove(&partition) {
            Some(Rows::Open(file)) => *file,
            Some(Rows::Unsorted(buffer)) => {
                let (order, schema) = (self.layout.sort_order.clone(), self.form.schema().clone());
                let (table, key) = (self.layout.schema.clone(), self.layout.key.clone());
                let sorted =
                    blocking(move || buffer.sorted(&order, &table, &schema, key.as_deref()))
                        .await?;
                let mut file = self.begin().await?;
                for rows in sorted {
                    file.write(rows).await?;
                }
                file
            }
            None => return Ok(()),
        };
        let staged = file.finish(&self.layout, partition).await?;
        self.staged.push(staged);
        Ok(())
    }
}

impl Rows {
    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Open(file) => file.encoder.memory_bytes() as u64 + file.upload.held_bytes(),
            Self::Unsorted(buffer) => buffer.bytes(),
        }
    }
}

impl OpenFile {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.metrics.count(&rows);
        // Encoding takes processor time of the call, as the encoder's own interface does.
        self.encoder.write(&rows)?;
        self.send().await
    }

    /// Hands on what is encoded.
    async fn send(&mut self) -> Result<()> {
        loop {
            let bytes = self.encoder.take();
            if bytes.is_empty() {
                return Ok(());
            }
            self.upload.put(Bytes::from(bytes)).await?;
        }
    }

    async fn finish(mut self, layout: &Layout, partition: Struct) -> Result<StagedFile> {
        self.encoder.finish()?;
        self.send().await?;
        let rows = self.encoder.rows();
        let footer = self
            .encoder
            .take_metadata()
            .ok_or_else(|| Failure::new(ErrorKind::Internal, "the encoder gave no footer"))?;
        let written = self.upload.finish().await?;
        let data_file = self
            .metrics
            .data_file(&footer, layout, partition, &written)?;
        let kind = layout.spec.partition_type(&layout.schema).map_err(broken)?;
        Ok(StagedFile {
            written: Written {
                path: written.url,
                rows,
                bytes: written.bytes,
                sha256: written.sha256,
                content: Content::default(),
            },
            spec_id: layout.spec.spec_id(),
            data_file: serialize_data_file_to_json(data_file, &kind, FormatVersion::V2)
                .map_err(broken)?,
        })
    }
}
