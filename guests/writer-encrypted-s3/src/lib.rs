//! The connector `encrypted-s3`: Parquet files that are encrypted before they leave for S3, published at commit, with an
//! audit record of each run.
//!
//! The host seals: no key enters this component, and no plain byte leaves the host. `sealed` is one file, `audit` the
//! record; names, file sizes and the commit are those of `parquet-files`.

mod audit;
mod config;
mod sealed;

use dativo_connector::{CommitRecord, Error, Receipt, RecordBatch, Result, Run, Schema, Writer};
use parquet_files::{Files, Layout};

use config::Config;
use sealed::Sealing;

struct EncryptedWriter {
    files: Files<Sealing>,
}

impl Writer for EncryptedWriter {
    const NAME: &'static str = "encrypted-s3";
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
            prefix: "data_".to_owned(),
            ending: ".parquet.encrypted".to_owned(),
            held_whole: true,
        };
        let files = Files::new(Sealing { config }, layout, schema, run.id, split)?;
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
        let root = config.root();
        let record = |manifest: &_| audit::put(&root, manifest);
        let manifest = parquet_files::commit(&root, run, &prepared, state, record)?;
        Ok(audit::receipt(&root, &manifest))
    }

    fn abort(config: Config, run: Run, prepared: Vec<String>) -> Result<()> {
        parquet_files::abort(&config.root(), &run, &prepared)
    }

    fn last_commit(config: Config, tenant: String, job: String) -> Result<Option<CommitRecord>> {
        let root = config.root();
        let record = |manifest: &_| audit::put(&root, manifest);
        let last = parquet_files::last_commit(&root, &tenant, &job, record)?;
        Ok(last.map(|manifest| {
            let receipt = audit::receipt(&root, &manifest);
            parquet_files::record(manifest, receipt)
        }))
    }
}

dativo_connector::export_writer!(EncryptedWriter);
