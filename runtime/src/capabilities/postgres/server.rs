//! Connection strings: which server, database and role, and how the connection is protected.
//!
//! Pure. Both forms of libpq are read, the URI and `key=value` pairs; keys that are not known are refused, because
//! ignoring one could weaken what the user asked for. Nothing of the environment is read, and no `~/.pgpass`.
//! Source: PostgreSQL documentation, "Database Connection Control Functions", section "Connection Strings".

use std::fmt;
use std::time::Duration;

use crate::capabilities::failure::{ErrorKind, Failure};

/// Everything that a connection needs.
#[derive(Debug, Clone)]
pub struct Server {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<Password>,
    pub tls: Tls,
    /// For name, TCP, TLS and authentication together.
    pub connect_timeout: Duration,
    /// Idle time before the first keep-alive probe.
    pub keepalive: Option<Duration>,
    pub application_name: String,
    /// Command-line options for the server, as some hosts need them to find the database.
    pub options: Option<String>,
}

/// How the connection is protected; paths are files of this machine in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// Authorities; the system's where there is none.
    pub root_cert: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

/// The modes of libpq, weakest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    Disable,
    /// Encrypted where the server can: an attacker in between can prevent it.
    #[default]
    Prefer,
    /// Encrypted, with whoever answers; with `sslrootcert` the same as `verify-ca`, as in libpq.
    Require,
    /// Encrypted, with somebody whom the authorities know.
    VerifyCa,
    /// Encrypted, with this very host.
    VerifyFull,
}

/// Without `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(60);

/// Keys beside those of the address; `channel_binding` and `gssencmode` only with the values that change nothing.
const KEYS: &str = "`host`, `port`, `dbname`, `user`, `password`, `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, \
                    `connect_timeout`, `keepalives`, `keepalives_idle`, `application_name`, `options`";

impl Server {
    /// Reads a connection string. `fill` puts secrets in place of their placeholders, part by part after the text was
    /// taken apart, so that a password may hold any character.
    pub fn parse(text: &str, fill: &dyn Fn(&str) -> String) -> Result<Self, Failure> {
        let text = text.trim();
        // A string that is one secret has no parts yet.
        let whole;
        let (text, fill): (&str, &dyn Fn(&str) -> String) = if has_parts(text) {
            (text, fill)
        } else {
            whole = fill(text);
            (whole.trim(), &str::to_owned)
        };
        let pairs = match text
            .strip_prefix("postgresql://")
            .or_else(|| text.strip_prefix("postgres://"))
        {
            Some(rest) => uri(rest)?,
            None if text.contains('=') => keywords(text)?,
            None => return Err(invalid("is neither a URI nor `key=value` pairs")),
        };
        Draft::default().read(pairs, fill)?.build()
    }

    /// `db.example:5432/app`: for messages, without user and password.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}/{}", self.host, self.port, self.database),
            false => format!("{}:{}/{}", self.host, self.port, self.database),
        }
    }
}

fn has_parts(text: &str) -> bool {
    text.contains("://") || text.contains('=')
}

/// The error of a connection string. It never quotes the string, which may hold a password.
fn invalid(what: impl fmt::Display) -> Failure {
    Failure::new(
        ErrorKind::InvalidConfig,
        format!("the connection string {what}"),
    )
    .hint("write it like `postgresql://user:${SECRET:PG_PASSWORD}@db.example:5432/app?sslmode=verify-full`")
}

type Pairs = Vec<(String, String)>;

/// Takes `user:password@host:port/database?key=value&…` apart.
fn uri(rest: &str) -> Result<Pairs, Failure> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: &str| -> Result<(), Failure> {
        pairs.push((key.to_owned(), decoded(value)?));
        Ok(())
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The last `@`: a password that was not encoded may hold one.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    if let Some(login) = login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        add("user", user)?;
        if let Some(password) = password {
            add("password", password)?;
        }
    }
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let Some((host, after)) = v6.split_once(']') else {
                return Err(invalid("has an address without its closing `]`"));
            };
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    for (key, value) in [("host", host), ("port", port), ("dbname", database)] {
        if !value.is_empty() {
            add(key, value)?;
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        add(&decoded(key)?, value)?;
    }
    Ok(pairs)
}

fn decoded(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                return Err(invalid(
                    "has a `%` that is not followed by two hexadecimal digits; a `%` itself is `%25`",
                ));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("is not UTF-8 when decoded"))
}

