//! Bearer tokens: the operator's, and those of tenants. Only their SHA-256 is kept, and compared.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::component::hex;
use crate::error::{Error, Kind, Result};

/// Requests of one caller: a second's worth, and how many may come at once.
const RATE: f64 = 50.0;
const BURST: f64 = 200.0;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    Operator,
    Tenant(String),
}

impl Caller {
    /// None for the operator, who sees all.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Operator => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    pub fn owns(&self, tenant: &str) -> bool {
        self.tenant().is_none_or(|own| own == tenant)
    }
}

/// The callers by the SHA-256 of their tokens.
pub struct Tokens(HashMap<String, Caller>);

impl Tokens {
    /// One token for the operator, made now; it is returned to be shown once.
    pub fn generate() -> (Self, String) {
        let token = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let tokens = HashMap::from([(digest(&token), Caller::Operator)]);
        (Self(tokens), token)
    }

    /// From a file with lines `SHA256 operator` and `SHA256 tenant NAME`, the SHA-256 of each token in lowercase hex.
    pub fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let refuse = |message: String| {
            Error::new(Kind::JobInvalid, message).hint(
                "write a line for each token: `SHA256 operator` or `SHA256 tenant NAME`; `printf %s TOKEN | sha256sum` prints its SHA-256",
            )
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            refuse(format!("the file of tokens `{shown}` cannot be read")).caused_by(error)
        })?;
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let caller = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [_, "operator"] => Caller::Operator,
                [_, "tenant", name] => Caller::Tenant((*name).to_owned()),
                _ => {
                    return Err(refuse(format!(
                        "line {} of `{shown}` names no caller",
                        number + 1
                    )));
                }
            };
            let digest = words.first().filter(|text| is_digest(text));
            let digest = digest.ok_or_else(|| {
                refuse(format!(
                    "line {} of `{shown}` does not begin with a SHA-256",
                    number + 1
                ))
            })?;
            tokens.insert((*digest).to_owned(), caller);
        }
        if tokens.is_empty() {
            return Err(refuse(format!("`{shown}` holds no token")));
        }
        Ok(Self(tokens))
    }

    /// Whose token a request has.
    pub fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        // What is compared is the digest, which tells nothing of the token.
        self.0.get(&digest(token.trim())).cloned()
    }
}

/// The SHA-256 of a token, in lowercase hex.
fn digest(token: &str) -> String {
    hex(&Sha256::digest(token))
}

/// As `digest` writes it.
fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// How much each caller asked lately.
#[derive(Default)]
pub struct Limiter(Mutex<HashMap<Caller, (f64, Option<Instant>)>>);

impl Limiter {
    pub fn takes(&self, caller: &Caller) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (left, last) = buckets.entry(caller.clone()).or_insert((BURST, None));
        let passed = last.map_or(0.0, |last| now.duration_since(last).as_secs_f64());
        *left = (*left + passed * RATE).min(BURST);
        *last = Some(now);
        let takes = *left >= 1.0;
        if takes {
            *left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_is_known_by_its_digest_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |token: &str, caller: &str| format!("{} {caller}\n", digest(token));
        let text = format!(
            "# tokens\n\n{}{}",
            line("root", "operator"),
            line("a", "tenant acme")
        );
        std::fs::write(file.path(), text).unwrap();
        let tokens = Tokens::read(file.path()).unwrap();
        assert_eq!(
            tokens.caller(&headers("Bearer root")),
            Some(Caller::Operator)
        );
        let acme = Caller::Tenant("acme".to_owned());
        assert_eq!(tokens.caller(&headers("bearer a")), Some(acme.clone()));
        assert!(acme.owns("acme") && !acme.owns("other") && Caller::Operator.owns("other"));
        for other in [
            "Bearer b",
            "Bearer ",
            "root",
            "Basic root",
            &format!("Bearer {}", digest("root")),
        ] {
            assert_eq!(tokens.caller(&headers(other)), None, "{other}");
        }
        assert_eq!(tokens.caller(&HeaderMap::new()), None);
        let (tokens, token) = Tokens::generate();
        assert_eq!(
            tokens.caller(&headers(&format!("Bearer {token}"))),
            Some(Caller::Operator)
        );
    }

    #[test]
    fn a_file_with_anything_else_is_refused() {
        for text in [
            "",
            "root operator\n",
            &format!("{} tenant\n", "0".repeat(64)),
            &format!("{} operator\n", "A".repeat(64)),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            assert!(Tokens::read(file.path()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_who_asks_too_often_has_to_wait_and_others_do_not() {
        let limiter = Limiter::default();
        let tenant = |name: &str| Caller::Tenant(name.to_owned());
        let taken = (0..1_000).filter(|_| limiter.takes(&tenant("a"))).count();
        assert!((200..300).contains(&taken), "{taken}");
        assert!(limiter.takes(&tenant("b")));
    }
}
