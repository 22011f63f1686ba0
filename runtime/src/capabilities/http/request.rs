//! A request as a guest asked for it, and what is refused of it before anything else. Pure.

use std::time::Duration;

use url::Url;

use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// Longest URL, in bytes; servers take half of it.
const MAX_URL_BYTES: usize = 16 << 10;
/// Most headers, and the most bytes in all of them.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Longest body, in bytes. It is held once here and once in the guest.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Headers that are the host's: they frame the message, name the server, or speak to a proxy. A part of an answer, which
/// `Range` asks for, could hold a part of a secret, in which it is not found.
const OWN_HEADERS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// With placeholders for secrets.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
    pub is_repeatable: bool,
}

impl Request {
    /// Its URL, if the request is one that can be sent.
    pub fn check(&self) -> Result<Url> {
        let is_method = (1..=20).contains(&self.method.len())
            && self.method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_method || self.method == "CONNECT" {
            return Err(invalid("the method is not one like `GET`, in capitals"));
        }
        if self.url.len() > MAX_URL_BYTES {
            return Err(limit("the URL", self.url.len(), MAX_URL_BYTES, "bytes"));
        }
        self.check_headers()?;
        let body_bytes = self.body.as_ref().map_or(0, Vec::len);
        if body_bytes > MAX_BODY_BYTES {
            return Err(limit("the body", body_bytes, MAX_BODY_BYTES, "bytes"));
        }
        let mut url = Url::parse(&self.url)
            .map_err(|error| invalid(format!("the URL cannot be read: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err(invalid("the URL is neither `http://` nor `https://`"));
        }
        url.set_fragment(None);
        Ok(url)
    }

    fn check_headers(&self) -> Result<()> {
        if self.headers.len() > MAX_HEADERS {
            return Err(limit(
                "the request",
                self.headers.len(),
                MAX_HEADERS,
                "headers",
            ));
        }
        let sizes = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let bytes = sizes.sum();
        if bytes > MAX_HEADER_BYTES {
            return Err(limit("the headers", bytes, MAX_HEADER_BYTES, "bytes"));
        }
        self.headers
            .iter()
            .try_for_each(|(name, value)| check_header(name, value))
    }
}

/// Whether a guest may set this header.
pub fn check_header(name: &str, value: &str) -> Result<()> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(invalid(
            "a header's name has characters that it cannot have",
        ));
    }
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err(invalid(format!("the header `{lower}` is the host's own"))
            .hint("leave the header out of the request"));
    }
    if value
        .bytes()
        .any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
    {
        return Err(invalid(format!(
            "the value of the header `{lower}` has control characters"
        )));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}

fn limit(what: &str, got: usize, most: usize, of: &str) -> Failure {
    Failure::new(
        ErrorKind::LimitExceeded,
        format!("{what} has {got} {of}, and the limit is {most}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str) -> Request {
        Request {
            method: method.to_owned(),
            url: url.to_owned(),
            ..Request::default()
        }
    }

    fn check(request: &Request, expected: &str) {
        let failure = request.check().unwrap_err();
        assert!(failure.message.contains(expected), "{failure}");
    }

    #[test]
    fn refuses_what_cannot_or_must_not_be_sent() {
        for method in [
            "",
            "get",
            "GET /",
            "CONNECT",
            "G\r\nX",
            "ABCDEFGHIJKLMNOPQRSTU",
        ] {
            check(&request(method, "http://h/"), "the method");
        }
        check(&request("GET", "/path"), "cannot be read");
        check(&request("GET", "ftp://h/"), "neither");
        check(&request("GET", "data:x"), "neither");
        check(
            &request("GET", &format!("http://h/{}", "x".repeat(20_000))),
            "16384",
        );
        let with = |name: &str, value: &str| Request {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..request("GET", "http://h/")
        };
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "TE",
            "Proxy-Authorization",
            "Accept-Encoding",
            "Upgrade",
            "connection",
            "expect",
            "Range",
        ] {
            check(&with(name, "x"), "the host's own");
        }
        check(&with("", "x"), "name has characters");
        check(&with("a b", "x"), "name has characters");
        check(&with("a:", "x"), "name has characters");
        check(&with("a", "x\r\nhost: y"), "control characters");
        check(&with("a", "x\0"), "control characters");
        check(&with("a", &"x".repeat(70_000)), "65536");
        let many = Request {
            headers: vec![("a".to_owned(), String::new()); 101],
            ..request("GET", "http://h/")
        };
        check(&many, "101 headers");
        let large = Request {
            body: Some(vec![0; (16 << 20) + 1]),
            ..request("POST", "http://h/")
        };
        check(&large, "the body");
    }

    #[test]
    fn takes_what_can_be_sent() {
        let request = Request {
            headers: vec![("Cookie".to_owned(), "a=b\tü".to_owned())],
            ..request("PROPFIND", "HTTP://H:80/a?b#c")
        };
        assert_eq!(request.check().unwrap().as_str(), "http://h/a?b");
    }
}
