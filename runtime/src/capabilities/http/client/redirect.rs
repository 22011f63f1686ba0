//! Where an answer sends a request on to, and what may go along. Decides only.

use url::Url;

use super::Hop;
use super::wire::Answer;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::http::grant::bare;
use crate::capabilities::http::path::is_ambiguous;

/// Headers that describe a body, and go where it goes.
const OF_BODY: [&str; 5] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-location",
    "content-disposition",
];

/// Headers that speak for whoever asks.
const OF_CALLER: [&str; 2] = ["authorization", "cookie"];

/// The next request, if `answer` is a redirect. `concealed` puts placeholders back into what a server says; what is a
/// placeholder in it is sent as it is, and never filled.
pub fn next(hop: &Hop, answer: &Answer, concealed: impl Fn(&str) -> String) -> Result<Option<Hop>> {
    let location = answer.header("location");
    let (true, Some(location)) = (answer.is_redirect(), location) else {
        return Ok(None);
    };
    let denied = |why: &str| {
        let message = format!("`{} {}` is redirected {why}", hop.method, bare(&hop.shown));
        Failure::new(ErrorKind::Denied, message)
    };
    let unreadable = || {
        let message = format!(
            "`{} {}` is redirected to what is no URL",
            hop.method,
            bare(&hop.shown)
        );
        Failure::new(ErrorKind::InvalidData, message)
    };
    let mut url = hop.url.join(location).map_err(|_| unreadable())?;
    url.set_fragment(None);
    let shown = Url::parse(&concealed(url.as_str())).map_err(|_| unreadable())?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(denied("to another scheme"));
    }
    if hop.url.scheme() == "https" && url.scheme() != "https" {
        return Err(denied("from `https` to `http`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(denied("to a URL with a user or password"));
    }
    if is_ambiguous(url.path()) || shown.origin() != url.origin() {
        return Err(denied("to a URL that cannot be held against the grant"));
    }
    let is_own = hop.is_own && url.origin() == hop.url.origin();
    if !is_own && shown != url {
        return Err(denied("to another origin with a secret in the URL"));
    }
    let becomes_get = match answer.status {
        303 => hop.method != "HEAD",
        301 | 302 => hop.method == "POST",
        _ => false,
    };
    let body = hop.body.clone().filter(|_| !becomes_get);
    if body.is_some() && !is_own {
        return Err(denied(&format!(
            "with its body to another origin, `{}`",
            bare(&shown)
        ))
        .hint("ask the other origin itself, and grant it"));
    }
    let goes_along = |name: &str| {
        !(becomes_get && OF_BODY.contains(&name)) && (is_own || !OF_CALLER.contains(&name))
    };
    Ok(Some(Hop {
        method: match becomes_get {
            true => "GET".to_owned(),
            false => hop.method.clone(),
        },
        shown,
        url,
        headers: hop
            .headers
            .iter()
            .filter(|header| goes_along(&header.name) && (is_own || !header.has_secret))
            .cloned()
            .collect(),
        body,
        timeout: hop.timeout,
        is_repeatable: hop.is_repeatable,
        is_own,
    }))
}
