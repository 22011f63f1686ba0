//! Sending: grants, turns, credentials, retries and redirects around the driver, without wasm.
//!
//! `client/pool.rs` keeps connections and looks at addresses, `wire.rs` is one attempt, `pace.rs` gives turns, `auth.rs`
//! and `oauth.rs` add credentials, `redirect.rs` decides what goes on, `conceal.rs` hides secrets in what came back.

mod auth;
mod conceal;
mod oauth;
mod pace;
mod pool;
mod redirect;
#[cfg(test)]
mod tests;
mod wire;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use url::Url;

use super::Access;
use super::grant::bare;
use super::rate::Rate;
use super::request::Request;
use super::retry;
use crate::capabilities::connections;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Place;
use crate::traffic;
use auth::Filled;
pub use auth::{Auth, ClientCredentials};
pub use conceal::Concealer;
use oauth::{Credentials, Token};
use pace::{Pace, TooLong};
pub use pool::tls;
use wire::{Answer, Lost, Outgoing};

const MAX_REDIRECTS: usize = 10;

/// Most of a failed answer's body that a message shows, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// One way to talk to an API.
pub struct Client {
    access: Arc<Access>,
    auth: Option<Filled>,
    pace: Pace,
}

/// An answer as the guest gets it: with placeholders where secrets stood.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request to one URL, with its secrets filled in.
pub struct Hop {
    method: String,
    /// With placeholders: for the grant, messages and the guest.
    shown: Url,
    url: Url,
    headers: Vec<Header>,
    body: Option<Bytes>,
    timeout: Option<Duration>,
    is_repeatable: bool,
    /// Whether it goes to the origin that the guest named, without having left it.
    is_own: bool,
}

#[derive(Clone)]
struct Header {
    /// In lower case.
    name: String,
    value: Vec<u8>,
    has_secret: bool,
}

impl Client {
    pub fn open(access: Arc<Access>, auth: Option<Auth>, rate: Option<Rate>) -> Result<Self> {
        let auth = auth.map(|auth| Filled::new(&access, auth)).transpose();
        Ok(Self {
            auth: auth.map_err(|failure| access.without_secrets(failure))?,
            pace: Pace::new(&access.tenant, rate),
            access,
        })
    }

    /// Sends a request, whose answer may have a body of `max_body_bytes`.
    pub async fn send(&self, request: Request, max_body_bytes: u64) -> Result<Response> {
        let mut sending = Sending {
            client: self,
            retries: 0,
            waited: Duration::ZERO,
            max_body_bytes: max_body_bytes.min(self.access.settings.max_response_bytes),
        };
        let answer = sending.follow(request).await;
        answer.map_err(|failure| self.access.without_secrets(failure))
    }
}

impl Access {
    /// A failure in which no value stands.
    fn without_secrets(&self, failure: Failure) -> Failure {
        let shown = |text: &str| self.secrets.mask(&self.concealer.conceal(text));
        Failure {
            message: shown(&failure.message),
            hint: failure.hint.as_deref().map(shown),
            ..failure
        }
    }
}

impl Hop {
    fn new(access: &Access, request: Request) -> Result<Self> {
        let shown = request.check()?;
        let granted = access.grant.allows(&request.method, &shown);
        granted.map_err(|denied| denied.failure(&request.method, &shown))?;
        let mut url = shown.clone();
        let filled = |part: &str| {
            let filled = fill(access, part.as_bytes(), Place::Url)?;
            Ok::<_, Failure>(String::from_utf8_lossy(&filled).into_owned())
        };
        url.set_path(&filled(shown.path())?);
        if let Some(query) = shown.query() {
            url.set_query(Some(&filled(query)?));
        }
        let mut headers = Vec::with_capacity(request.headers.len());
        let mut body_place = Place::Raw;
        for (name, value) in request.headers {
            let name = name.to_ascii_lowercase();
            if name == "content-type" {
                body_place = place_of_body(&value);
            }
            let filled = fill(access, value.as_bytes(), Place::Header)?;
            headers.push(Header {
                has_secret: filled != value.as_bytes(),
                name,
                value: filled,
            });
        }
        let body = request.body.map(|body| fill(access, &body, body_place));
        Ok(Self {
            method: request.method,
            shown,
            url,
            headers,
            body: body.transpose()?.map(Bytes::from),
            timeout: request.timeout,
            is_repeatable: request.is_repeatable,
            is_own: true,
        })
    }

    fn name(&self) -> String {
        format!("`{} {}`", self.method, bare(&self.shown))
    }
}