/// Takes `host=db.example password='it''s'` apart; in quotes and outside, `\` keeps the next character.
fn keywords(text: &str) -> Result<Pairs, Failure> {
    let mut pairs = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let mut key = String::new();
        while let Some(next) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(next);
        }
        if key.is_empty() && rest.peek().is_none() {
            return Ok(pairs);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next() != Some('=') {
            return Err(invalid(format_args!(
                "has a key without `=` after pair {}",
                pairs.len()
            )));
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let is_quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut is_closed = !is_quoted;
        while let Some(next) = rest.next_if(|c| is_quoted || !c.is_whitespace()) {
            match next {
                '\\' => value.extend(rest.next()),
                '\'' if is_quoted => {
                    is_closed = true;
                    break;
                }
                other => value.push(other),
            }
        }
        if !is_closed {
            return Err(invalid("has a quote that is not closed"));
        }
        pairs.push((key, value));
    }
}

/// The parts as they come.
#[derive(Default)]
struct Draft {
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    user: Option<String>,
    password: Option<Password>,
    tls: Tls,
    connect_timeout: Option<Duration>,
    is_silent: bool,
    keepalive: Option<Duration>,
    application_name: Option<String>,
    options: Option<String>,
}

impl Draft {
    fn read(mut self, pairs: Pairs, fill: &dyn Fn(&str) -> String) -> Result<Self, Failure> {
        for (key, value) in pairs {
            let value = fill(&value);
            let seconds = || match value.parse::<u32>() {
                Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
                Err(_) => Err(invalid(format_args!(
                    "has a `{key}` that is not a number of seconds"
                ))),
            };
            match key.as_str() {
                "host" | "hostaddr" => self.host = Some(value),
                "port" => {
                    let port = value.parse().ok().filter(|port| *port > 0);
                    self.port = Some(port.ok_or_else(|| {
                        invalid("has a port that is not a number from 1 to 65535; several hosts are not supported")
                    })?);
                }
                "dbname" => self.database = Some(value),
                "user" => self.user = Some(value),
                "password" => self.password = Some(Password(value)),
                "sslmode" => self.tls.mode = mode(&value)?,
                "sslrootcert" => self.tls.root_cert = (value != "system").then_some(value),
                "sslcert" => self.tls.cert = Some(value),
                "sslkey" => self.tls.key = Some(value),
                "connect_timeout" => {
                    self.connect_timeout = Some(seconds()?).filter(|t| !t.is_zero())
                }
                "keepalives" => self.is_silent = value == "0",
                "keepalives_idle" => self.keepalive = Some(seconds()?).filter(|t| !t.is_zero()),
                "application_name" => self.application_name = Some(value),
                "options" => self.options = Some(value),
                "channel_binding" if value != "require" => {}
                "gssencmode" if value != "require" => {}
                _ => {
                    return Err(
                        invalid(format_args!("has a key that is not known: `{key}`"))
                            .hint(format!("known are {KEYS}")),
                    );
                }
            }
        }
        Ok(self)
    }

    fn build(self) -> Result<Server, Failure> {
        let host = self.host.filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid("names no host"))?;
        if host.starts_with('/') || host.starts_with('@') {
            return Err(invalid("names a Unix socket; only TCP is supported"));
        }
        if host.contains(',') {
            return Err(invalid("names several hosts; name one"));
        }
        let user = self.user.filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| invalid("names no user"))?;
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return Err(invalid(
                "has one of `sslcert` and `sslkey`, and they go together",
            ));
        }
        let mut tls = self.tls;
        if tls.mode == TlsMode::Require && tls.root_cert.is_some() {
            tls.mode = TlsMode::VerifyCa;
        }
        let server = Server {
            database: self.database.unwrap_or_else(|| user.clone()),
            host,
            port: self.port.unwrap_or(DEFAULT_PORT),
            user,
            password: self.password,
            tls,
            connect_timeout: self.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            keepalive: (!self.is_silent).then(|| self.keepalive.unwrap_or(DEFAULT_KEEPALIVE)),
            application_name: self
                .application_name
                .unwrap_or_else(|| "dativo-wasm".to_owned()),
            options: self.options,
        };
        let texts = [
            &server.host,
            &server.database,
            &server.user,
            &server.application_name,
        ];
        if texts
            .into_iter()
            .chain(&server.options)
            .any(|text| text.contains('\0'))
        {
            return Err(invalid("holds a zero byte"));
        }
        Ok(server)
    }
}

fn mode(text: &str) -> Result<TlsMode, Failure> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(invalid("has an `sslmode` that is not known").hint(
                "`sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`",
            ));
        }
    })
}

