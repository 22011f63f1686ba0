//! Connections of the HTTP interface: so many at a time, and none that stays silent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Far below the files that a process may have open, which runs need too.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may be silent: longer than an answer may take, and than the page waits before it asks again.
const SILENCE: Duration = Duration::from_secs(60);

/// The same, while no further connection has a place.
const SILENCE_IN_A_CROWD: Duration = Duration::from_secs(5);

/// How often a connection looks how long it has been silent.
const LOOK: Duration = Duration::from_secs(1);

pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self { listener, places }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Never closed. What does not have a place waits in the queue of the system.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            heard: Instant::now(),
            look: Box::pin(tokio::time::sleep(LOOK)),
            places: self.places.clone(),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub struct Connection {
    stream: TcpStream,
    heard: Instant,
    look: Pin<Box<Sleep>>,
    places: Arc<Semaphore>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn is_silent(&self) -> bool {
        let most = match self.places.available_permits() {
            0 => SILENCE_IN_A_CROWD,
            _ => SILENCE,
        };
        self.heard.elapsed() >= most
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.heard = Instant::now();
            return read;
        }
        while self.look.as_mut().poll(context).is_ready() {
            if self.is_silent() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.look.as_mut().reset(Instant::now() + LOOK);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
