//! Connections and the rows that come over them: the driver of the capability, without wasm.
//!
//! `client/wire.rs` frames messages, `connect.rs` logs in, `session.rs` runs statements, `writer.rs` those that write, `pool.rs` keeps connections;
//! `decode/` makes Arrow columns of rows where they lie in the input buffer.

mod connect;
mod errors;
mod pool;
mod session;
mod tls;
mod wire;
mod writer;

pub use writer::{Fault, Writer};

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use postgres_protocol::message::backend::Message;

use super::Access;
use super::decode::{Broken, Catalog, Decoder, Decoding, Invalid, Layout, Next};
use super::server::Server;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use pool::Lease;
use session::Session;

/// Where a batch ends, in bytes of Arrow data. Of each split some four are on their way at a time; smaller ones cost more
/// calls, larger ones only memory.
const BATCH_BYTES: usize = 2 << 20;

/// A connection. Empty while its rows are read, and after it broke.
pub struct Connection(Arc<Mutex<Option<Lease>>>);

/// Rows on their way.
pub struct Reading {
    lease: Option<Lease>,
    /// Where the connection goes back to after the last row.
    home: Arc<Mutex<Option<Lease>>>,
    layout: Arc<Layout>,
    decoder: Decoder,
}

impl Connection {
    /// Connects to what `url` names, if `access` covers it, at the point in time of `snapshot`.
    pub async fn open(access: &Access, url: &str, snapshot: Option<&str>) -> Result<Self> {
        access
            .grant
            .allows(url)
            .map_err(|denied| denied.failure(url))?;
        let server = Server::parse(url, &|part| access.secrets.fill(part))?;
        let lease = Lease::take(&access.tenant, &server, snapshot).await?;
        Ok(Self(Arc::new(Mutex::new(Some(lease)))))
    }

    pub async fn export_snapshot(&mut self) -> Result<String> {
        let mut lease = self.take()?;
        let answer = lease.session()?.export_snapshot().await;
        self.give_back(lease, answer)
    }

    pub async fn query(
        &mut self,
        statement: &str,
        parameters: &[Option<String>],
    ) -> Result<session::Rows> {
        let mut lease = self.take()?;
        let answer = lease.session()?.query(statement, parameters).await;
        self.give_back(lease, answer)
    }

    pub async fn describe(&mut self, statement: &str, decoding: &str) -> Result<SchemaRef> {
        let mut lease = self.take()?;
        let answer = layout(lease.session()?, statement, decoding).await;
        Ok(self.give_back(lease, answer)?.schema.clone())
    }

    pub async fn read(
        &mut self,
        statement: &str,
        parameters: &[Option<String>],
        decoding: &str,
    ) -> Result<Reading> {
        let mut lease = self.take()?;
        let answer = layout(lease.session()?, statement, decoding).await;
        let layout = match answer {
            Ok(layout) => Arc::new(layout),
            Err(failure) => return self.give_back(lease, Err(failure)),
        };
        let session = lease.session()?;
        let prepared = session.prepare(statement).await;
        let started = match prepared {
            Ok(_) => session.start(parameters, &layout.formats).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = started {
            lease.spoil();
            return self.give_back(lease, Err(failure));
        }
        Ok(Reading {
            lease: Some(lease),
            home: self.0.clone(),
            decoder: Decoder::new(layout.clone()),
            layout,
        })
    }

    fn take(&self) -> Result<Lease> {
        let mut home = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        home.take().ok_or_else(|| {
            Failure::new(
                ErrorKind::Rejected,
                "the connection is in use: its rows are read, or it was lost",
            )
        })
    }

    /// Keeps the connection, unless it is what failed.
    fn give_back<T>(&self, mut lease: Lease, answer: Result<T>) -> Result<T> {
        if let Err(failure) = &answer
            && failure.kind == ErrorKind::Unavailable
        {
            lease.spoil();
        }
        lease.settle();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
        answer
    }
}

/// How the rows of a statement are decoded: its columns, and the types that they are of.
async fn layout(session: &mut Session, statement: &str, decoding: &str) -> Result<Layout> {
    let decoding: Decoding = serde_json::from_str(decoding).map_err(|error| {
        Failure::new(
            ErrorKind::InvalidConfig,
            format!("the decoding cannot be read: {error}"),
        )
    })?;
    let columns = session.describe(statement).await?;
    let oids: Vec<String> = columns
        .iter()
        .map(|column| column.oid.to_string())
        .collect();
    let oids = format!("{{{}}}", oids.join(","));
    let catalog = Catalog::from_rows(session.types(oids).await?);
    let catalog = catalog.map_err(|why| errors::unexpected(&why))?;
    Layout::new(&columns, &catalog, &decoding).map_err(Failure::from)
}

impl Reading {
    pub fn schema(&self) -> SchemaRef {
        self.layout.schema.clone()
    }

    /// Host memory that the rows take beside the batches that were handed out, in bytes.
    pub fn memory_bytes(&mut self) -> usize {
        let session = self.lease.as_mut().and_then(|lease| lease.session().ok());
        session.map_or(0, |session| session.wire.memory_bytes()) + self.decoder.bytes()
    }

    /// The next batch, of at most `max_rows` rows; none at the end.
    pub async fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let Some(lease) = &mut self.lease else {
            return Ok(None);
        };
        let advanced = advance(lease.session()?, &mut self.decoder, max_rows).await;
        lease.count_traffic();
        match advanced {
            Ok(Step::Batch) => Ok(Some(self.decoder.finish()?)),
            Ok(Step::End) => {
                lease.settle();
                let lease = self.lease.take();
                *self.home.lock().unwrap_or_else(PoisonError::into_inner) = lease;
                match self.decoder.rows() {
                    0 => Ok(None),
                    _ => Ok(Some(self.decoder.finish()?)),
                }
            }
            Err(failure) => {
                lease.spoil();
                Err(failure)
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Rows that nobody reads are still on their way: the connection is of no more use.
        if let Some(lease) = &mut self.lease {
            lease.spoil();
        }
    }
}

/// What reading came to.
enum Step {
    /// The open batch is full.
    Batch,
    /// There are no more rows.
    End,
}

async fn advance(session: &mut Session, decoder: &mut Decoder, max_rows: usize) -> Result<Step> {
    let mut failure = None;
    loop {
        let fed = decoder.feed(session.wire.unread(), max_rows, BATCH_BYTES)?;
        session.wire.consume(fed.consumed);
        match fed.next {
            Next::Full => {
                session.wire.shrink();
                return Ok(Step::Batch);
            }
            Next::Input { wanted } => session.wire.fill_bulk(wanted).await?,
            Next::Message(_) => match session.wire.message().await? {
                Message::ReadyForQuery(_) => return failure.map_or(Ok(Step::End), Err),
                Message::ErrorResponse(body) => failure = Some(session.refused(&body)),
                Message::BindComplete
                | Message::CommandComplete(_)
                | Message::NoticeResponse(_)
                | Message::ParameterStatus(_)
                | Message::NotificationResponse(_) => {}
                _ => return Err(errors::unexpected("something between the rows")),
            },
        }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Failure::new(ErrorKind::InvalidData, broken.message).with_hint(broken.hint)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Failure::new(ErrorKind::InvalidConfig, invalid.message).with_hint(invalid.hint)
    }
}
