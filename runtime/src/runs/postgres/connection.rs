//! The connection of a run store in PostgreSQL, one transaction at a time, and the tables that it finds or makes.
//!
//! It is the one of catalogs, on which the host writes and no component does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::values::{Parameter, Row, Values};
use crate::capabilities::failure::Failure;
use crate::capabilities::postgres::{Fault, Writer};
use crate::error::{Error, Kind, Result};
use crate::job::Secrets;

/// The layout of the tables, kept in `dativo_layout`.
const LAYOUT: i64 = 1;

/// For one verb: shorter than a lease, so that its holder hears in time that it was not renewed.
const VERB_TIMEOUT: Duration = Duration::from_secs(20);

const SETTINGS: &str = "SET statement_timeout = '15s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '20s'; \
    SET synchronous_commit = on";

const TABLES: &str = "
    CREATE TABLE dativo_layout (layout BIGINT NOT NULL);
    CREATE TABLE dativo_runs (
        place BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL, job TEXT NOT NULL, status TEXT NOT NULL,
        started_at BIGINT NOT NULL, ended_at BIGINT, detail TEXT, prepared TEXT, state TEXT, base TEXT);
    CREATE INDEX dativo_runs_of_job ON dativo_runs (tenant, job, place);
    CREATE INDEX dativo_runs_of_tenant ON dativo_runs (tenant, place);
    CREATE INDEX dativo_unfinished_runs ON dativo_runs (tenant, job) WHERE status IN ('running', 'pending');
    CREATE INDEX dativo_ends_of_runs ON dativo_runs (ended_at);
    CREATE TABLE dativo_leases (
        tenant TEXT NOT NULL, job TEXT NOT NULL, run TEXT NOT NULL, since BIGINT NOT NULL, expires_ms BIGINT NOT NULL,
        boot TEXT NOT NULL, pid BIGINT NOT NULL, started BIGINT NOT NULL, cancel BOOLEAN NOT NULL DEFAULT FALSE,
        PRIMARY KEY (tenant, job));
    CREATE TABLE dativo_resets (tenant TEXT NOT NULL, job TEXT NOT NULL, target_run TEXT, PRIMARY KEY (tenant, job));
    CREATE TABLE dativo_schedules (tenant TEXT NOT NULL, job TEXT NOT NULL, due_ms BIGINT NOT NULL, PRIMARY KEY (tenant, job));
    CREATE TABLE dativo_reports (run TEXT PRIMARY KEY, cause TEXT NOT NULL, report TEXT);";

pub struct Postgres {
    url: String,
    /// `db.example:5432/app`, for messages.
    place: String,
    /// Tasks that speak with the server run there.
    runtime: Handle,
    /// None before the first verb, and after one whose transaction did not end: what its connection is in the middle of is not known.
    connection: Mutex<Option<Writer>>,
}

impl Postgres {
    pub fn open(url: &str) -> Result<Self> {
        let runtime = Handle::try_current()
            .map_err(|error| Error::internal("no runtime to connect on").caused_by(error))?;
        let store = Self {
            url: url.to_owned(),
            place: Writer::address(url).map_err(Error::from)?,
            runtime,
            connection: Mutex::default(),
        };
        store.transact(async |transaction| transaction.prepare().await)?;
        Ok(store)
    }

    /// Does `work` in one transaction; durable when this returns. A failure undoes it.
    pub fn transact<T>(&self, work: impl AsyncFnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut kept = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let former = kept.take();
        let attempt = async {
            let mut connection = self.begin_on(former).await?;
            let mut transaction = Transaction {
                connection: &mut connection,
                place: &self.place,
            };
            let done = work(&mut transaction).await;
            let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
            match (connection.run(end).await, done) {
                (Ok(()), done) => Ok((done, connection)),
                (Err(_), Err(error)) => Err(error),
                (Err(failure), Ok(_)) => Err(self.failed(failure)),
            }
        };
        self.runtime.block_on(async {
            match tokio::time::timeout(VERB_TIMEOUT, attempt).await {
                Ok(Ok((done, connection))) => {
                    *kept = Some(connection);
                    done
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Error::new(
                    Kind::Unavailable,
                    format!("the run store `{}` did not answer in time", self.place),
                )
                .hint("check the network and the server's load")),
            }
        })
    }

    /// A connection in a new transaction: the one that was kept, unless its server was restarted since.
    async fn begin_on(&self, former: Option<Writer>) -> Result<Writer> {
        if let Some(mut connection) = former
            && connection.run("BEGIN").await.is_ok()
        {
            return Ok(connection);
        }
        let mut connection = self.connect().await?;
        let begun = connection.run("BEGIN").await;
        begun.map_err(|error| self.failed(error))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<Writer> {
        let mut connection = Writer::open(&self.url, &Secrets::default())
            .await
            .map_err(|error| self.failed(error))?;
        connection
            .run(SETTINGS)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(connection)
    }

    fn failed(&self, failure: Failure) -> Error {
        failed(&self.place, failure)
    }
}

fn failed(place: &str, failure: Failure) -> Error {
    let cause = Error::from(failure);
    let error =
        Error::new(cause.kind(), format!("the run store `{place}` failed")).caused_by(&cause);
    match (cause.kind(), cause.hint_text()) {
        // Insufficient privilege.
        (Kind::Rejected, _) if cause.message().ends_with("(42501)") => error.hint(
            "the role of `--state` needs CREATE on its schema for the first start, then SELECT, INSERT, UPDATE and DELETE on the tables `dativo_*`",
        ),
        (_, Some(hint)) => error.hint(hint),
        (_, None) => error,
    }
}

pub struct Transaction<'a> {
    connection: &'a mut Writer,
    place: &'a str,
}

impl Transaction<'_> {
    pub async fn rows(
        &mut self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<Row>> {
        let parameters: Vec<Option<String>> = parameters.iter().map(|value| value.text()).collect();
        let rows = self.connection.rows(statement, &parameters).await;
        rows.map_err(|Fault { failure, .. }| failed(self.place, failure))
    }

    /// Runs statements that give no rows.
    pub async fn run(&mut self, statements: &str) -> Result<()> {
        let ran = self.connection.run(statements).await;
        ran.map_err(|failure| failed(self.place, failure))
    }

    /// Whether a statement gave a row.
    pub async fn any(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<bool> {
        Ok(!self.rows(statement, parameters).await?.is_empty())
    }

    /// Makes the tables where they are absent.
    async fn prepare(&mut self) -> Result<()> {
        // Of several that find nothing, one makes the tables. Asked before the lock is held, the server might remember that there are none.
        self.rows(
            "SELECT pg_advisory_xact_lock(hashtextextended('dativo_layout', 0))",
            &[],
        )
        .await?;
        let layout = "SELECT to_regclass('dativo_layout')::text";
        let found = self.rows(layout, &[]).await?;
        if found.into_iter().flatten().flatten().next().is_none() {
            self.run(TABLES).await?;
            let keep = "INSERT INTO dativo_layout VALUES ($1) RETURNING 1";
            self.rows(keep, &[&LAYOUT]).await?;
        }
        let found = self.rows("SELECT layout FROM dativo_layout", &[]).await?;
        match found.first().map(|row| Values::new(row).number()) {
            Some(Ok(LAYOUT)) => Ok(()),
            other => {
                let other = other.and_then(Result::ok).unwrap_or_default();
                let message = format!(
                    "the run store `{}` has layout {other}; this version knows {LAYOUT}",
                    self.place
                );
                Err(Error::new(Kind::JobInvalid, message)
                    .hint("run it with the version of dativo-wasm that wrote it, or name another with `--state`"))
            }
        }
    }
}
