//! What the writers of Parquet files share: `files` are those of one split, `manifest` is the commit, `size` reads sizes.
//!
//! Where the encoded bytes go is up to a [`Sink`]. Knows no config of a writer.

mod files;
mod manifest;
mod size;

use dativo_connector::log::{self, Level};
use dativo_connector::object_store as store;
use dativo_connector::{CommitRecord, Error, Result, Run};

pub use files::{Files, Layout, Parts, Sink, SinkFile, StagedFile};
pub use manifest::{Manifest, folder};
pub use size::parse_size;

use manifest::Decision;

/// Publishes what every split prepared, below `root`, which ends in `/`. What `finish` does comes after the files are
/// visible, and again whenever the commit is looked at: done already must be success.
pub fn commit(
    root: &str,
    run: Run,
    prepared: &[String],
    state: Option<String>,
    finish: impl Fn(&Manifest) -> Result<()>,
) -> Result<Manifest> {
    let files = parse(prepared)?;
    let folder = manifest::folder(root, &run.tenant, &run.job);
    let newest = manifest::newest(&folder)?.map(|newest| newest.manifest);
    let manifest = match manifest::decide(newest, &run)? {
        Decision::Finish(manifest) => *manifest,
        Decision::Create(number) => {
            // A commit must not be decided whose files someone removed, taking the run for dead.
            store::check_staged(&tokens(&files))?;
            let manifest = Manifest::new(number, run, state, files);
            manifest.create(&folder)?;
            manifest
        }
    };
    complete(root, &folder, &manifest, finish)?;
    Ok(manifest)
}

/// Removes all that the run staged, prepared or not.
pub fn abort(root: &str, run: &Run, prepared: &[String]) -> Result<()> {
    store::discard(&tokens(&parse(prepared)?))?;
    store::discard(&store::list_staged(root, &run.id)?)?;
    Ok(())
}

/// What names the files.
fn tokens(files: &[StagedFile]) -> Vec<String> {
    files.iter().map(|file| file.token.clone()).collect()
}

/// The last commit of a job; what a crash cut short of it is finished.
pub fn last_commit(
    root: &str,
    tenant: &str,
    job: &str,
    finish: impl Fn(&Manifest) -> Result<()>,
) -> Result<Option<Manifest>> {
    let folder = manifest::folder(root, tenant, job);
    let Some(newest) = manifest::newest(&folder)? else {
        return Ok(None);
    };
    if !newest.is_complete {
        complete(root, &folder, &newest.manifest, finish)?;
    }
    Ok(Some(newest.manifest))
}

/// Does what a commit decided, and notes it: whoever looks at the commit later need not ask for each file.
fn complete(
    root: &str,
    folder: &str,
    manifest: &Manifest,
    finish: impl Fn(&Manifest) -> Result<()>,
) -> Result<()> {
    manifest.publish()?;
    finish(manifest)?;
    // The commit stands, whatever goes wrong from here on: whoever asks for it next tries again.
    let noted = remove_lost(root, manifest).and_then(|()| manifest.note_complete(folder));
    if let Err(error) = noted {
        let run = &manifest.run;
        let line = format!(
            "the commit of run {run} cannot be tidied up: {}",
            error.message
        );
        log::write(Level::Warn, &line);
    }
    Ok(())
}

/// A commit as the host wants it, with the receipt that `commit` gave.
pub fn record(manifest: Manifest, receipt: dativo_connector::Receipt) -> CommitRecord {
    CommitRecord {
        receipt,
        run: manifest.run,
        state: manifest.state,
    }
}

/// Removes what the run staged and did not commit: files of a split that was read again.
fn remove_lost(root: &str, manifest: &Manifest) -> Result<()> {
    store::discard(&store::list_staged(root, &manifest.run)?)?;
    Ok(())
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
