//! Opens a sealed file into a new one: nothing has the new name before every byte of it was verified.
//!
//! Both formats, in constant memory: v0 is read twice, and deciphered the second time only; v1 is deciphered as it is read,
//! into a file that has no name until the end was seen. Knows no command line and prints nothing.

mod destination;
mod source;

use std::path::Path;

use zeroize::Zeroizing;

pub use destination::Destination;
pub use source::Source;

use crate::capabilities::failure::Failure;
use crate::capabilities::kms::KeyService;
use crate::error::{Error, Kind, Result};
use crate::seal::{Context, DataKey, Format, MAX_HEAD_BYTES, SealError, Start, v0, v1};

/// How much is read at a time, in bytes: a few chunks of the usual size. What is held is twice this and a chunk.
const BLOCK_BYTES: u64 = 4 << 20;

/// What a file is opened with, and what it must be.
#[derive(Default)]
pub struct Request {
    /// The master key that must have wrapped the file's key: of the service, or `file:PATH`. None for the one that the
    /// service finds.
    pub key_id: Option<String>,
    /// Whom the file must have been sealed for. None takes the file of anyone whose key is unwrapped.
    pub tenant: Option<String>,
}

/// What was opened.
#[derive(Debug)]
pub struct Opened {
    pub format: Format,
    pub plaintext_bytes: u64,
    /// Whom a v1 file was sealed for; v0 does not say.
    pub context: Option<Context>,
}

/// Opens `source` into `path`, which must not exist.
pub async fn decrypt(
    source: &Source,
    path: &Path,
    keys: &KeyService,
    request: &Request,
) -> Result<Opened> {
    let mut destination = Destination::create(path)?;
    let head = source
        .read_at(0, source.bytes().min(MAX_HEAD_BYTES as u64))
        .await?;
    let named = |error: Error| error.with("source", source.name());
    let format = Start::read(&head).map_err(sealed).map_err(named)?.format;
    let key_id = request.key_id.as_deref();
    let context = match format {
        Format::V0 => {
            let head = v0::Head::parse(&head).map_err(sealed).map_err(named)?;
            if request.tenant.is_some() {
                return Err(named(says_no_tenant()));
            }
            let key = keys.decrypt(head.wrapped_key(), None, key_id).await;
            let key = key.map_err(Error::from).map_err(named)?;
            open_v0(source, &mut destination, &head, &key)
                .await
                .map_err(named)?;
            None
        }
        Format::V1 => {
            let header = v1::Header::parse(&head).map_err(sealed).map_err(named)?;
            let context = header.context();
            let key = keys
                .decrypt(header.wrapped_key(), Some(context), key_id)
                .await;
            let key = key.map_err(Error::from).map_err(named)?;
            let tenant = request.tenant.as_deref().map(|tenant| ("tenant", tenant));
            let opener = header.open(&key, tenant.as_slice());
            let opener = opener.map_err(sealed).map_err(named)?;
            open_v1(source, &mut destination, header.head_bytes() as u64, opener)
                .await
                .map_err(named)?;
            Some(context.clone())
        }
    };
    let plaintext_bytes = destination.bytes();
    destination.publish().await?;
    Ok(Opened {
        format,
        plaintext_bytes,
        context,
    })
}

async fn open_v0(
    source: &Source,
    destination: &mut Destination,
    head: &v0::Head,
    key: &DataKey,
) -> Result<()> {
    let start = head.head_bytes() as u64;
    let mut verifier = v0::Verifier::new(key, head).map_err(sealed)?;
    for (at, bytes) in blocks(start, source.bytes()) {
        let block = source.read_at(at, bytes).await?;
        verifier.update(&block).map_err(sealed)?;
    }
    let mut opener = verifier.finish().map_err(sealed)?;
    let mut plain = Zeroizing::default();
    for (at, bytes) in blocks(start, source.bytes()) {
        let block = source.read_at(at, bytes).await?;
        opener.update(&block, &mut plain).map_err(sealed)?;
        plain = destination.write(plain).await?;
    }
    opener.finish(&mut plain).map_err(sealed)?;
    destination.write(plain).await.map(drop)
}

async fn open_v1(
    source: &Source,
    destination: &mut Destination,
    start: u64,
    opener: v1::Opener,
) -> Result<()> {
    // A file that was cut between two chunks is known by its length, before much is read.
    opener.last_chunk(source.bytes()).map_err(sealed)?;
    let mut stream = opener.into_stream();
    let mut plain = Zeroizing::default();
    for (at, bytes) in blocks(start, source.bytes()) {
        let block = source.read_at(at, bytes).await?;
        stream.update(&block, &mut plain).map_err(sealed)?;
        plain = destination.write(plain).await?;
    }
    stream.finish(&mut plain).map_err(sealed)?;
    destination.write(plain).await.map(drop)
}

/// Where the blocks from `start` to `end` begin, and how long they are.
fn blocks(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let next = move |at: &u64| at.checked_add(BLOCK_BYTES);
    std::iter::successors(Some(start), next)
        .take_while(move |at| *at < end)
        .map(move |at| (at, BLOCK_BYTES.min(end - at)))
}

fn sealed(error: SealError) -> Error {
    Failure::from(error).into()
}

fn says_no_tenant() -> Error {
    let message = "a file of format v0 does not say which tenant it was sealed for";
    Error::new(Kind::Rejected, message)
        .hint("leave out `--tenant`, and trust where the file came from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_all_of_a_file_in_order() {
        let all = |start, end| blocks(start, end).collect::<Vec<_>>();
        assert_eq!(all(10, 10), []);
        assert_eq!(all(11, 10), []);
        assert_eq!(all(10, 11), [(10, 1)]);
        let end = 10 + 2 * BLOCK_BYTES;
        let whole = [(10, BLOCK_BYTES), (10 + BLOCK_BYTES, BLOCK_BYTES)];
        assert_eq!(all(10, end), whole);
        assert_eq!(all(10, end + 7), [&whole[..], &[(end, 7)]].concat());
    }
}