impl TlsMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Server, String> {
        let fill = |text: &str| text.replace("dativo-secret-1", "p@ss/w:rd?&=");
        Server::parse(text, &fill).map_err(|failure| failure.message)
    }

    #[test]
    fn refuses_what_it_cannot_honour_and_never_quotes_the_string() {
        let check = |text: &str, expected: &str| {
            let message = parse(text).unwrap_err();
            assert_eq!(
                message,
                format!("the connection string {expected}"),
                "{text}"
            );
            assert!(!message.contains("hunter2"));
        };
        check("hunter2", "is neither a URI nor `key=value` pairs");
        check(
            "mysql://u:hunter2@h/d",
            "is neither a URI nor `key=value` pairs",
        );
        check("postgres://u:hunter2@/d", "names no host");
        check("postgres://:hunter2@h/d", "names no user");
        check(
            "postgres://u:hunter2@h:0/d",
            "has a port that is not a number from 1 to 65535; several hosts are not supported",
        );
        check(
            "postgres://u:hunter2@h1:5432,h2:5432/d",
            "has a port that is not a number from 1 to 65535; several hosts are not supported",
        );
        check(
            "postgres://u:hunter2@h1,h2/d",
            "names several hosts; name one",
        );
        check(
            "postgres://u:hunter2@h/d?host=/tmp",
            "names a Unix socket; only TCP is supported",
        );
        check(
            "postgres://u:hunter2@h/d?sslmode=on",
            "has an `sslmode` that is not known",
        );
        check(
            "postgres://u:hunter2@h/d?sslcrl=x",
            "has a key that is not known: `sslcrl`",
        );
        check(
            "postgres://u:hunter2@h/d?channel_binding=require",
            "has a key that is not known: `channel_binding`",
        );
        check(
            "postgres://u:hunter2@h/d?sslcert=x",
            "has one of `sslcert` and `sslkey`, and they go together",
        );
        check(
            "postgres://u:hunter2%@h/d",
            "has a `%` that is not followed by two hexadecimal digits; a `%` itself is `%25`",
        );
        check(
            "postgres://u@[::1/d",
            "has an address without its closing `]`",
        );
        check("host=h password='hunter2", "has a quote that is not closed");
        check("host=h hunter2", "has a key without `=` after pair 1");
        check("postgres://u:hunter2@h/d%00e", "holds a zero byte");
    }

    #[test]
    fn reads_both_forms() {
        let check = |text: &str, expected: (&str, u16, &str, &str, Option<&str>)| {
            let server = parse(text).unwrap();
            let password = server.password.as_ref().map(|password| password.0.as_str());
            let found = (
                server.host.as_str(),
                server.port,
                server.database.as_str(),
                server.user.as_str(),
                password,
            );
            assert_eq!(found, expected, "{text}");
        };
        check(
            "postgresql://user:pass@localhost:5432/mydb",
            ("localhost", 5432, "mydb", "user", Some("pass")),
        );
        check("postgres://u@h", ("h", 5432, "u", "u", None));
        check("postgres://u:a@b@h/d", ("h", 5432, "d", "u", Some("a@b")));
        check(
            "postgres://u%40x:%2F@[::1]:6000/d%20e",
            ("::1", 6000, "d e", "u@x", Some("/")),
        );
        check(
            "host=h port=6000 dbname = 'my db' user=u password='it\\'s'",
            ("h", 6000, "my db", "u", Some("it's")),
        );
        // A secret may hold what would end its part.
        check(
            "postgres://u:dativo-secret-1@h/d",
            ("h", 5432, "d", "u", Some("p@ss/w:rd?&=")),
        );
        check(
            "host=h user=u password=dativo-secret-1",
            ("h", 5432, "u", "u", Some("p@ss/w:rd?&=")),
        );
    }

    #[test]
    fn a_string_that_is_one_secret_is_filled_first() {
        let fill =
            |text: &str| text.replace("dativo-secret-2", "postgres://u:p@h:1/d?sslmode=require");
        let server = Server::parse("dativo-secret-2", &fill).unwrap();
        assert_eq!((server.port, server.tls.mode), (1, TlsMode::Require));
    }

    #[test]
    fn authorities_make_require_verify_them() {
        let mode = |text| parse(text).unwrap().tls.mode;
        assert_eq!(mode("postgres://u@h/d"), TlsMode::Prefer);
        assert_eq!(mode("postgres://u@h/d?sslmode=require"), TlsMode::Require);
        assert_eq!(
            mode("postgres://u@h/d?sslmode=require&sslrootcert=ca.pem"),
            TlsMode::VerifyCa
        );
        assert_eq!(
            mode("postgres://u@h/d?sslmode=require&sslrootcert=system"),
            TlsMode::Require
        );
        assert_eq!(
            mode("postgres://u@h/d?sslmode=verify-full"),
            TlsMode::VerifyFull
        );
    }

    #[test]
    fn a_password_has_no_text_form() {
        let server = parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{server:?}").contains("hunter2"));
    }
}
