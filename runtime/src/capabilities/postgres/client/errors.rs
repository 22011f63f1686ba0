//! What a server or a socket said, as a failure with a next step.

use std::io;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorFields;

use crate::capabilities::failure::{ErrorKind, Failure};

/// The fields of an error or notice that are shown.
#[derive(Debug, Default, Clone)]
pub struct Said {
    /// SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Said {
    pub fn read(mut fields: ErrorFields<'_>) -> Self {
        let mut said = Self::default();
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => said.code = text,
                b'M' => said.message = text,
                b'D' => said.detail = Some(text),
                b'H' => said.hint = Some(text),
                _ => {}
            }
        }
        said
    }

    /// What the guest is told, with the remedy that the code suggests or the server's own hint.
    pub fn failure(self, address: &str) -> Failure {
        let Self {
            code,
            message,
            detail,
            hint,
        } = self;
        let (kind, remedy) = judge(&code, &message);
        let detail = detail.map_or(String::new(), |detail| format!("; {detail}"));
        let message = format!("`{address}` answered: {message}{detail} ({code})");
        Failure::new(kind, message).with_hint(remedy.map(str::to_owned).or(hint))
    }
}

/// The kind of an SQLSTATE, and what to do. Source: PostgreSQL documentation, appendix "PostgreSQL Error Codes".
fn judge(code: &str, message: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind::{NotFound, Rejected, Unavailable};
    match code {
        "28P01" | "28000" => (
            Rejected,
            Some(
                "check user and password of the connection string, and `pg_hba.conf` of the server",
            ),
        ),
        "3D000" => (
            NotFound,
            Some("name a database that exists: `psql -l` lists them"),
        ),
        "42501" => (
            Rejected,
            Some(
                "grant it to the role: `GRANT SELECT ON TABLE ... TO ...`, `GRANT USAGE ON SCHEMA ... TO ...`",
            ),
        ),
        "22021" => (
            Rejected,
            Some(
                "a text is not valid in the database's encoding; read it as bytes with a `query`, such as `SELECT id, textsend(note) AS note ...`",
            ),
        ),
        "25006" => (Rejected, Some("a job only reads: leave out what writes")),
        "53300" => (
            Unavailable,
            Some("lower `parallelism`, or raise the server's `max_connections`"),
        ),
        // Conflicts of a standby: what was read was needed by the primary.
        "40001" if message.contains("recovery") => (
            Unavailable,
            Some(
                "raise `max_standby_streaming_delay` or set `hot_standby_feedback` on the replica",
            ),
        ),
        // A snapshot ends with the connection that exported it.
        "22023" if message.contains("snapshot") => (Unavailable, None),
        "55000" if message.contains("snapshot") => (Unavailable, None),
        "57014" => (Unavailable, None),
        _ => match code.get(..2) {
            Some("08" | "53" | "57" | "58") => (Unavailable, None),
            _ => (Rejected, None),
        },
    }
}

/// The connection broke.
pub fn lost(error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed it".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(
        ErrorKind::Unavailable,
        format!("the connection to the server is lost: {why}"),
    )
    .hint("run the job again when the server answers; nothing of this run is visible at the target")
}

/// The server sent what the protocol does not have here.
pub fn unexpected(what: &str) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!("the server sent {what}, which the protocol does not have here"),
    )
    .hint("check that a PostgreSQL server answers there, version 12 or later")
}

pub fn limit(bytes: usize) -> Failure {
    let (mib, most) = (
        bytes.div_ceil(1 << 20),
        super::wire::MAX_MESSAGE_BYTES >> 20,
    );
    Failure::new(
        ErrorKind::LimitExceeded,
        format!("a row is {mib} MiB, and the limit is {most} MiB"),
    )
    .hint("leave the large column out with `columns: [...]`, or skip such rows with `where`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_whether_to_try_again() {
        let check = |code: &str, message: &str, kind: ErrorKind| {
            assert_eq!(judge(code, message).0, kind, "{code}");
        };
        check("42P01", "relation does not exist", ErrorKind::Rejected);
        check(
            "28P01",
            "password authentication failed",
            ErrorKind::Rejected,
        );
        check("3D000", "database does not exist", ErrorKind::NotFound);
        check("57P01", "terminating connection", ErrorKind::Unavailable);
        check(
            "57P03",
            "the database system is starting up",
            ErrorKind::Unavailable,
        );
        check("53300", "too many clients", ErrorKind::Unavailable);
        check(
            "40001",
            "canceling statement due to conflict with recovery",
            ErrorKind::Unavailable,
        );
        check(
            "22023",
            "invalid snapshot identifier: \"x\"",
            ErrorKind::Unavailable,
        );
        check("22023", "invalid parameter", ErrorKind::Rejected);
        check("", "", ErrorKind::Rejected);
    }
}
