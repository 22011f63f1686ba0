//! The socket, and messages on it: one large input buffer, read in place.
//!
//! Knows framing and nothing of what messages mean. Source: PostgreSQL documentation, "Message Flow" and "Message
//! Formats"; the messages themselves are those of `postgres-protocol`.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::errors::{limit, lost};
use crate::capabilities::failure::Failure;

/// What is read from the socket at a time, in bytes. It holds some hundred rows, so that they are decoded column by
/// column while they are in the processor's cache.
const INPUT_BYTES: usize = 256 << 10;

/// Rows in bulk are worth a look from here on, in bytes; less is waited on for [`PAUSE`]. A server sends 8 KiB at a time,
/// and to wake up for each of these costs both sides more than to decode them.
const WORTH_BYTES: usize = 64 << 10;

/// In which a fast server sends some 200 KiB, which the socket holds, and a slow one is not kept waiting.
const PAUSE: Duration = Duration::from_millis(1);

/// Longest message that is taken from a server, in bytes: one row. The buffer grows to hold it.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What is moved to the front of the buffer without a need, in bytes, to make room behind it.
const SMALL_BYTES: usize = 16 << 10;

/// A connection at the level of messages.
pub struct Wire {
    stream: Stream,
    input: Vec<u8>,
    /// The part of `input` that was read and not used.
    start: usize,
    end: usize,
    /// Bytes that came since this was asked for last.
    came: u64,
    pub output: BytesMut,
}

/// With or without TLS.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Closed,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Wire {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            came: 0,
            output: BytesMut::new(),
        }
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Host memory that the buffers take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Sends everything that was put into `output`.
    pub async fn send(&mut self) -> Result<(), Failure> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&self.output).await,
            Stream::Tls(stream) => match stream.write_all(&self.output).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        self.output.clear();
        sent.map_err(|error| lost(&error))
    }

    /// What was read and not used.
    pub fn unread(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Marks the first `bytes` of [`Self::unread`] as used.
    pub fn consume(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
    }

    /// Reads until at least `wanted` bytes are there.
    pub async fn fill(&mut self, wanted: usize) -> Result<(), Failure> {
        if wanted > MAX_MESSAGE_BYTES {
            return Err(limit(wanted));
        }
        let unread = self.end - self.start;
        if self.input.len() - self.start < wanted || unread <= SMALL_BYTES {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.input.len() < wanted {
            self.input.resize(wanted, 0);
        }
        while self.end - self.start < wanted {
            let free = self.input.get_mut(self.end..).unwrap_or_default();
            let read = self.stream.read(free).await.map_err(|error| lost(&error))?;
            if read == 0 {
                return Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            self.end += read;
            self.came += read as u64;
        }
        Ok(())
    }

    /// [`Self::fill`] for rows in bulk: what comes a little later is read with it. If the future is dropped meanwhile, the
    /// connection is closed.
    pub async fn fill_bulk(&mut self, wanted: usize) -> Result<(), Failure> {
        self.fill(wanted).await?;
        if self.end - self.start >= WORTH_BYTES || !matches!(self.stream, Stream::Plain(_)) {
            return Ok(());
        }
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Ok(());
        };
        // Nobody watches the socket during the pause: every piece that comes would wake a thread.
        let socket = stream.into_std().map_err(|error| lost(&error))?;
        tokio::time::sleep(PAUSE).await;
        while let Some(free) = self
            .input
            .get_mut(self.end..)
            .filter(|free| !free.is_empty())
        {
            match (&socket).read(free) {
                // That the connection ended is for the next `fill` to say.
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    self.end += read;
                    self.came += read as u64;
                }
            }
        }
        let stream = TcpStream::from_std(socket).map_err(|error| lost(&error))?;
        self.stream = Stream::Plain(stream);
        Ok(())
    }

    /// Bytes that came since this was asked for last.
    pub fn take_came(&mut self) -> u64 {
        std::mem::take(&mut self.came)
    }

    /// The next message, whole. For everything but rows in bulk.
    pub async fn message(&mut self) -> Result<Message, Failure> {
        self.fill(5).await?;
        let length = self
            .unread()
            .get(1..5)
            .map_or(0, |mut length| length.get_u32());
        let whole = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        self.fill(whole.max(5)).await?;
        let mut message = BytesMut::from(self.unread().get(..whole).unwrap_or_default());
        let parsed = Message::parse(&mut message).map_err(|error| lost(&error))?;
        self.consume(whole);
        parsed.ok_or_else(|| lost(&io::Error::from(io::ErrorKind::InvalidData)))
    }

    /// Gives back what a long row made the buffer grow to.
    pub fn shrink(&mut self) {
        if self.input.len() > INPUT_BYTES && self.end - self.start <= INPUT_BYTES {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.input.truncate(INPUT_BYTES);
            self.input.shrink_to_fit();
        }
    }
}

impl Drop for Wire {
    /// Says goodbye where that needs no waiting, so that the server's log has no lost connection in it.
    fn drop(&mut self) {
        if let Stream::Plain(stream) = &self.stream {
            let _ = stream.try_write(b"X\0\0\0\x04");
        }
    }
}