/// How values are written in a body of this type.
fn place_of_body(content_type: &str) -> Place {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => Place::Form,
        json if json.ends_with("/json") || json.ends_with("+json") => Place::Json,
        "application/x-ndjson" | "application/jsonl" => Place::Json,
        _ => Place::Raw,
    }
}

fn fill(access: &Access, text: &[u8], place: Place) -> Result<Vec<u8>> {
    let filled = access.secrets.fill_http(text, place);
    filled.map_err(|unfit| invalid(unfit.message).hint(unfit.hint))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}

/// One request of a guest on its way, with all that it may still cost.
struct Sending<'a> {
    client: &'a Client,
    retries: u32,
    waited: Duration,
    max_body_bytes: u64,
}

impl Sending<'_> {
    async fn follow(&mut self, request: Request) -> Result<Response> {
        let access = &self.client.access;
        let mut hop = Hop::new(access, request)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.authorized(&hop).await?;
            let concealed = |text: &str| access.concealer.conceal(text);
            match redirect::next(&hop, &answer, concealed)? {
                Some(next) => hop = next,
                None => return Ok(self.response(&hop, answer)),
            }
            let granted = access.grant.allows(&hop.method, &hop.shown);
            granted.map_err(|denied| denied.failure(&hop.method, &hop.shown))?;
        }
        let message = format!(
            "{} is redirected more than {MAX_REDIRECTS} times",
            hop.name()
        );
        Err(Failure::new(ErrorKind::Rejected, message))
    }

    /// The answer to a hop, with credentials where they may go along.
    async fn authorized(&mut self, hop: &Hop) -> Result<Answer> {
        let auth = self.client.auth.as_ref().filter(|_| hop.is_own);
        let (header, query) = match auth {
            None => (None, None),
            Some(Filled::Header(name, value)) => (Some((name.clone(), value.clone())), None),
            Some(Filled::Query(name, value)) => (None, Some((name, value))),
            Some(Filled::Token(credentials)) => return self.with_token(hop, credentials).await,
        };
        let mut url = hop.url.clone();
        if let Some((name, value)) = query {
            auth::set_query(&mut url, name, value);
        }
        self.deliver(hop, &url, header).await
    }

    async fn with_token(&mut self, hop: &Hop, credentials: &Credentials) -> Result<Answer> {
        let token = self.token(credentials, None).await?;
        let header = |value: &str| {
            let value = Token::header(value)?;
            Ok::<_, Failure>(Some(("authorization".to_owned(), value)))
        };
        let answer = self.deliver(hop, &hop.url, header(&token)?).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // It was revoked, or the clocks differ.
        let token = self.token(credentials, Some(&token)).await?;
        self.deliver(hop, &hop.url, header(&token)?).await
    }

    /// The token that is kept, or a new one; not `refused`.
    async fn token(&mut self, credentials: &Credentials, refused: Option<&str>) -> Result<String> {
        let access = &self.client.access;
        let mut slot = credentials.slot.lock().await;
        let kept = slot
            .as_ref()
            .filter(|token| !refused.is_some_and(|refused| token.is(refused)));
        if let Some(value) = kept.and_then(Token::fresh) {
            access.concealer.add(value)?;
            return Ok(value.to_owned());
        }
        let hop = credentials.hop(access)?;
        let answer = self.deliver(&hop, &hop.url, None).await?;
        let token = Token::read(&answer, |text| access.concealer.conceal(text))?;
        let value = token.value().to_owned();
        access.concealer.add(&value)?;
        *slot = Some(token);
        Ok(value)
    }

    /// Sends until there is an answer that trying again would not change.
    async fn deliver(
        &mut self,
        hop: &Hop,
        url: &Url,
        auth: Option<(String, Vec<u8>)>,
    ) -> Result<Answer> {
        let access = &self.client.access;
        let reach = access.grant.allows(&hop.method, &hop.shown);
        let reach = reach.map_err(|denied| denied.failure(&hop.method, &hop.shown))?;
        pool::check_address(url, reach)?;
        let driver = pool::client(access, reach)?;
        let origin = url.origin().ascii_serialization();
        let timeout = access.settings.timeout;
        let mut attempts = 0;
        loop {
            self.turn(hop, &origin).await?;
            let connection = connections::request(&access.tenant, timeout).await?;
            access.usage.requests.fetch_add(1, Relaxed);
            attempts += 1;
            let outgoing = Outgoing {
                method: &hop.method,
                url: url.clone(),
                headers: headers(hop, auth.as_ref()),
                body: hop.body.clone(),
                timeout: hop.timeout.map_or(timeout, |own| own.min(timeout)),
                max_body_bytes: self.max_body_bytes,
            };
            let attempt = wire::attempt(&driver, outgoing).await;
            drop(connection);
            let (why, asked) = match attempt {
                Err(Lost::Final(failure)) => {
                    let message = format!("{}: {}", hop.name(), failure.message);
                    return Err(Failure { message, ..failure });
                }
                Err(Lost::Temporary(why)) => (why, None),
                Ok(answer) => {
                    traffic::count(&access.tenant, answer.body.len() as u64);
                    access
                        .usage
                        .received_bytes
                        .fetch_add(answer.body.len() as u64, Relaxed);
                    if !retry::is_temporary(answer.status) {
                        return Ok(answer);
                    }
                    let now = SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .unwrap_or_default();
                    let asked = answer.header("retry-after");
                    let asked = asked.and_then(|value| retry::asked(value, now));
                    if let Some(wait) = asked.filter(|_| retry::holds_back_all(answer.status)) {
                        self.client.pace.hold_back(&origin, wait);
                    }
                    (self.said(&answer), asked)
                }
            };
            let wait = asked.unwrap_or_else(|| retry::backoff(self.retries, random()));
            if !self.may_retry(hop, wait) {
                let times = if attempts == 1 { "attempt" } else { "attempts" };
                let message = format!("{} failed after {attempts} {times}: {why}", hop.name());
                return Err(Failure::new(ErrorKind::Unavailable, message).after(asked));
            }
            self.retries += 1;
            tokio::time::sleep(wait).await;
            self.count_wait(wait);
        }
    }

    async fn turn(&mut self, hop: &Hop, origin: &str) -> Result<()> {
        let left = self
            .client
            .access
            .settings
            .max_wait
            .saturating_sub(self.waited);
        match self.client.pace.turn(origin, left).await {
            Ok(waited) => {
                self.count_wait(waited);
                Ok(())
            }
            Err(TooLong(wait)) => {
                let message = format!(
                    "{} would wait {} for its turn, longer than `max_wait`",
                    hop.name(),
                    humantime::format_duration(Duration::from_secs(wait.as_secs() + 1))
                );
                Err(Failure::new(ErrorKind::Unavailable, message).after(Some(wait)))
            }
        }
    }

    fn count_wait(&mut self, wait: Duration) {
        self.waited += wait;
        self.client.access.usage.waited(wait);
    }

    /// Whether one more retry is allowed, which is counted then.
    fn may_retry(&self, hop: &Hop, wait: Duration) -> bool {
        let (settings, usage) = (&self.client.access.settings, &self.client.access.usage);
        retry::may_repeat(&hop.method, hop.is_repeatable)
            && self.retries < settings.retries
            && self.waited + wait <= settings.max_wait
            && usage
                .retries
                .fetch_update(Relaxed, Relaxed, |count| {
                    (count < settings.retry_budget).then_some(count + 1)
                })
                .is_ok()
    }

    /// What a failed answer says, on one line.
    fn said(&self, answer: &Answer) -> String {
        let body = String::from_utf8_lossy(&answer.body);
        let body = self.client.access.concealer.conceal(&body);
        let mut end = body.len().min(MAX_SHOWN_BYTES);
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        match body.get(..end).unwrap_or_default().trim() {
            "" => format!("status {}", answer.status),
            shown => format!("status {}, `{}`", answer.status, shown.escape_debug()),
        }
    }

    fn response(&self, hop: &Hop, answer: Answer) -> Response {
        let access = &self.client.access;
        let mut is_concealed = false;
        let mut conceal = |bytes: Vec<u8>| match access.concealer.find(&bytes) {
            Some(concealed) => {
                is_concealed = true;
                concealed
            }
            None => bytes,
        };
        let headers = answer
            .headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, String::from_utf8(conceal(value)).ok()?)))
            .collect();
        let body = conceal(answer.body);
        if is_concealed {
            access.usage.concealed.fetch_add(1, Relaxed);
        }
        Response {
            status: answer.status,
            url: access.concealer.conceal(hop.shown.as_str()),
            headers,
            body,
        }
    }
}

/// The headers of a hop; those of `auth` go before the guest's own.
fn headers(hop: &Hop, auth: Option<&(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let is_other = |header: &&Header| auth.is_none_or(|(name, _)| *name != header.name);
    let own = hop.headers.iter().filter(is_other);
    own.map(|header| (header.name.clone(), header.value.clone()))
        .chain(auth.cloned())
        .collect()
}

fn random() -> f64 {
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
}
