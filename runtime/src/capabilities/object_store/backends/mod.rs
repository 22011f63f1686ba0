//! Where objects live: which backend a place or a token belongs to.
//!
//! Every backend does the same, which the suite in `tests.rs` holds them to. Knows no wasm.

pub mod local;
pub mod s3;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::buffer::Buffer;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use self::stream::ByteStream;
use super::grant::{Grant, Place};
use super::name::Store;
use crate::capabilities::aws::Aws;
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// Largest answer of [`get`], in bytes. It becomes one blob in host memory.
pub const MAX_GET_BYTES: u32 = 64 << 20;

/// Most objects in one listing: a few hundred bytes each in the guest's memory.
const MAX_LISTED: usize = 100_000;

/// Most entries that one listing looks at, whether the grant covers them or not: some seconds of work.
const MAX_VISITED: usize = 1_000_000;

/// What [`digest`] reads at a time.
const DIGEST_BLOCK_BYTES: u32 = 1 << 20;

/// As object stores have it.
const MAX_PARTS: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub url: String,
    pub size_bytes: u64,
    /// Since 1970-01-01T00:00:00Z; 0 for anything before.
    pub modified_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub token: String,
    pub url: String,
    pub bytes: u64,
    /// Lowercase hex.
    pub sha256: String,
}

/// What an object has beside its bytes, where the store keeps such things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    pub metadata: Vec<(String, String)>,
    pub encrypted_at_rest: bool,
}

/// Whose uploads they are: written beside them, so that another process can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub tenant: String,
    pub job: String,
    pub run: String,
}

/// An object being written. Dropped before it is staged, it removes what it wrote.
pub enum Upload {
    Local(Box<local::Upload>),
    S3(Box<s3::Upload>),
}

impl Upload {
    pub async fn create(
        aws: &Arc<Aws>,
        place: Place,
        owner: Owner,
        attributes: Attributes,
    ) -> Result<Self> {
        match place.store() {
            Store::Local => blocking(move || local::Upload::create(&place, &owner.run))
                .await
                .map(|upload| Self::Local(Box::new(upload))),
            Store::S3 => {
                let upload = s3::Upload::create(aws, place, owner, attributes).await?;
                Ok(Self::S3(Box::new(upload)))
            }
        }
    }

    /// Parts are numbered from 1 and come in any order, each once. `held` is the upload; none once it is staged.
    pub async fn put(held: Arc<Mutex<Option<Self>>>, part: u32, chunks: Vec<Buffer>) -> Result<()> {
        let mut held = held.lock_owned().await;
        match held.as_mut() {
            None => Err(already_staged()),
            Some(Self::S3(upload)) => upload.put(part, chunks).await,
            Some(Self::Local(_)) => {
                blocking(move || match held.as_mut() {
                    Some(Self::Local(upload)) => {
                        let chunks: Vec<&[u8]> = chunks.iter().map(Buffer::as_slice).collect();
                        upload.put(part, &chunks)
                    }
                    _ => Err(already_staged()),
                })
                .await
            }
        }
    }

    /// Ends the upload: the bytes are durable when this returns.
    pub async fn stage(self) -> Result<Staged> {
        match self {
            Self::Local(upload) => blocking(move || upload.stage()).await,
            Self::S3(upload) => upload.stage().await,
        }
    }

    /// Bytes that it holds in memory, still on their way.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Self::Local(_) => 0,
            Self::S3(upload) => upload.held_bytes(),
        }
    }

    /// Waits until nothing is on its way.
    pub async fn settle(&mut self) -> Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::S3(upload) => upload.settle().await,
        }
    }
}

pub fn already_staged() -> Failure {
    Failure::new(ErrorKind::Rejected, "the upload is staged already")
}

/// What can be done with something staged, by its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Makes it visible. Done already is success.
    Publish,
    /// Whether [`Self::Publish`] would find it, staged or published.
    CheckStaged,
    /// Removes it. Done already is success; a published object stays.
    Discard,
}

/// Tokens that are worked on side by side. Each takes some requests to a bucket one after the other, or the disk's time.
const SIDE_BY_SIDE: usize = 8;

/// Does `verb` for all `tokens`, and calls `done` after each. After a failure no other is begun.
pub async fn each(
    verb: Verb,
    aws: &Arc<Aws>,
    grant: &Arc<Grant>,
    tokens: Vec<String>,
    done: fn(),
) -> Result<()> {
    let mut working = JoinSet::new();
    let mut failed = Ok(());
    let mut tokens = tokens.into_iter();
    loop {
        while failed.is_ok()
            && working.len() < SIDE_BY_SIDE
            && let Some(token) = tokens.next()
        {
            let (aws, grant) = (aws.clone(), grant.clone());
            working.spawn(async move { one(verb, &aws, grant, token).await });
        }
        match working.join_next().await {
            None => return failed,
            Some(Ok(Ok(()))) => done(),
            Some(Ok(Err(failure))) => failed = failed.and(Err(failure)),
            Some(Err(lost)) => {
                let lost = Failure::new(ErrorKind::Internal, lost.to_string());
                failed = failed.and(Err(lost));
            }
        }
    }
}

