//! Whether what the last runs of a job wrote to a table is there, byte for byte.
//!
//! Reads the table's metadata, receipts and data files, and changes nothing.

use std::sync::Arc;

use super::Access;
use super::history::{self, Landed, Owner};
use super::receipt::{self, Content};
use super::table::Table;
use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Result};

/// What became of one run's files.
pub struct Verified {
    pub run: String,
    pub snapshot: i64,
    pub files: usize,
    pub rows: u64,
    /// What is not as it was written.
    pub problems: Vec<String>,
}

impl Access {
    /// The newest `runs` of a job whose snapshots are in the table, the last one first.
    pub async fn verify(
        self: &Arc<Self>,
        target: &str,
        tenant: &str,
        job: &str,
        runs: usize,
    ) -> Result<Vec<Verified>> {
        let table = Table::new(self, target)?;
        let Some(loaded) = table.load().await? else {
            return Ok(Vec::new());
        };
        let warehouse = table.warehouse(&loaded.metadata)?;
        let owner = Owner {
            tenant: tenant.to_owned(),
            job: job.to_owned(),
        };
        let mut verified = Vec::new();
        let landed = history::runs(&loaded.metadata, &owner).into_iter();
        // The files of a snapshot that expired may be gone by right.
        for landed in landed
            .filter(|landed| !landed.summary.is_empty())
            .take(runs)
        {
            verified.push(verify(&warehouse, landed).await?);
        }
        Ok(verified)
    }
}

async fn verify(warehouse: &Warehouse, landed: Landed) -> Result<Verified> {
    let mut verified = Verified {
        run: landed.run.clone(),
        snapshot: landed.snapshot,
        files: 0,
        rows: 0,
        problems: Vec::new(),
    };
    let url = &landed.receipt;
    match warehouse.digest(url).await {
        Ok((_, sha256)) if sha256 == landed.receipt_sha256 => {}
        Ok(_) => {
            verified
                .problems
                .push(format!("`{url}`, the list of the run's files, was changed"));
            return Ok(verified);
        }
        Err(failure) if failure.kind == ErrorKind::NotFound => {
            verified
                .problems
                .push(format!("`{url}`, the list of the run's files, is gone"));
            return Ok(verified);
        }
        Err(failure) => return Err(failure),
    }
    let files = receipt::files(warehouse, &landed).await?;
    verified.files = files.len();
    let rows = |contents: &[Content]| -> u64 {
        let files = files.iter().filter(|file| contents.contains(&file.content));
        files.map(|file| file.rows).sum()
    };
    verified.rows = rows(&[Content::Rows]);
    let said = [
        ("dativo.rows", verified.rows),
        ("added-records", rows(&[Content::Rows, Content::Rewritten])),
        ("added-equality-deletes", rows(&[Content::Deletes])),
    ];
    for (key, rows) in said {
        let said = landed.summary.get(key).map_or("0", String::as_str);
        if said != rows.to_string() {
            verified.problems.push(format!(
                "the files have {rows} rows, and the snapshot says `{key}` {said}"
            ));
        }
    }
    for file in files {
        let path = &file.path;
        match warehouse.digest(path).await {
            Ok((bytes, sha256)) if (bytes, &sha256) == (file.bytes, &file.sha256) => {}
            Ok((bytes, sha256)) => verified.problems.push(format!(
                "`{path}` was changed: it has {bytes} bytes and SHA-256 {sha256}, and was written with {} and {}",
                file.bytes, file.sha256
            )),
            Err(failure) if failure.kind == ErrorKind::NotFound => {
                verified.problems.push(format!("`{path}` is gone"));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(verified)
}
