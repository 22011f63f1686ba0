//! A connection on which the host itself writes, for a catalog or a run store that lies in a database. Components never get one.
//!
//! Each statement is a transaction of its own. A failure says whether the statement may have taken effect.

use std::time::Duration;

use super::super::server::Server;
use super::session::{Rows, Session};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Secrets;

const SETTINGS: &str = "SET default_transaction_read_only = off; SET statement_timeout = '60s'; SET lock_timeout = '30s'";

/// For one statement and its answer: more than the server gives it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

pub struct Writer(Session);

/// Why a statement failed.
#[derive(Debug)]
pub struct Fault {
    pub failure: Failure,
    /// The statement was sent, and what became of it was not said.
    pub is_unknown: bool,
}

impl Writer {
    /// `db.example:5432/app`, for messages.
    pub fn address(url: &str) -> Result<String> {
        Ok(Server::parse(url, &str::to_owned)?.address())
    }

    /// `url` holds placeholders of secrets, which are filled here.
    pub async fn open(url: &str, secrets: &Secrets) -> Result<Self> {
        let server = Server::parse(url, &|part| secrets.fill(part))?;
        let mut session = Session::open(&server).await?;
        session.simple(SETTINGS).await?;
        Ok(Self(session))
    }

    /// Runs a statement that gives rows, such as `UPDATE … RETURNING …`. Rows are text.
    pub async fn rows(
        &mut self,
        statement: &str,
        parameters: &[Option<String>],
    ) -> Result<Rows, Fault> {
        let unsent = |failure| Fault {
            failure,
            is_unknown: false,
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, self.0.prepare(statement)).await {
            Ok(prepared) => drop(prepared.map_err(unsent)?),
            Err(_) => return Err(unsent(self.silent())),
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, self.0.run(parameters)).await {
            Ok(Ok(rows)) => Ok(rows),
            // A statement that was refused has done nothing. One that was cut off may have.
            Ok(Err(failure)) => Err(Fault {
                is_unknown: failure.kind == ErrorKind::Unavailable,
                failure,
            }),
            Err(_) => Err(Fault {
                failure: self.silent(),
                is_unknown: true,
            }),
        }
    }

    /// Runs statements that give no rows.
    pub async fn run(&mut self, statements: &str) -> Result<()> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.0.simple(statements)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Failure {
        let message = format!("`{}` did not answer in time", self.0.address);
        Failure::new(ErrorKind::Unavailable, message)
            .hint("check the network and the server's load")
    }
}
