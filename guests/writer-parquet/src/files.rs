//! The files of one split: open ones by partition, rolled at their size, staged when done.

use std::collections::HashMap;

use dativo_connector::object_store::{Attributes, Upload};
use dativo_connector::parquet::Encoder;
use dativo_connector::{Blob, RecordBatch, Result, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Config;

/// Bytes that are gathered before they are put: stores refuse smaller parts, but for the last.
const PART_BYTES: u64 = 8 << 20;

/// Files that one instance keeps open. Each holds a row group in memory, and 64 small ones still fit
/// the default limit.
const MAX_OPEN_FILES: usize = 64;

/// Host memory that all open files of an instance may hold together, in bytes: open row groups, and what
/// waits to be put. Half the default limit, which also has room for a batch and for closing a file.
const MAX_HELD_BYTES: u64 = 128 << 20;

/// A file that is durable and not visible yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Names it for publishing and discarding.
    pub token: String,
    /// Where it will be.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// Everything that one instance writes.
pub struct Files {
    config: Config,
    target_bytes: u64,
    run: String,
    split: u32,
    schema: Option<Schema>,
    /// By partition folder: empty, or `year=2024/`.
    open: HashMap<String, OpenFile>,
    begun: u32,
    staged: Vec<StagedFile>,
}

impl Files {
    pub fn new(config: Config, schema: &Schema, run: String, split: u32) -> Result<Self> {
        // With partitions the files lack columns, and their schema comes with the first part.
        let schema = match config.partition_by.is_empty() {
            true => Some(Schema::from_ipc(&schema.to_ipc())?),
            false => None,
        };
        let target_bytes = config.target_file_bytes()?;
        Ok(Self {
            config,
            target_bytes,
            run,
            split,
            schema,
            open: HashMap::new(),
            begun: 0,
            staged: Vec::new(),
        })
    }

    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.config.partition_by.is_empty() {
            return self.append(String::new(), batch);
        }
        for part in batch.partition(&self.config.partition_by)? {
            self.append(format!("{}/", part.path), part.batch)?;
        }
        Ok(())
    }

    /// Stages all that is open.
    pub fn finish(&mut self) -> Result<Vec<StagedFile>> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.close(&folder)?;
        }
        Ok(std::mem::take(&mut self.staged))
    }

    fn append(&mut self, folder: String, batch: RecordBatch) -> Result<()> {
        if !self.open.contains_key(&folder) {
            if self.open.len() >= MAX_OPEN_FILES {
                self.close_fullest()?;
            }
            let file = self.begin(&folder, &batch)?;
            self.open.insert(folder.clone(), file);
        }
        let Some(file) = self.open.get_mut(&folder) else {
            return Ok(());
        };
        file.append(batch)?;
        if file.encoder.size() >= self.target_bytes {
            self.close(&folder)?;
        }
        while self.open.len() > 1
            && self.open.values().map(|file| file.held_bytes).sum::<u64>() > MAX_HELD_BYTES
        {
            self.close_fullest()?;
        }
        Ok(())
    }

    /// Closes the file that holds the most: it frees the most, and is closest to a whole file.
    fn close_fullest(&mut self) -> Result<()> {
        let fullest = self.open.iter().max_by_key(|(_, file)| file.held_bytes);
        match fullest.map(|(folder, _)| folder.clone()) {
            Some(folder) => self.close(&folder),
            None => Ok(()),
        }
    }

    fn begin(&mut self, folder: &str, batch: &RecordBatch) -> Result<OpenFile> {
        let name = format!("{}-{:05}-{:05}.parquet", self.run, self.split, self.begun);
        self.begun += 1;
        let url = self.config.object(&format!("{folder}{name}"));
        let options = json!({
            "compression": self.config.compression,
            "row_group_rows": self.config.row_group_rows,
        });
        let schema = self.schema.get_or_insert_with(|| batch.schema());
        let attributes = Attributes {
            metadata: Vec::new(),
            encrypted_at_rest: false,
        };
        Ok(OpenFile {
            encoder: Encoder::create(schema, &options.to_string())?,
            upload: Upload::create(&url, &self.run, &attributes)?,
            path: url,
            waiting: Vec::new(),
            waiting_bytes: 0,
            held_bytes: 0,
            parts: 0,
        })
    }

    fn close(&mut self, folder: &str) -> Result<()> {
        if let Some(file) = self.open.remove(folder) {
            self.staged.push(file.stage()?);
        }
        Ok(())
    }
}

/// A file being encoded and uploaded.
struct OpenFile {
    encoder: Encoder,
    upload: Upload,
    /// Its name, as the job writes it.
    path: String,
    /// Encoded bytes that are too few for a part.
    waiting: Vec<Blob>,
    waiting_bytes: u64,
    /// Host memory of the encoder, and what waits.
    held_bytes: u64,
    parts: u32,
}

impl OpenFile {
    fn append(&mut self, batch: RecordBatch) -> Result<()> {
        self.encoder.write(batch)?;
        self.gather()?;
        self.held_bytes = self.encoder.memory() + self.waiting_bytes;
        Ok(())
    }

    /// Takes what is ready, and uploads it in parts.
    fn gather(&mut self) -> Result<()> {
        loop {
            let ready = self.encoder.take()?;
            let size = ready.size();
            if size == 0 {
                return Ok(());
            }
            self.waiting_bytes += size;
            self.waiting.push(ready);
            if self.waiting_bytes >= PART_BYTES {
                self.put()?;
            }
        }
    }

    fn put(&mut self) -> Result<()> {
        self.parts += 1;
        let part: Vec<&Blob> = self.waiting.iter().collect();
        self.upload.put(self.parts, &part)?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    fn stage(mut self) -> Result<StagedFile> {
        self.encoder.finish()?;
        self.gather()?;
        // An upload has at least one part.
        if self.waiting_bytes > 0 || self.parts == 0 {
            self.put()?;
        }
        let staged = self.upload.stage()?;
        Ok(StagedFile {
            token: staged.token,
            path: self.path,
            rows: self.encoder.rows(),
            bytes: staged.bytes,
            sha256: staged.sha256,
        })
    }
}
