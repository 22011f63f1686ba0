//! From a connection string to an authenticated connection: name, address, TCP, TLS, password.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::server::{Server, TlsMode};
use super::errors::{Said, lost, unexpected};
use super::tls;
use super::wire::{Stream, Wire};
use crate::capabilities::egress;
use crate::capabilities::failure::{ErrorKind, Failure};

/// Most messages between the password and the first `ReadyForQuery`; a server sends some twenty.
const MAX_GREETINGS: usize = 1000;

/// Connects and logs in, within the server's `connect_timeout`.
pub async fn connect(server: &Server) -> Result<Wire, Failure> {
    let address = server.address();
    match tokio::time::timeout(server.connect_timeout, attempt(server)).await {
        Ok(connected) => connected,
        Err(_) => Err(unreachable(
            &address,
            &format!(
                "no answer within {}",
                humantime::format_duration(server.connect_timeout)
            ),
        )),
    }
}

async fn attempt(server: &Server) -> Result<Wire, Failure> {
    let stream = tcp(server).await?;
    let mut wire = Wire::new(protect(server, stream).await?);
    let mut parameters = vec![
        ("user", server.user.as_str()),
        ("database", &server.database),
        ("client_encoding", "UTF8"),
        ("application_name", &server.application_name),
    ];
    if let Some(options) = &server.options {
        parameters.push(("options", options));
    }
    frontend::startup_message(parameters, &mut wire.output).map_err(|error| lost(&error))?;
    wire.send().await?;
    authenticate(server, &mut wire).await?;
    for _ in 0..MAX_GREETINGS {
        match wire.message().await? {
            Message::ReadyForQuery(_) => return Ok(wire),
            Message::ErrorResponse(body) => {
                return Err(Said::read(body.fields()).failure(&server.address()));
            }
            _ => {}
        }
    }
    Err(unexpected("too many messages"))
}

fn unreachable(address: &str, why: &str) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!("no connection to `{address}`: {why}"),
    )
    .hint("check that the server runs, listens on that address and port, and that no firewall is between")
}

/// Connects to the first address that answers, each checked.
async fn tcp(server: &Server) -> Result<TcpStream, Failure> {
    let address = server.address();
    let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| unreachable(&address, &error.to_string()))?
        .collect();
    for place in &found {
        egress::check(&server.host, place.ip()).map_err(|refused| {
            Failure::new(
                ErrorKind::Denied,
                format!(
                    "`{}` leads to {}, which {}",
                    server.host,
                    place.ip(),
                    refused.why()
                ),
            )
            .hint("name the machine by an address that the job may reach")
        })?;
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in found {
        match TcpStream::connect(place).await {
            Ok(stream) => {
                tune(&stream, server).map_err(|error| lost(&error))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(&address, &last.to_string()))
}

fn tune(stream: &TcpStream, server: &Server) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(idle) = server.keepalive {
        let probes = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(std::time::Duration::from_secs(10))
            .with_retries(3);
        SockRef::from(stream).set_tcp_keepalive(&probes)?;
    }
    Ok(())
}

/// Asks for TLS where the mode wants it.
async fn protect(server: &Server, mut stream: TcpStream) -> Result<Stream, Failure> {
    let address = server.address();
    if server.tls.mode == TlsMode::Disable {
        return Ok(Stream::Plain(stream));
    }
    let config = tls::config(&server.tls)?;
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream
        .write_all(&request)
        .await
        .map_err(|error| lost(&error))?;
    // One byte: what an attacker sends behind it in plain text must not be taken for the server's.
    let answer = stream.read_u8().await.map_err(|error| lost(&error))?;
    match (answer, server.tls.mode) {
        (b'S', _) => {}
        (b'N', TlsMode::Prefer) => return Ok(Stream::Plain(stream)),
        (b'N', mode) => {
            return Err(Failure::new(
                ErrorKind::Rejected,
                format!("`{address}` has no TLS, and `sslmode` is `{}`", mode.name()),
            )
            .hint("turn TLS on at the server (`ssl = on`), or set `sslmode=disable` where the network is yours"));
        }
        _ => return Err(unexpected("no answer to the request for TLS")),
    }
    let name = ServerName::try_from(server.host.clone()).map_err(|_| {
        Failure::new(
            ErrorKind::InvalidConfig,
            format!(
                "`{}` is not a name that a certificate can have",
                server.host
            ),
        )
    })?;
    let connector = TlsConnector::from(Arc::new(config));
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error)
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            Err(Failure::new(
                ErrorKind::Rejected,
                format!("TLS with `{address}` failed: {error}"),
            )
            .hint("check `sslmode`, `sslrootcert` and the names in the server's certificate"))
        }
        Err(error) => Err(lost(&error)),
    }
}

async fn authenticate(server: &Server, wire: &mut Wire) -> Result<(), Failure> {
    let address = server.address();
    let password = || match &server.password {
        Some(password) => Ok(password.0.as_bytes()),
        None => Err(Failure::new(
            ErrorKind::InvalidConfig,
            format!("`{address}` asks for a password, and the connection string has none"),
        )
        .hint(
            "write it like `postgresql://user:${SECRET:PG_PASSWORD}@...`; `~/.pgpass` is not read",
        )),
    };
    let broken = |error: io::Error| lost(&error);
    loop {
        match wire.message().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                if !wire.is_encrypted() && server.tls.mode != TlsMode::Disable {
                    return Err(Failure::new(
                        ErrorKind::Rejected,
                        format!("`{address}` asks for the password in plain text on a connection without TLS"),
                    )
                    .hint("set `sslmode=require` or stricter, or let the server use scram-sha-256"));
                }
                frontend::password_message(password()?, &mut wire.output).map_err(broken)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(server.user.as_bytes(), password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut wire.output).map_err(broken)?;
            }
            Message::AuthenticationSasl(body) => scram(wire, &body, password()?, &address).await?,
            Message::ErrorResponse(body) => return Err(Said::read(body.fields()).failure(&address)),
            Message::NoticeResponse(_) => {}
            _ => {
                return Err(Failure::new(
                    ErrorKind::Rejected,
                    format!("`{address}` asks for a login that is not supported"),
                )
                .hint(
                    "supported are scram-sha-256, md5, password, trust and client certificates",
                ));
            }
        }
        wire.send().await?;
    }
}

/// SCRAM-SHA-256, RFC 5802 and 7677, without channel binding. At its end the server has proved that it knows the
/// password too; `AuthenticationOk` follows.
async fn scram(
    wire: &mut Wire,
    body: &AuthenticationSaslBody,
    password: &[u8],
    address: &str,
) -> Result<(), Failure> {
    let has = |name| {
        body.mechanisms()
            .any(|found| Ok(found == name))
            .unwrap_or(false)
    };
    if !has(SCRAM_SHA_256) {
        return Err(unexpected("a login other than SCRAM-SHA-256"));
    }
    let failed = |error: io::Error| {
        Failure::new(
            ErrorKind::Rejected,
            format!("the login at `{address}` failed: {error}"),
        )
    };
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut wire.output)
        .map_err(failed)?;
    wire.send().await?;
    match wire.message().await? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data()).map_err(failed)?,
        Message::ErrorResponse(body) => return Err(Said::read(body.fields()).failure(address)),
        _ => return Err(unexpected("no challenge")),
    }
    frontend::sasl_response(scram.message(), &mut wire.output).map_err(failed)?;
    wire.send().await?;
    match wire.message().await? {
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(failed),
        Message::ErrorResponse(body) => Err(Said::read(body.fields()).failure(address)),
        _ => Err(unexpected("no proof of the password")),
    }
}
