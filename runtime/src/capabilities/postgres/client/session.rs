//! One connection in one read-only transaction: statements that yield rows, and nothing else.
//!
//! A statement is prepared and looked at before it runs: only one that yields rows runs, so no text of a guest can end
//! the transaction, change a setting or copy to a program. Statements are never glued together.

use bytes::{BufMut, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{Message, RowDescriptionBody};
use postgres_protocol::message::frontend::{self, BindError};

use super::super::decode::{Catalog, Column};
use super::super::server::Server;
use super::connect::connect;
use super::errors::{Said, lost, unexpected};
use super::wire::Wire;
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// What `query` answers at most, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// What values look like as text. Limits of the role on the time of statements are for people; a run has deadlines
/// of its own, and its planning connection waits while others read.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; \
     SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET xmloption = 'content'; \
     SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET default_transaction_read_only = on";

/// From version 14 on, and not on every system: a statement of a client that is gone ends.
const NOTICE_LOSS: &str = "SET client_connection_check_interval = '10s'";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A logged-in connection. Between statements it is inside its transaction.
pub struct Session {
    pub wire: Wire,
    /// `db.example:5432/app`, for messages.
    pub address: String,
    /// What the catalog said last, with the oids that it was asked about: the pieces of a table have the same types.
    types: Option<(String, Rows)>,
}

pub type Rows = Vec<Vec<Option<String>>>;

impl Session {
    pub async fn open(server: &Server) -> Result<Self> {
        let mut session = Self {
            wire: connect(server).await?,
            address: server.address(),
            types: None,
        };
        session.set_up().await?;
        Ok(session)
    }

    /// Begins the transaction, at the point in time that another session named.
    pub async fn begin(&mut self, snapshot: Option<&str>) -> Result<()> {
        self.simple(BEGIN).await?;
        let Some(snapshot) = snapshot else {
            return Ok(());
        };
        // The statement takes no parameter.
        if !snapshot
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(Failure::new(
                ErrorKind::InvalidConfig,
                "the name of a snapshot has letters, digits and `-`",
            ));
        }
        self.simple(&format!("SET TRANSACTION SNAPSHOT '{snapshot}'"))
            .await
    }

    /// Makes the session as new.
    pub async fn reset(&mut self) -> Result<()> {
        self.types = None;
        self.simple("ROLLBACK").await?;
        self.simple("DISCARD ALL").await?;
        self.set_up().await
    }

    async fn set_up(&mut self) -> Result<()> {
        self.simple(SETTINGS).await?;
        match self.simple(NOTICE_LOSS).await {
            // The server does not know it.
            Err(failure) if failure.kind == ErrorKind::Rejected => Ok(()),
            other => other,
        }
    }

    /// Names the point in time of the transaction. Not under a savepoint, where the server refuses it.
    pub async fn export_snapshot(&mut self) -> Result<String> {
        let rows = self.try_query("SELECT pg_export_snapshot()", &[]).await?;
        let name = rows.into_iter().flatten().flatten().next();
        name.ok_or_else(|| unexpected("no name of a snapshot"))
    }

    /// Rows of a statement as text. A refused statement leaves the transaction as it was.
    pub async fn query(&mut self, statement: &str, parameters: &[Option<String>]) -> Result<Rows> {
        self.simple("SAVEPOINT dativo").await?;
        let answer = self.try_query(statement, parameters).await;
        self.release(answer.is_ok()).await?;
        answer
    }

    /// What the catalog says of the types in `oids`, a text such as `{23,1700}`.
    pub async fn types(&mut self, oids: String) -> Result<&Rows> {
        let (known, rows) = match self.types.take() {
            Some(types) if types.0 == oids => types,
            _ => {
                let rows = self.query(Catalog::QUERY, &[Some(oids.clone())]).await?;
                (oids, rows)
            }
        };
        Ok(&self.types.insert((known, rows)).1)
    }

    /// The columns of a statement, without running it.
    pub async fn describe(&mut self, statement: &str) -> Result<Vec<Column>> {
        self.simple("SAVEPOINT dativo").await?;
        let answer = self.prepare(statement).await;
        let synced = self.sync().await;
        self.release(answer.is_ok()).await?;
        synced.and(answer)
    }

    /// Prepares a statement, and gives its columns. [`Self::start`] or [`Self::sync`] follows.
    pub async fn prepare(&mut self, statement: &str) -> Result<Vec<Column>> {
        let output = &mut self.wire.output;
        frontend::parse("", statement, [], output).map_err(unsendable)?;
        frontend::describe(b'S', "", output).map_err(unsendable)?;
        frontend::flush(output);
        self.wire.send().await?;
        loop {
            match self.wire.message().await? {
                Message::RowDescription(body) => return columns(&body),
                Message::NoData | Message::EmptyQueryResponse => {
                    return Err(Failure::new(
                        ErrorKind::Rejected,
                        "the statement yields no rows, and only such may run",
                    )
                    .hint("give a SELECT"));
                }
                Message::ErrorResponse(body) => return Err(self.refused(&body)),
                Message::ParseComplete
                | Message::ParameterDescription(_)
                | Message::NoticeResponse(_)
                | Message::ParameterStatus(_)
                | Message::NotificationResponse(_) => {}
                _ => return Err(unexpected("no description of the rows")),
            }
        }
    }

    /// Runs the prepared statement. Rows follow, each column in its format (0 text, 1 binary), then `ReadyForQuery`.
    pub async fn start(&mut self, parameters: &[Option<String>], formats: &[i16]) -> Result<()> {
        let text = |value: &Option<String>, buffer: &mut BytesMut| match value {
            Some(value) => {
                buffer.put_slice(value.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        let formats = formats.iter().copied();
        let output = &mut self.wire.output;
        frontend::bind("", "", [], parameters, text, formats, output).map_err(
            |error| match error {
                BindError::Conversion(error) => unsendable(std::io::Error::other(error)),
                BindError::Serialization(error) => unsendable(error),
            },
        )?;
        frontend::execute("", 0, output).map_err(unsendable)?;
        frontend::sync(output);
        self.wire.send().await
    }

    async fn try_query(&mut self, statement: &str, parameters: &[Option<String>]) -> Result<Rows> {
        if let Err(failure) = self.prepare(statement).await {
            self.sync().await?;
            return Err(failure);
        }
        self.run(parameters).await
    }

    /// Runs the prepared statement, and gives its rows as text.
    pub async fn run(&mut self, parameters: &[Option<String>]) -> Result<Rows> {
        self.start(parameters, &[]).await?;
        let (mut rows, mut bytes, mut failure) = (Rows::new(), 0, None);
        loop {
            match self.wire.message().await? {
                Message::DataRow(body) => {
                    bytes += body.buffer().len() + 24;
                    if bytes > MAX_ANSWER_BYTES {
                        // Read to its end, so that the connection can go on.
                        rows.clear();
                        continue;
                    }
                    let buffer = body.buffer();
                    let row = body.ranges().map(|range| {
                        let bytes = range.and_then(|range| buffer.get(range));
                        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
                    });
                    rows.push(row.collect().map_err(|error| lost(&error))?);
                }
                Message::ErrorResponse(body) => failure = Some(self.refused(&body)),
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None if bytes > MAX_ANSWER_BYTES => Err(Failure::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the answer to a query is over {} MiB",
                    MAX_ANSWER_BYTES >> 20
                ),
            )),
            None => Ok(rows),
        }
    }

    async fn release(&mut self, is_good: bool) -> Result<()> {
        match is_good {
            true => self.simple("RELEASE SAVEPOINT dativo").await,
            false => {
                self.simple("ROLLBACK TO SAVEPOINT dativo; RELEASE SAVEPOINT dativo")
                    .await
            }
        }
    }

    /// Ends a statement that was prepared and does not run.
    pub async fn sync(&mut self) -> Result<()> {
        frontend::sync(&mut self.wire.output);
        self.wire.send().await?;
        self.ready().await
    }

    /// Runs statements of the host's own.
    pub async fn simple(&mut self, statements: &str) -> Result<()> {
        frontend::query(statements, &mut self.wire.output).map_err(unsendable)?;
        self.wire.send().await?;
        self.ready().await
    }

    /// Waits for `ReadyForQuery`.
    async fn ready(&mut self) -> Result<()> {
        let mut failure = None;
        loop {
            match self.wire.message().await? {
                Message::ReadyForQuery(_) => return failure.map_or(Ok(()), Err),
                Message::ErrorResponse(body) => failure = Some(self.refused(&body)),
                _ => {}
            }
        }
    }

    pub fn refused(
        &self,
        body: &postgres_protocol::message::backend::ErrorResponseBody,
    ) -> Failure {
        Said::read(body.fields()).failure(&self.address)
    }
}

fn columns(body: &RowDescriptionBody) -> Result<Vec<Column>> {
    let fields = body.fields().map(|field| {
        Ok(Column {
            name: field.name().to_owned(),
            oid: field.type_oid(),
            typmod: field.type_modifier(),
        })
    });
    fields.collect().map_err(|error| lost(&error))
}

/// A text that the protocol cannot carry: it holds a zero byte, or is over 2 GiB.
fn unsendable(error: std::io::Error) -> Failure {
    Failure::new(
        ErrorKind::InvalidConfig,
        format!("the statement cannot be sent: {error}"),
    )
}
