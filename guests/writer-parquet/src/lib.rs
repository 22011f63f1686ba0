//! The connector `parquet`: Parquet files in a directory, published at commit.
//!
//! Batches, encoded pages and uploads are handles of the host; this component decides names, file
//! sizes and the commit. `manifest` is the commit, `files` are the files of one split.

mod config;
mod files;
mod manifest;

use dativo_connector::log::{self, Level};
use dativo_connector::object_store as store;
use dativo_connector::{CommitRecord, Error, Receipt, RecordBatch, Result, Run, Schema, Writer};

use config::Config;
use files::{Files, StagedFile};
use manifest::{Decision, Manifest};

struct ParquetWriter {
    files: Files,
}

impl Writer for ParquetWriter {
    const NAME: &'static str = "parquet";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        config::schema()
    }

    fn open(config: Config, schema: &Schema, run: Run, split: u32) -> Result<Self> {
        Ok(Self {
            files: Files::new(config, schema, run.id, split)?,
        })
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
        let files = parse(&prepared)?;
        let folder = manifest::folder(&config.path, &run.tenant, &run.job);
        let newest = manifest::newest(&folder)?;
        let manifest = match manifest::decide(newest, &run)? {
            Decision::Finish(manifest) => manifest,
            Decision::Create(number) => {
                // A commit must not be decided whose files someone removed, taking the run for dead.
                for file in &files {
                    store::check_staged(&file.token)?;
                }
                let manifest = Manifest::new(number, run, state, files);
                manifest.create(&folder)?;
                manifest
            }
        };
        manifest.publish()?;
        remove_lost(&config, &manifest);
        Ok(manifest.receipt())
    }

    fn abort(config: Config, run: Run, prepared: Vec<String>) -> Result<()> {
        for file in parse(&prepared)? {
            store::discard(&file.token)?;
        }
        for token in store::list_staged(&config.root(), &run.id)? {
            store::discard(&token)?;
        }
        Ok(())
    }

    fn last_commit(config: Config, tenant: String, job: String) -> Result<Option<CommitRecord>> {
        let folder = manifest::folder(&config.path, &tenant, &job);
        let Some(manifest) = manifest::newest(&folder)? else {
            return Ok(None);
        };
        manifest.publish()?;
        remove_lost(&config, &manifest);
        Ok(Some(CommitRecord {
            receipt: manifest.receipt(),
            run: manifest.run,
            state: manifest.state,
        }))
    }
}

/// Removes what the run staged and did not commit: files of a split that was read again. The commit stands whether
/// or not this works, and whoever asks for it next tries again.
fn remove_lost(config: &Config, manifest: &Manifest) {
    let removed = store::list_staged(&config.root(), &manifest.run)
        .and_then(|tokens| tokens.iter().try_for_each(|token| store::discard(token)));
    if let Err(error) = removed {
        let run = &manifest.run;
        let line = format!(
            "staged files of run {run} cannot be removed: {}",
            error.message
        );
        log::write(Level::Warn, &line);
    }
}

fn parse(prepared: &[String]) -> Result<Vec<StagedFile>> {
    let mut files = Vec::new();
    for split in prepared {
        let split: Vec<StagedFile> = serde_json::from_str(split).map_err(|error| {
            Error::internal(format!("what a split prepared cannot be read: {error}"))
        })?;
        files.extend(split);
    }
    Ok(files)
}

dativo_connector::export_writer!(ParquetWriter);
