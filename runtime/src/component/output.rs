//! What a guest prints and logs: captured, capped, masked, and never on the host's own output.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::Scope;
use super::bindings::imports::log;
use super::state::State;

/// What a guest may write at a time, in bytes.
const WRITE_BYTES: usize = 65_536;

/// The last bytes of standard error are kept for the report of a trap: a panic's message is there.
const TAIL_BYTES: usize = 4096;

/// The longest line of a guest that is logged whole, in bytes; a longer one is cut into several.
const LINE_BYTES: usize = 4096;

/// The log of one instance.
#[derive(Clone)]
pub struct GuestLog(Arc<Mutex<Inner>>);

struct Inner {
    scope: Arc<Scope>,
    left: u64,
    dropped: u64,
    tail: Vec<u8>,
}

impl GuestLog {
    /// A log that takes `max_bytes` and counts what comes after.
    pub fn new(scope: Arc<Scope>, max_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            scope,
            left: max_bytes,
            dropped: 0,
            tail: Vec::new(),
        })))
    }

    /// One line at `level`.
    pub fn line(&self, level: tracing::Level, text: &str) {
        self.lock().line(level, text);
    }

    /// What the guest last wrote to standard error.
    pub fn tail(&self) -> String {
        let inner = self.lock();
        let text = String::from_utf8_lossy(&inner.tail);
        inner.scope.secrets.mask(text.trim())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn line(&mut self, level: tracing::Level, text: &str) {
        let length = text.len() as u64 + 1;
        if length > self.left {
            self.left = 0;
            if self.dropped == 0 {
                tracing::warn!(
                    run_id = self.scope.run_id,
                    tenant = self.scope.tenant,
                    instance = self.scope.instance,
                    "further output of this instance is dropped: `limits.log` is reached"
                );
            }
            self.dropped += 1;
            return;
        }
        self.left -= length;
        let text: String = self
            .scope
            .secrets
            .mask(text)
            .chars()
            .flat_map(escaped)
            .collect();
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    target: "guest",
                    run_id = self.scope.run_id, tenant = self.scope.tenant, instance = self.scope.instance,
                    "{text}"
                )
            };
        }
        match level {
            tracing::Level::ERROR => emit!(error),
            tracing::Level::WARN => emit!(warn),
            tracing::Level::INFO => emit!(info),
            _ => emit!(debug),
        }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

/// Control characters as `\u{1b}`, so that a guest cannot write to somebody's terminal.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let plain = (!character.is_control() || character == '\t').then_some(character);
    let escape = plain.is_none().then(|| character.escape_default());
    plain.into_iter().chain(escape.into_iter().flatten())
}

impl log::Host for State {
    async fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => tracing::Level::DEBUG,
            log::Level::Info => tracing::Level::INFO,
            log::Level::Warn => tracing::Level::WARN,
            log::Level::Error => tracing::Level::ERROR,
        };
        self.log.line(level, &message);
        Ok(())
    }
}

/// Standard output or standard error of one instance, line by line into its log.
pub struct Stdio {
    pub log: GuestLog,
    pub is_stderr: bool,
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.lines())
    }

    /// Takes lines in the guest's own task: through an asynchronous stream, each would wake another one and wait for it.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

impl Stdio {
    fn lines(&self) -> Lines {
        Lines {
            log: self.log.clone(),
            is_stderr: self.is_stderr,
            open: Vec::new(),
        }
    }
}

struct Lines {
    log: GuestLog,
    is_stderr: bool,
    open: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        if self.is_stderr {
            self.log.lock().keep_tail(bytes);
        }
        for &byte in bytes {
            self.open.push(byte);
            if byte == b'\n' || self.open.len() >= LINE_BYTES {
                self.emit();
            }
        }
    }

    fn emit(&mut self) {
        let line = String::from_utf8_lossy(&self.open);
        let line = line.trim_end_matches(['\r', '\n']);
        if !line.is_empty() {
            self.log.line(tracing::Level::INFO, line);
        }
        self.open.clear();
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.emit();
    }
}
