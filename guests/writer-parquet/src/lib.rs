//! The connector `parquet`: Parquet files in a directory or a bucket, published at commit.
//!
//! Batches, encoded pages and uploads are handles of the host; `parquet-files` decides names, file sizes and the commit.

mod config;

use dativo_connector::object_store::Attributes;
use dativo_connector::parquet::Encoder;
use dativo_connector::{CommitRecord, Error, Receipt, RecordBatch, Result, Run, Schema, Writer};
use parquet_files::{Files, Layout, Manifest, Parts, Sink};

use config::Config;

struct ParquetWriter {
    files: Files<Plain>,
}

/// Files as they are encoded.
struct Plain {
    config: Config,
}

impl Sink for Plain {
    type File = Parts;

    fn object(&self, name: &str) -> String {
        self.config.object(name)
    }

    fn begin(
        &self,
        url: &str,
        run: &str,
        schema: &Schema,
        options: &str,
    ) -> Result<(Encoder, Parts)> {
        let attributes = Attributes {
            metadata: Vec::new(),
            encrypted_at_rest: false,
        };
        let encoder = Encoder::create(schema, options)?;
        Ok((encoder, Parts::create(url, run, &attributes)?))
    }
}

impl Writer for ParquetWriter {
    const NAME: &'static str = "parquet";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        config::schema()
    }

    fn open(config: Config, schema: &Schema, run: Run, split: u32) -> Result<Self> {
        let layout = Layout {
            compression: config.compression.clone(),
            row_group_rows: config.row_group_rows,
            target_file_bytes: config.target_file_bytes()?,
            partition_by: config.partition_by.clone(),
            prefix: String::new(),
            ending: ".parquet".to_owned(),
            held_whole: false,
        };
        let files = Files::new(Plain { config }, layout, schema, run.id, split)?;
        Ok(Self { files })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.files.write(batch)
    }

    fn prepare(&mut self) -> Result<String> {
        serde_json::to_string(&self.files.finish()?)
            .map_err(|error| Error::internal(error.to_string()))
    }

    fn commit(
        config: Config,
        run: Run,
        prepared: Vec<String>,
        state: Option<String>,
    ) -> Result<Receipt> {
        let manifest = parquet_files::commit(&config.root(), run, &prepared, state, nothing_more)?;
        Ok(manifest.receipt())
    }

    fn abort(config: Config, run: Run, prepared: Vec<String>) -> Result<()> {
        parquet_files::abort(&config.root(), &run, &prepared)
    }

    fn last_commit(config: Config, tenant: String, job: String) -> Result<Option<CommitRecord>> {
        let last = parquet_files::last_commit(&config.root(), &tenant, &job, nothing_more)?;
        Ok(last.map(|manifest| {
            let receipt = manifest.receipt();
            parquet_files::record(manifest, receipt)
        }))
    }
}

/// The files are all that a commit makes.
fn nothing_more(_: &Manifest) -> Result<()> {
    Ok(())
}

dativo_connector::export_writer!(ParquetWriter);
