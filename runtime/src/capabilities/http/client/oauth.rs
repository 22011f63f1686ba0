//! Access tokens of OAuth 2.0: asked for once, kept for the tenant, renewed before they expire.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::auth::{ClientCredentials, basic, text};
use super::wire::Answer;
use super::{Hop, invalid};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::http::Access;
use crate::capabilities::http::request::Request;

/// A token is renewed when less than this, or than a tenth of its life, is left.
const MARGIN: Duration = Duration::from_secs(30);

/// The life of a token of which the server says nothing.
const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A shorter token could not be told from data in an answer.
const MIN_TOKEN_BYTES: usize = 8;

/// Most of what a server says about an error, in characters.
const MAX_SAID: usize = 200;

static TOKENS: LazyLock<Mutex<HashMap<Key, Arc<Slot>>>> = LazyLock::new(Mutex::default);

/// A digest of tenant, token URL and everything that is sent there.
type Key = [u8; 32];

/// One token. The lock is held while it is asked for, so that this happens once at a time.
pub type Slot = tokio::sync::Mutex<Option<Token>>;

pub struct Token {
    value: String,
    /// When to ask for the next one.
    renewal: Instant,
}

/// What a token is asked for with.
pub struct Credentials {
    request: Request,
    pub slot: Arc<Slot>,
}

impl Credentials {
    pub fn new(access: &Access, wanted: ClientCredentials) -> Result<Self> {
        let id = text(access, &wanted.client_id)?;
        let secret = text(access, &wanted.client_secret)?;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        let mut headers = vec![
            ("accept".to_owned(), "application/json".to_owned()),
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
        ];
        if wanted.is_in_body {
            form.append_pair("client_id", &id)
                .append_pair("client_secret", &secret);
        } else {
            // RFC 6749, section 2.3.1: both are encoded as in a form first.
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic(access, &encoded(&id), &encoded(&secret))?;
            headers.push(("authorization".to_owned(), value));
        }
        if let Some(scope) = &wanted.scope {
            form.append_pair("scope", &text(access, scope)?);
        }
        for (name, value) in &wanted.parameters {
            form.append_pair(&text(access, name)?, &text(access, value)?);
        }
        let request = Request {
            method: "POST".to_owned(),
            url: wanted.token_url,
            headers,
            body: Some(form.finish().into_bytes()),
            timeout: None,
            // To ask again for a token that was lost does no harm.
            is_repeatable: true,
        };
        let url = request.check()?;
        let granted = access.grant.allows("POST", &url);
        granted.map_err(|denied| denied.failure("POST", &url))?;
        let slot = slot(&access.tenant, &request);
        Ok(Self { request, slot })
    }

    /// The request for a token. Its secrets are filled in already.
    pub fn hop(&self, access: &Access) -> Result<Hop> {
        Hop::new(access, self.request.clone())
    }
}

fn slot(tenant: &str, request: &Request) -> Arc<Slot> {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    };
    add(tenant.as_bytes());
    add(request.url.as_bytes());
    for (_, value) in &request.headers {
        add(value.as_bytes());
    }
    add(request.body.as_deref().unwrap_or_default());
    let mut tokens = TOKENS.lock().unwrap_or_else(PoisonError::into_inner);
    tokens.entry(digest.finalize().into()).or_default().clone()
}

impl Token {
    /// The token of an answer. `concealed` hides what must not be seen in what a server says.
    pub fn read(answer: &Answer, concealed: impl Fn(&str) -> String) -> Result<Self> {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let said = |key: &str| {
            let text = body.get(key).and_then(Value::as_str)?;
            let text: String = concealed(text).chars().take(MAX_SAID).collect();
            Some(text.escape_debug().to_string())
        };
        if !(200..300).contains(&answer.status) {
            let what = said("error").map_or(String::new(), |error| format!(": `{error}`"));
            let why = said("error_description").map_or(String::new(), |why| format!(", {why}"));
            let message = format!("the token endpoint answered {}{what}{why}", answer.status);
            return Err(Failure::new(ErrorKind::Rejected, message)
                .hint("check `token_url`, `client_id`, `client_secret` and `scope` with whoever issued them"));
        }
        let token = body.get("access_token").and_then(Value::as_str);
        let Some(value) = token.filter(|token| token.len() >= MIN_TOKEN_BYTES) else {
            let message = format!(
                "the token endpoint answered without an `access_token` of at least {MIN_TOKEN_BYTES} bytes"
            );
            return Err(Failure::new(ErrorKind::InvalidData, message).hint("check `token_url`"));
        };
        let life = match body.get("expires_in") {
            Some(Value::Number(seconds)) => seconds.as_f64(),
            Some(Value::String(seconds)) => seconds.parse().ok(),
            _ => None,
        };
        let life = life.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let life = life.unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE);
        let margin = MARGIN.max(life / 10);
        Ok(Self {
            value: value.to_owned(),
            renewal: Instant::now() + life.saturating_sub(margin),
        })
    }

    /// The value, while it can still be used.
    pub fn fresh(&self) -> Option<&str> {
        (Instant::now() < self.renewal).then_some(self.value.as_str())
    }

    pub fn is(&self, value: &str) -> bool {
        self.value == value
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    /// The value of `Authorization`.
    pub fn header(value: &str) -> Result<Vec<u8>> {
        match value.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(format!("Bearer {value}").into_bytes()),
            false => Err(invalid(
                "the access token has characters that a header cannot have",
            )),
        }
    }
}
