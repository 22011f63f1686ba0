//! `verify`: whether what an audit record says was written is there, byte for byte.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Options, one};
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::capabilities::object_store::Access;
use crate::error::{Error, Kind};
use crate::job::{AwsSettings, Secrets};
use crate::report;

/// The format of a record that this program knows.
const FORMAT: u32 = 1;

/// What stands between the folder of a writer and its records.
const COMMITS: &str = "/_dativo/";

#[derive(Deserialize)]
struct Record {
    format: u32,
    run: String,
    tenant: String,
    job: String,
    row_count: u64,
    files: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    s3_uri: String,
    encrypted_size_bytes: u64,
    checksum_sha256: String,
    row_count: u64,
}

pub async fn verify(url: &str, options: &Options) -> super::Outcome {
    let (root, access) = access(url).map_err(one)?;
    let record = read(&access, url).await.map_err(one)?;
    let mut problems = Vec::new();
    let rows: u64 = record.files.iter().map(|file| file.row_count).sum();
    if rows != record.row_count {
        let message = format!(
            "the files have {rows} rows, the record says {}",
            record.row_count
        );
        problems.push(Error::new(Kind::DataInvalid, message));
    }
    let mut files = Vec::new();
    for file in &record.files {
        match check(&access, &root, file).await {
            Ok(()) => files.push(json!({ "s3_uri": file.s3_uri, "status": "intact" })),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if options.json {
        let Record {
            run, tenant, job, ..
        } = &record;
        report::json(&json!({
            "record": url, "run": run, "tenant": tenant, "job": job, "rows": rows, "files": files,
        }));
    } else {
        report::result(&format!(
            "run {} of job `{}`, tenant `{}`: {} files with {rows} rows are there as they were written",
            record.run,
            record.job,
            record.tenant,
            files.len()
        ));
    }
    Ok(())
}

/// The folder of the writer, and what may be read there: a record that names something else is not followed.
fn access(url: &str) -> Result<(String, Access), Error> {
    let root = url.split_once(COMMITS).map(|(root, _)| root);
    let root = root
        .filter(|_| url.contains("/audit/"))
        .ok_or_else(|| no_record(url, "its name is not of one"))?;
    let grant = format!("read {root}/**");
    let lines = [grant.as_str()].into_iter();
    let access = Access::new(lines, &Secrets::default(), &AwsSettings::default())?;
    Ok((format!("{root}/"), access))
}

async fn read(access: &Access, url: &str) -> Result<Record, Error> {
    let text = access.read(url).await?;
    let record: Record =
        serde_json::from_slice(&text).map_err(|error| no_record(url, &error.to_string()))?;
    if record.format != FORMAT {
        return Err(no_record(
            url,
            &format!("it is of format {}", record.format),
        ));
    }
    if !url.ends_with(&format!("/audit/{}.json", record.run)) {
        return Err(no_record(url, &format!("it is of run {}", record.run)));
    }
    Ok(record)
}

async fn check(access: &Access, root: &str, file: &Written) -> Result<(), Error> {
    let uri = &file.s3_uri;
    if !uri.starts_with(root) {
        let message = format!("the record names `{uri}`, which is not below `{root}`");
        return Err(Error::new(Kind::DataInvalid, message));
    }
    let (bytes, sha256) = access.digest(uri).await.map_err(|failure| match failure {
        Failure {
            kind: ErrorKind::NotFound,
            ..
        } => Error::new(
            Kind::DataInvalid,
            format!("`{uri}` does not exist, and the record says that it was written"),
        ),
        failure => failure.into(),
    })?;
    let found: Value = json!([bytes, sha256]);
    if found == json!([file.encrypted_size_bytes, file.checksum_sha256]) {
        return Ok(());
    }
    let message = format!(
        "`{uri}` was changed: it has {bytes} bytes and SHA-256 {sha256}, the record says {} and {}",
        file.encrypted_size_bytes, file.checksum_sha256
    );
    Err(Error::new(Kind::DataInvalid, message).hint("restore the object from a version or a copy"))
}

fn no_record(url: &str, why: &str) -> Error {
    Error::new(
        Kind::JobInvalid,
        format!("`{url}` is no audit record, because {why}"),
    )
    .hint(
        "name an object `…/_dativo/TENANT/JOB/audit/RUN.json`; a run reports it as `audit_record`",
    )
}
