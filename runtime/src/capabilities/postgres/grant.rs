//! Grants for PostgreSQL: which servers and databases a guest may connect to.
//!
//! Pure: no network, no wasmtime. A rule is `connect CONNECTION_STRING`, the job's own value or `db.example:5432/app`.
//! The job's own string is used as it stands. Another one that a guest made of it may name the same host, port and
//! database, with TLS at least as strict and with no files but the rule's: a guest can neither send a password
//! elsewhere nor take the lock off the door.

use super::server::{Server, TlsMode};
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::error::{Error, Kind};

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone, Default)]
pub struct Grant(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    text: String,
    /// None where the whole string is a secret: then only the very same text is covered.
    server: Option<Server>,
}

/// Why a connection is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The job grants no connection.
    Empty,
    Host,
    Port,
    Database,
    /// Weaker than the rule's `sslmode`.
    Tls,
    /// Certificates or keys that the rule does not name.
    Files,
}

impl Grant {
    pub fn parse<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        rules.map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this grant covers `text`, a connection string with placeholders for secrets.
    pub fn allows(&self, text: &str) -> Result<(), Denied> {
        if self.0.iter().any(|rule| rule.text == text.trim()) {
            return Ok(());
        }
        let asked = Server::parse(text, &str::to_owned).map_err(|_| Denied::Host);
        let mut denied = Denied::Empty;
        for rule in &self.0 {
            let verdict = asked
                .as_ref()
                .map_err(|denied| *denied)
                .and_then(|asked| rule.covers(asked));
            match verdict {
                Ok(()) => return Ok(()),
                // The rule that fits best says why.
                Err(why) => {
                    denied = if denied as u8 > why as u8 {
                        denied
                    } else {
                        why
                    }
                }
            }
        }
        Err(denied)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::new(Kind::JobInvalid, format!("a grant of `postgres` {why}"))
                .hint("write a grant like `connect db.example:5432/app?sslmode=verify-full`")
        };
        let Some(text) = line.trim().strip_prefix("connect ").map(str::trim) else {
            return Err(refuse("does not begin with `connect`"));
        };
        let server = server(text).transpose().map_err(|failure| {
            let error = refuse("cannot be read").caused_by(&failure.message);
            match failure.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        Ok(Self {
            text: text.to_owned(),
            server,
        })
    }

    fn covers(&self, asked: &Server) -> Result<(), Denied> {
        let rule = self.server.as_ref().ok_or(Denied::Host)?;
        let (theirs, ours) = (&asked.tls, &rule.tls);
        let is_ours = |file: &Option<String>, of: &Option<String>| file.is_none() || file == of;
        if !asked.host.eq_ignore_ascii_case(&rule.host) {
            Err(Denied::Host)
        } else if asked.port != rule.port {
            Err(Denied::Port)
        } else if asked.database != rule.database {
            Err(Denied::Database)
        } else if theirs.mode < ours.mode
            || (ours.mode >= TlsMode::VerifyCa && theirs.root_cert != ours.root_cert)
        {
            Err(Denied::Tls)
        } else if !is_ours(&theirs.root_cert, &ours.root_cert)
            || !is_ours(&theirs.cert, &ours.cert)
            || !is_ours(&theirs.key, &ours.key)
        {
            Err(Denied::Files)
        } else {
            Ok(())
        }
    }
}

/// The server of a rule's text; none where it is one secret.
fn server(text: &str) -> Option<Result<Server, Failure>> {
    let before_slash = text.split_once('/').map(|(before, _)| before);
    if !text.contains("://") && before_slash.is_some_and(|before| !before.contains('=')) {
        // `db.example:5432/app`: a rule is for whoever connects.
        return Some(Server::parse(
            &format!("postgresql://any@{text}"),
            &str::to_owned,
        ));
    }
    let has_parts = text.contains("://") || text.contains('=');
    has_parts.then(|| Server::parse(text, &str::to_owned))
}

impl Denied {
    /// What the guest is told. Of its string only the address is shown.
    pub fn failure(self, asked: &str) -> Failure {
        let address = match Server::parse(asked, &str::to_owned) {
            Ok(server) => format!("`{}`", server.address()),
            Err(_) => "the connection string".to_owned(),
        };
        let message = match self {
            Self::Empty => format!("{address} is not granted: the job grants no connection"),
            Self::Host | Self::Port | Self::Database => format!("{address} is outside the grant"),
            Self::Tls => {
                format!("{address} is granted with a stricter `sslmode`, or other authorities")
            }
            Self::Files => format!("{address} is granted without these certificate files"),
        };
        Failure::new(ErrorKind::Denied, message)
    }
}

/// A rule as a plan prints it: without user, password and files.
pub fn shown(line: &str) -> String {
    match Rule::parse(line).map(|rule| rule.server) {
        Ok(Some(server)) => format!(
            "connect {} (sslmode {})",
            server.address(),
            server.tls.mode.name()
        ),
        // One secret, which the caller masks; anything else could hold a password.
        _ if line.split(' ').count() == 2 && !line.contains(['@', ':', '=']) => line.to_owned(),
        _ => "connect …".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &str, asked: &str, expected: Result<(), Denied>) {
        let rules = (!rule.is_empty()).then(|| format!("connect {rule}"));
        let grant = Grant::parse(rules.iter().map(String::as_str)).unwrap();
        assert_eq!(grant.allows(asked), expected, "{rule} / {asked}");
    }

    #[test]
    fn allows_only_the_granted_server_and_database() {
        let own = "postgresql://u:p@db.example:5432/app";
        check("", own, Err(Denied::Empty));
        check(own, own, Ok(()));
        check(own, "postgresql://other:q@DB.example/app", Ok(()));
        check(
            own,
            "postgresql://u:p@evil.example:5432/app",
            Err(Denied::Host),
        );
        check(
            own,
            "postgresql://u:p@db.example:5433/app",
            Err(Denied::Port),
        );
        check(
            own,
            "postgresql://u:p@db.example:5432/other",
            Err(Denied::Database),
        );
        check(
            own,
            "postgresql://u:p@db.example:5432/app?host=evil.example",
            Err(Denied::Host),
        );
        check(own, "host=db.example user=u dbname=app", Ok(()));
        check(own, "nonsense", Err(Denied::Host));
        check("db.example:5432/app", own, Ok(()));
        check(
            "db.example:5432/app",
            "postgresql://u@db.example:5432/template1",
            Err(Denied::Database),
        );
    }

    #[test]
    fn a_guest_cannot_weaken_tls_or_name_files() {
        let own = "postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=ca.pem";
        let other = |rest: &str| format!("postgresql://u:p@h/d?{rest}");
        check(
            own,
            &other("sslmode=verify-full&sslrootcert=ca.pem"),
            Ok(()),
        );
        check(own, &other("sslmode=disable"), Err(Denied::Tls));
        check(
            own,
            &other("sslmode=verify-ca&sslrootcert=ca.pem"),
            Err(Denied::Tls),
        );
        check(own, &other("sslmode=verify-full"), Err(Denied::Tls));
        check(
            own,
            &other("sslmode=verify-full&sslrootcert=mine.pem"),
            Err(Denied::Tls),
        );
        check(
            "h:5432/d",
            &other("sslmode=verify-full&sslcert=/etc/x&sslkey=/etc/y"),
            Err(Denied::Files),
        );
        check("h:5432/d", &other("sslmode=disable"), Err(Denied::Tls));
        check(
            "h:5432/d?sslmode=disable",
            &other("sslmode=disable"),
            Ok(()),
        );
    }

    #[test]
    fn a_secret_string_covers_itself_alone() {
        check("dativo-secret-1", "dativo-secret-1", Ok(()));
        check(
            "dativo-secret-1",
            "postgresql://u@dativo-secret-1/d",
            Err(Denied::Host),
        );
        check("dativo-secret-1", "dativo-secret-2", Err(Denied::Host));
    }

    #[test]
    fn a_plan_shows_neither_user_nor_password() {
        let check = |line: &str, expected: &str| assert_eq!(shown(line), expected);
        check(
            "connect postgresql://u:hunter2@h:1/d?sslmode=require",
            "connect h:1/d (sslmode require)",
        );
        check(
            "connect host=h user=u password=hunter2",
            "connect h:5432/u (sslmode prefer)",
        );
        check("connect dativo-secret-1", "connect dativo-secret-1");
        check("connect postgresql://u:hunter2@", "connect …");
        check("connect h:1/d", "connect h:1/d (sslmode prefer)");
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_refused_without_its_text() {
        for line in [
            "read h/d",
            "connect postgres://u:hunter2@/d",
            "connect h:x/d",
        ] {
            let error = Grant::parse([line].into_iter()).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