async fn one(verb: Verb, aws: &Aws, grant: Arc<Grant>, token: String) -> Result<()> {
    match (store_of(&token), verb) {
        (Store::S3, Verb::Publish) => s3::publish(aws, &grant, &token).await,
        (Store::S3, Verb::CheckStaged) => s3::check_staged(aws, &grant, &token).await,
        (Store::S3, Verb::Discard) => s3::discard(aws, &grant, &token).await,
        (Store::Local, verb) => {
            let local = match verb {
                Verb::Publish => local::publish,
                Verb::CheckStaged => local::check_staged,
                Verb::Discard => local::discard,
            };
            blocking(move || local(&grant, &token)).await
        }
    }
}

/// Tokens of all that `run` staged or began to stage below `prefix`, in order of their uploads.
pub async fn list_staged(
    aws: &Aws,
    grant: &Arc<Grant>,
    prefix: Place,
    run: String,
) -> Result<Vec<String>> {
    match prefix.store() {
        Store::S3 => s3::list_staged(aws, grant, &prefix, &run).await,
        Store::Local => {
            let grant = grant.clone();
            blocking(move || local::list_staged(&grant, &prefix, &run)).await
        }
    }
}

/// Something that a run staged, or began to stage, and that was neither published nor discarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Tenant and job, where it is written beside it.
    pub owner: Option<(String, String)>,
    pub run: String,
    /// Of the object that it would be.
    pub url: String,
    pub token: String,
}

/// All leftovers of all runs in the folder that `root` is, and how many uploads there no run of this program began.
pub async fn leftovers(aws: &Aws, grant: &Arc<Grant>, root: Place) -> Result<(Vec<Leftover>, u64)> {
    match root.store() {
        Store::S3 => s3::leftovers(aws, grant, &root).await,
        Store::Local => {
            let grant = grant.clone();
            let found = blocking(move || local::leftovers(&grant, &root)).await?;
            Ok((found, 0))
        }
    }
}

/// Up to `length` bytes from `offset`, fewer at the end.
pub async fn get(aws: &Arc<Aws>, place: Place, offset: u64, length: u32) -> Result<Vec<u8>> {
    if length > MAX_GET_BYTES {
        return Err(Failure::new(
            ErrorKind::LimitExceeded,
            format!("`get` of {length} bytes; the limit is {MAX_GET_BYTES} bytes a call"),
        ));
    }
    match place.store() {
        Store::S3 => s3::get(aws, &place, offset, length).await,
        Store::Local => blocking(move || local::get(&place, offset, length)).await,
    }
}

/// Length and SHA-256, in lowercase hex, of an object.
pub async fn digest(aws: &Arc<Aws>, place: Place) -> Result<(u64, String)> {
    let aws = aws.clone();
    blocking(move || {
        let mut stream = ByteStream::open(&aws, &place, 0, "none")?;
        let (mut bytes, mut hash) = (0, Sha256::new());
        while let Some(block) = stream.next(DIGEST_BLOCK_BYTES)? {
            bytes += block.len() as u64;
            hash.update(&block);
        }
        Ok((bytes, hex(&hash.finalize())))
    })
    .await
}

/// Puts a whole object in place at once, durable on return. An object that is there stays.
pub async fn put_new(aws: &Aws, place: Place, bytes: Buffer) -> Result<()> {
    match place.store() {
        Store::S3 => s3::put_new(aws, &place, &bytes).await,
        Store::Local => blocking(move || local::put_new(&place, &bytes)).await,
    }
}

pub async fn head(aws: &Aws, place: Place) -> Result<Object> {
    match place.store() {
        Store::S3 => s3::head(aws, &place).await,
        Store::Local => blocking(move || local::head(&place)).await,
    }
}

/// The covered objects in a folder and in folders below it, in order of their names.
pub async fn list(aws: &Aws, grant: &Arc<Grant>, prefix: Place) -> Result<Vec<Object>> {
    match prefix.store() {
        Store::S3 => s3::list(aws, grant, &prefix).await,
        Store::Local => {
            let grant = grant.clone();
            blocking(move || local::list(&grant, &prefix)).await
        }
    }
}

/// Which backend made a token; one that is no token at all is refused by any.
fn store_of(token: &str) -> Store {
    #[derive(serde::Deserialize)]
    struct Which {
        store: Option<String>,
    }
    match serde_json::from_str(token) {
        Ok(Which { store: Some(store) }) if store == s3::STORE => Store::S3,
        _ => Store::Local,
    }
}

fn too_large(prefix: &Place, what: &str) -> Failure {
    Failure::new(
        ErrorKind::LimitExceeded,
        format!("`{}` holds {what}", prefix.written()),
    )
    .hint("name a folder with fewer objects in it")
}

fn already_there(place: &Place) -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        format!("`{}` exists already", place.written()),
    )
}

fn gone(place: &Place) -> Failure {
    Failure::new(
        ErrorKind::NotFound,
        format!(
            "what was staged for `{}` is gone: it was discarded",
            place.written()
        ),
    )
}

/// A run becomes a folder name.
fn check_run(run: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if (1..=128).contains(&run.len()) && run.chars().all(is_plain) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::Rejected,
        "a run id is 1 to 128 letters, digits, `-` and `_`",
    ))
}

fn check_part(place: &Place, part: u32) -> Result<()> {
    match (1..=MAX_PARTS).contains(&part) {
        true => Ok(()),
        false => Err(Failure::new(
            ErrorKind::LimitExceeded,
            format!(
                "part {part} of `{}`; parts are numbered 1 to {MAX_PARTS}",
                place.written()
            ),
        )),
    }
}

fn is_id(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok_and(|uuid| uuid.to_string() == id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
