//! The files of one split: open ones by partition, rolled at their size, staged when done.

use std::collections::HashMap;

use dativo_connector::object_store::{Attributes, Upload};
use dativo_connector::parquet::Encoder;
use dativo_connector::{Blob, RecordBatch, Result, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bytes that are gathered before they are put: stores refuse smaller parts, but for the last. What waits and what is
/// being sent is memory of each split.
const PART_BYTES: u64 = 5 << 20;

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
    /// What else its writer has to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// How files are named, cut and encoded.
#[derive(Clone)]
pub struct Layout {
    pub compression: String,
    pub row_group_rows: u32,
    /// A file is closed once it is this long, in encoded bytes.
    pub target_file_bytes: u64,
    pub partition_by: Vec<String>,
    /// What names begin with.
    pub prefix: String,
    /// What names end in: `.parquet`.
    pub ending: String,
    /// Whether a file is closed, too, once all that is open holds more memory than an instance should.
    pub held_whole: bool,
}

/// Where the encoded bytes of files go.
pub trait Sink {
    /// One file.
    type File: SinkFile;
    /// The name of an object below the target.
    fn object(&self, name: &str) -> String;
    /// An encoder for the file, and the file.
    fn begin(
        &self,
        url: &str,
        run: &str,
        schema: &Schema,
        options: &str,
    ) -> Result<(Encoder, Self::File)>;
}

pub trait SinkFile {
    /// Takes the next encoded bytes.
    fn push(&mut self, bytes: Blob) -> Result<()>;
    /// Host memory that it holds.
    fn held_bytes(&self) -> u64;
    /// Ends the file, of `rows` rows, and makes it durable.
    fn stage(self, rows: u64) -> Result<StagedFile>;
}

/// Everything that one instance writes.
pub struct Files<S: Sink> {
    sink: S,
    layout: Layout,
    run: String,
    split: u32,
    schema: Option<Schema>,
    /// By partition folder: empty, or `year=2024/`.
    open: HashMap<String, OpenFile<S::File>>,
    begun: u32,
    staged: Vec<StagedFile>,
}

impl<S: Sink> Files<S> {
    pub fn new(sink: S, layout: Layout, schema: &Schema, run: String, split: u32) -> Result<Self> {
        // With partitions the files lack columns, and their schema comes with the first part.
        let schema = match layout.partition_by.is_empty() {
            true => Some(Schema::from_ipc(&schema.to_ipc())?),
            false => None,
        };
        Ok(Self {
            sink,
            layout,
            run,
            split,
            schema,
            open: HashMap::new(),
            begun: 0,
            staged: Vec::new(),
        })
    }

    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.layout.partition_by.is_empty() {
            return self.append(String::new(), batch);
        }
        for part in batch.partition(&self.layout.partition_by)? {
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
        if file.encoder.size() >= self.layout.target_file_bytes {
            self.close(&folder)?;
        }
        while self.open.len() > usize::from(!self.layout.held_whole)
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

    fn begin(&mut self, folder: &str, batch: &RecordBatch) -> Result<OpenFile<S::File>> {
        let Layout { prefix, ending, .. } = &self.layout;
        let name = format!(
            "{prefix}{}-{:05}-{:05}{ending}",
            self.run, self.split, self.begun
        );
        self.begun += 1;
        let url = self.sink.object(&format!("{folder}{name}"));
        let options = json!({
            "compression": self.layout.compression,
            "row_group_rows": self.layout.row_group_rows,
        });
        let schema = self.schema.get_or_insert_with(|| batch.schema());
        let (encoder, file) = self
            .sink
            .begin(&url, &self.run, schema, &options.to_string())?;
        Ok(OpenFile {
            encoder,
            file,
            held_bytes: 0,
        })
    }

    fn close(&mut self, folder: &str) -> Result<()> {
        if let Some(file) = self.open.remove(folder) {
            self.staged.push(file.stage()?);
        }
        Ok(())
    }
}

/// A file being encoded.
struct OpenFile<F> {
    encoder: Encoder,
    file: F,
    /// Host memory of both.
    held_bytes: u64,
}

impl<F: SinkFile> OpenFile<F> {
    fn append(&mut self, batch: RecordBatch) -> Result<()> {
        self.encoder.write(batch)?;
        self.gather()?;
        self.held_bytes = self.encoder.memory() + self.file.held_bytes();
        Ok(())
    }

    /// Takes what is ready.
    fn gather(&mut self) -> Result<()> {
        loop {
            let ready = self.encoder.take()?;
            if ready.size() == 0 {
                return Ok(());
            }
            self.file.push(ready)?;
        }
    }

    fn stage(mut self) -> Result<StagedFile> {
        self.encoder.finish()?;
        self.gather()?;
        self.file.stage(self.encoder.rows())
    }
}

/// An upload in parts of the size that stores want.
pub struct Parts {
    upload: Upload,
    /// Its name, as the job writes it.
    url: String,
    /// Bytes that are too few for a part.
    waiting: Vec<Blob>,
    waiting_bytes: u64,
    parts: u32,
}

impl Parts {
    pub fn create(url: &str, run: &str, attributes: &Attributes) -> Result<Self> {
        Ok(Self {
            upload: Upload::create(url, run, attributes)?,
            url: url.to_owned(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            parts: 0,
        })
    }

    fn put(&mut self) -> Result<()> {
        self.parts += 1;
        let part: Vec<&Blob> = self.waiting.iter().collect();
        self.upload.put(self.parts, &part)?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }
}

impl SinkFile for Parts {
    fn push(&mut self, bytes: Blob) -> Result<()> {
        self.waiting_bytes += bytes.size();
        self.waiting.push(bytes);
        match self.waiting_bytes >= PART_BYTES {
            true => self.put(),
            false => Ok(()),
        }
    }

    fn held_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    fn stage(mut self, rows: u64) -> Result<StagedFile> {
        // An upload has at least one part.
        if self.waiting_bytes > 0 || self.parts == 0 {
            self.put()?;
        }
        let staged = self.upload.stage()?;
        Ok(StagedFile {
            token: staged.token,
            path: self.url,
            rows,
            bytes: staged.bytes,
            sha256: staged.sha256,
            details: None,
        })
    }
}
