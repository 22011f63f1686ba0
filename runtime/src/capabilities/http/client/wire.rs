//! One attempt: a request to the driver, and its answer within the limits. Knows no grants, retries and secrets.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Response};
use url::Url;

use super::super::retry;
use super::pool::AddressDenied;
use crate::capabilities::failure::{ErrorKind, Failure};

/// Most of a body that nobody gets, in bytes: for a message, and so that the connection can be used again.
const GLANCE_BYTES: u64 = 64 << 10;

/// What is reserved for a body before it came, in bytes: a length that is only promised costs nobody memory.
const MAX_RESERVED_BYTES: usize = 8 << 20;

/// A request as it leaves, with the secrets in it.
pub struct Outgoing<'a> {
    pub method: &'a str,
    pub url: Url,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Option<Bytes>,
    pub timeout: Duration,
    pub max_body_bytes: u64,
}

/// An answer as it came, with whatever secrets are in it.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Why there is no answer.
pub enum Lost {
    /// The next attempt may have more luck; why, as the end of a sentence.
    Temporary(String),
    Final(Failure),
}

impl Answer {
    /// The first header of a name in lower case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(own, _)| own == name)?;
        std::str::from_utf8(value).ok()
    }

    pub fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308) && self.header("location").is_some()
    }
}

pub async fn attempt(client: &reqwest::Client, outgoing: Outgoing<'_>) -> Result<Answer, Lost> {
    let timeout = outgoing.timeout;
    match tokio::time::timeout(timeout, exchange(client, outgoing)).await {
        Ok(answer) => answer,
        Err(_) => Err(Lost::Temporary(format!(
            "no whole answer within {}",
            humantime::format_duration(timeout)
        ))),
    }
}

async fn exchange(client: &reqwest::Client, outgoing: Outgoing<'_>) -> Result<Answer, Lost> {
    let unsendable = |what: &str| {
        let message = format!("{what} cannot be sent");
        Lost::Final(Failure::new(ErrorKind::InvalidConfig, message))
    };
    let method = Method::from_bytes(outgoing.method.as_bytes());
    let method = method.map_err(|_| unsendable("the method"))?;
    let mut request = reqwest::Request::new(method, outgoing.url);
    for (name, value) in outgoing.headers {
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.map_err(|_| unsendable(&format!("the header `{name}`")))?;
        let value = HeaderValue::from_bytes(&value);
        let mut value = value.map_err(|_| unsendable(&format!("the header `{name}`")))?;
        // So that the driver does not print it, nor keep it in the table of a connection.
        value.set_sensitive(true);
        request.headers_mut().append(header, value);
    }
    *request.body_mut() = outgoing.body.map(Into::into);
    let response = client.execute(request).await.map_err(lost)?;
    answer(response, outgoing.max_body_bytes).await
}

async fn answer(response: Response, max_bytes: u64) -> Result<Answer, Lost> {
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: Vec::new(),
    };
    let is_glance = retry::is_temporary(answer.status) || answer.is_redirect();
    let most = match is_glance {
        true => GLANCE_BYTES.min(max_bytes),
        false => max_bytes,
    };
    if let Some(encoding) = answer.header("content-encoding")
        && !is_glance
        && !encoding.trim().eq_ignore_ascii_case("identity")
        && response.content_length() != Some(0)
    {
        return Err(Lost::Final(Failure::new(
            ErrorKind::InvalidData,
            format!(
                "the body is in the encoding `{}`, which is not known",
                encoding.escape_debug()
            ),
        )));
    }
    read_body(response, &mut answer.body, most, is_glance).await?;
    Ok(answer)
}

/// The decoded body; of a glance at it, the first `most` bytes.
async fn read_body(
    mut response: Response,
    body: &mut Vec<u8>,
    most: u64,
    is_glance: bool,
) -> Result<(), Lost> {
    let too_large = || {
        let failure = Failure::new(
            ErrorKind::LimitExceeded,
            format!("the body of the answer is larger than {most} bytes"),
        );
        Lost::Final(failure.hint(
            "ask for smaller pages, or raise `http: { max_response_size: ... }` and `limits: { memory: ... }`",
        ))
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if let Some(promised) = response.content_length()
        && !is_glance
    {
        let promised = usize::try_from(promised).unwrap_or(usize::MAX);
        // The answer to `HEAD` promises what does not come.
        body.reserve_exact(promised.min(most).min(MAX_RESERVED_BYTES));
    }
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        let room = most - body.len();
        if chunk.len() > room {
            if !is_glance {
                return Err(too_large());
            }
            body.extend_from_slice(chunk.get(..room).unwrap_or_default());
            return Ok(());
        }
        body.extend_from_slice(&chunk);
    }
    // What it grew beyond its length would be memory that nobody counts.
    if body.capacity() > body.len() + body.len() / 8 {
        body.shrink_to_fit();
    }
    Ok(())
}

/// What an error of the driver means. Its own text carries the URL, and with it what was filled in.
fn lost(error: reqwest::Error) -> Lost {
    let is_connect = error.is_connect();
    let is_timeout = error.is_timeout();
    let error = error.without_url();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(denied) = cause.downcast_ref::<AddressDenied>() {
            return Lost::Final(denied.failure());
        }
        let text = cause.to_string();
        if text.starts_with("invalid HTTP") || text.starts_with("message head is too large") {
            return Lost::Final(
                Failure::new(
                    ErrorKind::InvalidData,
                    format!("the answer is not HTTP: {text}"),
                )
                .hint("check scheme and port of the URL"),
            );
        }
        let inner = cause.downcast_ref::<std::io::Error>();
        let tls = inner.and_then(|error| error.get_ref());
        if let Some(tls) = tls.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Lost::Final(
                Failure::new(ErrorKind::Rejected, format!("TLS failed: {tls}")).hint(
                    "check the names in the server's certificate; `SSL_CERT_FILE` names authorities of your own",
                ),
            );
        }
        causes.push(text);
        next = cause.source();
    }
    let why = causes.pop().unwrap_or_else(|| error.to_string());
    Lost::Temporary(match (is_connect, is_timeout) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => format!("no connection: {why}"),
        (false, true) => "the server was silent for too long".to_owned(),
        (false, false) => format!("the connection or the answer was cut: {why}"),
    })
}
