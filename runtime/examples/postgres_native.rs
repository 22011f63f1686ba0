//! The Postgres capability called directly, without components: what the sandbox costs is measured against this.
//!
//! `postgres_native URL TABLE STREAMS [FOLDER]` reads a table in `STREAMS` ranges of blocks at one point in time. With a
//! folder it writes one Parquet file a stream, with its SHA-256, as the writer does; without one it drops the batches.
//! Knows the capabilities' own code and nothing of wasm.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use dativo_wasm::capabilities::failure::{ErrorKind, Failure, Result};
use dativo_wasm::capabilities::parquet::Encoder;
use dativo_wasm::capabilities::postgres::{Access, Connection};
use dativo_wasm::job::Secrets;
use sha2::{Digest, Sha256};

/// What the pipeline asks a reader for.
const BATCH_ROWS: usize = 65_536;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    dativo_wasm::memory::tune_allocator();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, table, streams, folder @ ..] = arguments.as_slice() else {
        return Err("usage: postgres_native URL TABLE STREAMS [FOLDER]".into());
    };
    let streams: u64 = streams.parse()?;
    let folder = folder.first().map(PathBuf::from);
    let line = format!("connect {url}");
    let access = || Access::new([line.as_str()].into_iter(), &Secrets::default(), "bench");
    let mut planner = Connection::open(&access()?, url, None).await?;
    let blocks =
        format!("SELECT pg_relation_size('{table}') / current_setting('block_size')::int8");
    let blocks = planner.query(&blocks, &[]).await?;
    let blocks = blocks.into_iter().flatten().flatten().next();
    let blocks: u64 = blocks.ok_or("the server gave no size")?.parse()?;
    let snapshot = planner.export_snapshot().await?;
    let mut tasks = Vec::new();
    for stream in 0..streams {
        let mut connection = Connection::open(&access()?, url, Some(&snapshot)).await?;
        let (from, to) = (blocks * stream / streams, blocks * (stream + 1) / streams);
        let below = match stream + 1 == streams {
            true => String::new(),
            false => format!(" AND ctid < '({to},0)'"),
        };
        let statement = format!("SELECT * FROM {table} WHERE ctid >= '({from},0)'{below}");
        let file = folder
            .as_ref()
            .map(|folder| folder.join(format!("{stream}.parquet")));
        tasks.push(tokio::spawn(async move {
            let mut rows = connection.read(&statement, &[], "{}").await?;
            let mut output = file
                .map(|file| Output::create(file, rows.schema()))
                .transpose()?;
            let mut count = 0;
            while let Some(batch) = rows.next(BATCH_ROWS).await? {
                count += batch.num_rows();
                if let Some(output) = &mut output {
                    output.encoder.write(&batch)?;
                    output.put()?;
                }
            }
            if let Some(output) = &mut output {
                output.encoder.finish()?;
                output.put()?;
                output.file.sync_all().map_err(io)?;
            }
            Ok::<_, Failure>(count)
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    dativo_wasm::report::result(&format!("{{\"rows\": {count}}}"));
    Ok(())
}

/// A file on its way.
struct Output {
    encoder: Encoder,
    file: File,
    digest: Sha256,
}

impl Output {
    fn create(path: PathBuf, schema: arrow::datatypes::SchemaRef) -> Result<Self> {
        Ok(Self {
            encoder: Encoder::create(schema, "{}")?,
            file: File::create(path).map_err(io)?,
            digest: Sha256::new(),
        })
    }

    /// Writes what is ready.
    fn put(&mut self) -> Result<()> {
        loop {
            let ready = self.encoder.take();
            if ready.is_empty() {
                return Ok(());
            }
            self.digest.update(&ready);
            self.file.write_all(&ready).map_err(io)?;
        }
    }
}

fn io(error: std::io::Error) -> Failure {
    Failure::new(ErrorKind::Internal, error.to_string())
}
