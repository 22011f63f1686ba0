//! The bytes of one object, or of a range of it, as one unchanged whole: where the connection is lost, it is opened again
//! at the byte where it broke, and an object that has been replaced since is refused.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Answer, unsigned};
use crate::capabilities::aws::{self, Aws};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::Place;

/// How often one body is opened again without a byte in between.
const MAX_LOST: u32 = 5;

/// Before the first of these; each next one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

pub struct Body {
    aws: Arc<Aws>,
    /// As the guest wrote it.
    name: String,
    bucket: String,
    key: String,
    etag: String,
    /// The next byte of the object.
    position: u64,
    /// After the last byte that is wanted.
    end: u64,
    /// Of the whole object.
    total: u64,
    open: Option<ByteStream>,
    /// What [`Read`] has not passed on yet.
    rest: Bytes,
    lost: u32,
}

impl Body {
    /// From `offset`, up to `length` bytes where that is given.
    pub async fn open(
        aws: &Arc<Aws>,
        place: &Place,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Self> {
        Self::open_same(aws, place, offset, length, "").await
    }

    /// [`Self::open`] of the object that has this ETag, and of no other; of any where it is empty.
    pub async fn open_same(
        aws: &Arc<Aws>,
        place: &Place,
        offset: u64,
        length: Option<u64>,
        etag: &str,
    ) -> Result<Self> {
        let (bucket, key) = place.bucket_and_key();
        let mut body = Self {
            aws: aws.clone(),
            name: place.written().to_owned(),
            bucket: bucket.to_owned(),
            key,
            etag: etag.to_owned(),
            position: offset,
            end: length.map_or(u64::MAX, |length| offset.saturating_add(length)),
            total: 0,
            open: None,
            rest: Bytes::new(),
            lost: 0,
        };
        body.connect().await?;
        Ok(body)
    }

    /// [`Self::open`] on a thread that may block.
    pub fn open_blocking(aws: &Arc<Aws>, place: &Place, offset: u64) -> Result<Self> {
        Handle::current().block_on(Self::open(aws, place, offset, None))
    }

    /// Whether the whole object has no bytes.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.end - self.position
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.position < self.end {
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            let cut = match open.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(mut chunk)) => {
                    chunk.truncate(usize::try_from(self.left()).unwrap_or(usize::MAX));
                    self.position += chunk.len() as u64;
                    self.aws.count(chunk.len() as u64);
                    self.lost = 0;
                    return Ok(Some(chunk));
                }
                Some(Err(error)) => error.to_string(),
                None => "it ended too early".to_owned(),
            };
            self.open = None;
            self.lost += 1;
            if self.lost > MAX_LOST {
                return Err(Failure::new(
                    ErrorKind::Unavailable,
                    format!(
                        "`{}` cannot be read further than byte {}: {cut}",
                        self.name, self.position
                    ),
                ));
            }
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(self.lost - 1)).await;
        }
        Ok(None)
    }

    /// Asks for the bytes from `position` on.
    async fn connect(&mut self) -> Result<()> {
        let last = match self.end {
            u64::MAX => String::new(),
            end => (end - 1).to_string(),
        };
        let mut request = self
            .aws
            .s3()
            .await
            .get_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .range(format!("bytes={}-{last}", self.position));
        if !self.etag.is_empty() {
            request = request.if_match(&self.etag);
        }
        self.opened(request.send().await)
    }

    fn opened<E>(
        &mut self,
        answer: Answer<aws_sdk_s3::operation::get_object::GetObjectOutput, E>,
    ) -> Result<()>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata
            + aws_sdk_s3::operation::RequestId
            + std::error::Error
            + 'static,
    {
        let found = match answer {
            Ok(found) => found,
            Err(error) => {
                return match aws::answer(&error).1 {
                    // The range begins at the end or after it.
                    416 if self.etag.is_empty() => {
                        self.total = self.position;
                        if let Some(total) = content_range(error.raw_response()) {
                            self.total = total;
                        }
                        self.end = self.position;
                        Ok(())
                    }
                    412 => Err(Failure::new(
                        ErrorKind::InvalidData,
                        format!("`{}` was replaced while it was read", self.name),
                    )
                    .hint("run the job again")),
                    _ => Err(aws::failure(&self.name, &error)),
                };
            }
        };
        let length = unsigned(found.content_length());
        let range = found.content_range().and_then(parse_range);
        let (start, total) = range.unwrap_or((0, length));
        if start != self.position {
            return Err(Failure::new(
                ErrorKind::Rejected,
                format!(
                    "`{}` is at a store that does not read from an offset",
                    self.name
                ),
            ));
        }
        self.etag = found.e_tag().unwrap_or_default().to_owned();
        self.total = total;
        self.end = self.end.min(total).max(self.position);
        self.open = Some(found.body);
        Ok(())
    }
}

/// `bytes 5-9/20`: where it begins, and of how many.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, total.parse().ok()?))
}

/// `bytes */20` of an answer that has no range.
fn content_range(raw: Option<&aws_sdk_s3::config::http::HttpResponse>) -> Option<u64> {
    let text = raw?.headers().get("content-range")?;
    text.rsplit_once('/')?.1.parse().ok()
}

/// On a thread that may block.
impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let next = Handle::current().block_on(self.next());
            self.rest = next.map_err(io::Error::other)?.unwrap_or_default();
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        assert_eq!(parse_range("bytes 5-9/20"), Some((5, 20)));
        for other in [
            "",
            "bytes */20",
            "items 5-9/20",
            "bytes 5-9/*",
            "bytes 5/20",
        ] {
            assert_eq!(parse_range(other), None, "{other}");
        }
    }
}
