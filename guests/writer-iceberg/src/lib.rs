//! The connector `iceberg`: one table, one snapshot for each run.
//!
//! The host knows the format, the catalog and the storage; this says which table, and hands batches over.

mod config;

use dativo_connector::iceberg::{self, DataFiles};
use dativo_connector::{
    CommitRecord, Error, Output, Receipt, RecordBatch, Result, Run, Schema, Writer,
};
use serde_json::Value;

struct IcebergWriter {
    /// None once they are staged.
    files: Option<DataFiles>,
}

impl Writer for IcebergWriter {
    const NAME: &'static str = "iceberg";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// What the host takes as a target.
    type Config = Value;

    fn config_schema() -> String {
        config::schema()
    }

    fn open(config: Value, schema: &Schema, _: Run, split: u32) -> Result<Self> {
        let files = Some(DataFiles::create(&config.to_string(), schema, split)?);
        Ok(Self { files })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match &self.files {
            Some(files) => Ok(files.write(batch)?),
            None => Err(Error::internal("a batch came after `prepare`")),
        }
    }

    fn prepare(&mut self) -> Result<String> {
        match self.files.take() {
            Some(files) => Ok(files.stage()?),
            None => Err(Error::internal("`prepare` came twice")),
        }
    }

    fn commit(
        config: Value,
        run: Run,
        prepared: Vec<String>,
        state: Option<String>,
    ) -> Result<Receipt> {
        let (target, base) = (config.to_string(), run.base.as_deref());
        let committed = iceberg::commit(&target, base, &prepared, state.as_deref())?;
        Ok(receipt(committed))
    }

    fn abort(config: Value, _: Run, _: Vec<String>) -> Result<()> {
        Ok(iceberg::abort(&config.to_string())?)
    }

    fn last_commit(config: Value, _: String, _: String) -> Result<Option<CommitRecord>> {
        let last = iceberg::last_commit(&config.to_string())?;
        Ok(last.map(|committed| CommitRecord {
            run: committed.run.clone(),
            state: committed.state.clone(),
            receipt: receipt(committed),
        }))
    }
}

fn receipt(committed: iceberg::Committed) -> Receipt {
    let outputs = committed.files.into_iter().map(|file| Output {
        path: file.path,
        rows: file.rows,
        bytes: file.bytes,
        checksum: Some(format!("sha256:{}", file.sha256)),
    });
    Receipt {
        outputs: outputs.collect(),
        details: Some(committed.details),
    }
}

dativo_connector::export_writer!(IcebergWriter);
