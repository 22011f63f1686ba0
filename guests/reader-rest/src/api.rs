//! One request and its answer: addresses, parameters, statuses, and where in the body things are.

use std::borrow::Cow;

use dativo_connector::{Blob, Error, ErrorKind, Result, http, json};
use fluent_uri::{Uri, UriRef};
use serde_json::Value;

use crate::config::{Auth, Config, CredentialsIn, Endpoint, Format, Method, Pagination, ParamsIn};
use crate::link;
use crate::pages::{Facts, Position};
use crate::template::{Template, exact, plain};

/// Most of a body that a message shows, in characters.
const SHOWN_CHARS: usize = 200;

/// Where the records are if the config does not say it and the body is no array.
const RECORDS: &str = "/items";

/// A page that came.
pub struct Page {
    pub document: json::Document,
    /// Where its records are; none where it has no records.
    pub records: Option<String>,
    pub facts: Facts,
    /// For messages: ``page 7 of `GET https://api.example/v1` ``.
    pub name: String,
}

pub fn client(config: &Config) -> Result<http::Client> {
    let auth = match (&config.api_key, &config.auth) {
        (Some(token), _) => Some(http::Auth::Bearer(token.clone())),
        (None, auth) => auth.clone().map(host_auth),
    };
    let rate = http::Rate {
        per_second: config.rate_limit_rps,
        burst: config.rate_burst,
    };
    Ok(http::Client::open(&http::Settings {
        auth,
        rate: Some(rate),
    })?)
}

fn host_auth(auth: Auth) -> http::Auth {
    match auth {
        Auth::Bearer { token } => http::Auth::Bearer(token),
        Auth::Header { name, value } => http::Auth::Header((name, value)),
        Auth::Query { name, value } => http::Auth::Query((name, value)),
        Auth::Basic { user, password } => http::Auth::Basic((user, password)),
        Auth::OAuth2 {
            token_url,
            client_id,
            client_secret,
            scope,
            parameters,
            credentials_in,
        } => http::Auth::ClientCredentials(http::ClientCredentials {
            token_url,
            client_id,
            client_secret,
            scope,
            parameters: parameters.into_iter().collect(),
            in_body: credentials_in == CredentialsIn::Body,
        }),
    }
}

/// The request for a page. `values` are those of templates.
pub fn request(
    endpoint: &Endpoint,
    since_param: Option<&str>,
    at: &Position,
    values: &impl Fn(&str) -> Option<Value>,
) -> Result<http::Request> {
    let address = Template::render(&endpoint.api_url, values, encoded);
    let address =
        address.ok_or_else(|| Error::invalid_config("`api_url` has a template without a value"))?;
    let mut params: Vec<(String, Value)> = Vec::new();
    for (name, value) in &endpoint.params {
        let value = match value {
            Value::String(text) => Template::render(text, values, str::to_owned).map(Value::from),
            other => Some(other.clone()),
        };
        params.extend(value.map(|value| (name.clone(), value)));
    }
    params.extend(since_param.and_then(|name| Some((name.to_owned(), values("since")?))));
    let paging = paging_params(endpoint, at);
    let mut body = endpoint
        .body
        .as_ref()
        .and_then(|body| Template::render_json(body, values));
    match endpoint.params_in {
        ParamsIn::Query => params.extend(paging),
        ParamsIn::Body => {
            let body = body.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(map) = body {
                map.extend(paging);
            }
        }
    }
    let url = match at {
        // A link has all parameters in it.
        Position::Url(Some(next)) => next.clone(),
        _ => with_query(&address, &params),
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &endpoint.headers {
        headers.extend(
            Template::render(value, values, str::to_owned).map(|value| (name.clone(), value)),
        );
    }
    let has = |wanted: &str| {
        endpoint
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case(wanted))
    };
    if !has("accept") {
        headers.push(("accept".to_owned(), "application/json".to_owned()));
    }
    if body.is_some() && !has("content-type") {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    Ok(http::Request {
        method: method(endpoint).to_owned(),
        url,
        headers,
        body: body.map(|body| body.to_string().into_bytes()),
        timeout_ms: None,
        // A reader changes nothing, whatever the method.
        repeatable: true,
    })
}

fn method(endpoint: &Endpoint) -> &'static str {
    match endpoint.method {
        Method::Get => "GET",
        Method::Post => "POST",
    }
}

fn paging_params(endpoint: &Endpoint, at: &Position) -> Vec<(String, Value)> {
    let own = match at {
        Position::Page(page) => Some((&endpoint.page_param, Value::from(*page))),
        Position::Offset(offset) => Some((&endpoint.offset_param, Value::from(*offset))),
        Position::Cursor(Some(cursor)) => {
            Some((&endpoint.cursor_param, Value::from(cursor.as_str())))
        }
        Position::Cursor(None) | Position::Url(_) | Position::Only => None,
    };
    let size = endpoint
        .size_param()
        .map(|name| (name.to_owned(), Value::from(endpoint.page_size)));
    own.map(|(name, value)| (name.clone(), value))
        .into_iter()
        .chain(size)
        .collect()
}

fn with_query(address: &str, params: &[(String, Value)]) -> String {
    let address = address.split('#').next().unwrap_or_default();
    let mut url = address.to_owned();
    for (name, value) in params {
        let separator = match url.contains('?') {
            false => "?",
            true if url.ends_with(['?', '&']) => "",
            true => "&",
        };
        url.push_str(&format!(
            "{separator}{}={}",
            encoded(name),
            encoded(&plain(value))
        ));
    }
    url
}

/// Percent-encoded, but for unreserved characters (RFC 3986, section 2.3); a placeholder for a secret has no others.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Sends a request; its answer as a page. `number` counts from 1.
pub fn fetch(
    client: &http::Client,
    endpoint: &Endpoint,
    request: &http::Request,
    number: usize,
) -> Result<Page> {
    let bare = request.url.split(['?', '#']).next().unwrap_or_default();
    let name = format!("page {number} of `{} {bare}`", request.method);
    let response = client.send(request)?;
    check_status(&response, &name, endpoint)?;
    let named = |error: dativo_connector::Error| Error {
        message: format!("{name}: {}", error.message),
        ..error
    };
    let document = parse(&response, endpoint).map_err(named)?;
    let records = records(&document, endpoint).map_err(named)?;
    let facts = facts(&document, records.as_deref(), endpoint, &response).map_err(named)?;
    Ok(Page {
        document,
        records: records.filter(|_| facts.records > 0),
        facts,
        name,
    })
}

fn parse(response: &http::Response, endpoint: &Endpoint) -> Result<json::Document> {
    let is_lines = endpoint.format == Format::Jsonl;
    if response.body.size() == 0 && !is_lines {
        return match response.status {
            // No content.
            204 => Ok(json::Document::parse(&Blob::from_list(b"[]")?, false)?),
            _ => {
                Err(Error::invalid_data("the body is empty").hint("look at `api_url` and `method`"))
            }
        };
    }
    Ok(json::Document::parse(&response.body, is_lines)?)
}

fn check_status(response: &http::Response, name: &str, endpoint: &Endpoint) -> Result<()> {
    let status = response.status;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said = excerpt(&response.body);
    let message = format!("{name}: status {status}{said}");
    Err(match status {
        401 | 403 => Error::rejected(message).hint("check `api_key` or `auth`, and what they are allowed to read"),
        404 | 410 => Error::new(ErrorKind::NotFound, message).hint("check `api_url`"),
        400 | 422 => Error::rejected(message).hint(match endpoint.pagination_type {
            Pagination::None => "check `params`, `headers` and `body`",
            _ => "check `params` and the names of the parameters for the pagination, such as `page_size_param`",
        }),
        405 => Error::rejected(message).hint("check `method`"),
        _ => Error::rejected(message),
    })
}

/// The beginning of a body, on one line.
fn excerpt(body: &Blob) -> String {
    let bytes = body.read(0, 4 * SHOWN_CHARS as u32);
    let text = String::from_utf8_lossy(&bytes);
    let shown: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(SHOWN_CHARS)
        .collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!(", `{}`", shown.replace('`', "'")),
    }
}

/// Where the records are; none where `null` stands there.
fn records(document: &json::Document, endpoint: &Endpoint) -> Result<Option<String>> {
    let pointer = match &endpoint.records {
        Some(pointer) => Cow::Borrowed(pointer.as_str()),
        None if document.length("").is_some() => Cow::Borrowed(""),
        None => Cow::Borrowed(RECORDS),
    };
    if document.length(&pointer).is_some() {
        return Ok(Some(pointer.into_owned()));
    }
    match document.get(&pointer)?.as_deref() {
        Some("null") => Ok(None),
        Some(_) => Err(Error::invalid_data(format!(
            "there are no records: `{pointer}` is no array"
        ))
        .hint("set `records` to the JSON Pointer of the array, such as `/data/items`")),
        None => Err(Error::invalid_data(format!(
            "there are no records at `{pointer}`{}",
            keys(document)
        ))
        .hint("set `records` to the JSON Pointer of the array, such as `/data/items`")),
    }
}

/// The keys that there are instead.
fn keys(document: &json::Document) -> String {
    let body = document.get("").ok().flatten();
    let body: Option<serde_json::Map<String, Value>> =
        body.and_then(|body| serde_json::from_str(&body).ok());
    let keys: Vec<String> = body
        .iter()
        .flat_map(serde_json::Map::keys)
        .take(10)
        .map(|key| format!("`{key}`"))
        .collect();
    match keys.is_empty() {
        true => String::new(),
        false => format!("; the body has {}", keys.join(", ")),
    }
}

fn facts(
    document: &json::Document,
    records: Option<&str>,
    endpoint: &Endpoint,
    response: &http::Response,
) -> Result<Facts> {
    let mut facts = Facts::default();
    if let Some(pointer) = records {
        facts.records = document.length(pointer).unwrap_or_default();
        if facts.records > 0 {
            facts.digest = document.digest(pointer);
        }
    }
    // Lines, and a body that is an array, have nothing beside their records.
    let has_more_to_say = document.length("").is_none();
    let value = |pointer: &str| match has_more_to_say {
        true => value_at(document, pointer),
        false => Ok(None),
    };
    if let Some(pointer) = &endpoint.has_more {
        facts.has_more = match value(pointer)? {
            Some(Value::Bool(has_more)) => Some(has_more),
            None => None,
            Some(other) => return Err(unfit("has_more", pointer, &other, "a boolean")),
        };
    }
    match endpoint.pagination_type {
        Pagination::Page => {
            facts.total_pages = count(
                "total_pages",
                &endpoint.total_pages,
                value(&endpoint.total_pages)?,
            )?
        }
        Pagination::Offset => {
            facts.total = count("total", &endpoint.total, value(&endpoint.total)?)?
        }
        Pagination::Cursor => {
            facts.next_cursor = match value(&endpoint.next_cursor)? {
                None => None,
                Some(Value::String(cursor)) => Some(cursor).filter(|cursor| !cursor.is_empty()),
                Some(Value::Number(cursor)) => Some(cursor.to_string()),
                Some(other) => {
                    return Err(unfit(
                        "next_cursor",
                        &endpoint.next_cursor,
                        &other,
                        "a cursor",
                    ));
                }
            };
        }
        Pagination::NextUrl => {
            let target = match value(&endpoint.next_url)? {
                None => None,
                Some(Value::String(url)) => Some(url).filter(|url| !url.is_empty()),
                Some(other) => return Err(unfit("next_url", &endpoint.next_url, &other, "a URL")),
            };
            facts.next_url = target
                .map(|target| absolute(&response.url, &target))
                .transpose()?;
        }
        Pagination::Link => {
            let links = response.headers.iter().filter(|(name, _)| name == "link");
            let target = link::next(links.map(|(_, value)| value.as_str()));
            facts.next_url = target
                .map(|target| absolute(&response.url, &target))
                .transpose()?;
        }
        Pagination::None => {}
    }
    Ok(facts)
}

/// How many there are in all, where the body says so beside its records.
pub fn total(document: &json::Document, endpoint: &Endpoint) -> Option<u64> {
    if document.length("").is_some() {
        return None;
    }
    value_at(document, &endpoint.total).ok()??.as_u64()
}

/// None where there is none or null.
fn value_at(document: &json::Document, pointer: &str) -> Result<Option<Value>> {
    let Some(text) = document.get(pointer)? else {
        return Ok(None);
    };
    let value = exact(&text)?;
    Ok(Some(value).filter(|value: &Value| !value.is_null()))
}

fn count(key: &str, pointer: &str, value: Option<Value>) -> Result<Option<u64>> {
    let Some(value) = value else {
        return Ok(None);
    };
    let number = match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| unfit(key, pointer, &value, "a count"))
}

fn unfit(key: &str, pointer: &str, value: &Value, what: &str) -> Error {
    let shown: String = value.to_string().chars().take(60).collect();
    Error::invalid_data(format!("`{pointer}` is `{shown}`, not {what}")).hint(format!(
        "set `{key}` to the JSON Pointer of the right place"
    ))
}

/// A reference to the next page, resolved against the address of this one (RFC 3986, section 5).
fn absolute(base: &str, reference: &str) -> Result<String> {
    let unreadable = || {
        let shown: String = reference
            .split('?')
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect();
        Error::invalid_data(format!("the link to the next page, `{shown}`, is no URL"))
    };
    let base = Uri::parse(base.split('#').next().unwrap_or_default()).map_err(|_| unreadable())?;
    let reference = UriRef::parse(reference).map_err(|_| unreadable())?;
    let resolved = reference.resolve_against(&base).map_err(|_| unreadable())?;
    Ok(resolved
        .as_str()
        .split('#')
        .next()
        .unwrap_or_default()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(endpoint: Value, since_param: Option<&str>, at: &Position) -> http::Request {
        let endpoint: Endpoint = serde_json::from_value(endpoint).unwrap();
        let values = |name: &str| match name {
            "since" => Some(json!("2025-01-01T00:00:00+01:00")),
            "user" => Some(json!("a/b?")),
            "page" => Some(json!(3)),
            _ => None,
        };
        request(&endpoint, since_param, at, &values).unwrap()
    }

    #[test]
    fn parameters_go_where_they_belong() {
        let url = |endpoint, since, at| sent(endpoint, since, &at).url;
        assert_eq!(
            url(json!({"api_url": "http://h/v1"}), None, Position::Page(3)),
            "http://h/v1?page=3&page_size=1000"
        );
        assert_eq!(
            url(
                json!({"api_url": "http://h/v1?a=1#x", "pagination_type": "none", "params": {"q": "{user}", "gone": "{cursor}", "n": 5}}),
                Some("after"),
                Position::Only
            ),
            "http://h/v1?a=1&n=5&q=a%2Fb%3F&after=2025-01-01T00%3A00%3A00%2B01%3A00"
        );
        assert_eq!(
            url(
                json!({"api_url": "http://h/u/{user}/p", "pagination_type": "cursor", "page_size_param": ""}),
                None,
                Position::Cursor(Some("x y".into()))
            ),
            "http://h/u/a%2Fb%3F/p?cursor=x%20y"
        );
        let next = Position::Url(Some("http://h/next?token=1".into()));
        assert_eq!(
            url(
                json!({"api_url": "http://h/", "pagination_type": "link", "params": {"a": 1}}),
                None,
                next
            ),
            "http://h/next?token=1"
        );
    }

    #[test]
    fn a_body_takes_the_parameters_where_the_job_says_so() {
        let request = sent(
            json!({"api_url": "http://h/", "method": "POST", "params_in": "body", "body": {"where": {"page": "{page}"}}}),
            None,
            &Position::Page(3),
        );
        let body: Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"where": {"page": 3}, "page": 3, "page_size": 1000})
        );
        assert_eq!(request.url, "http://h/");
        assert!(
            request
                .headers
                .contains(&("content-type".to_owned(), "application/json".to_owned()))
        );
    }

    #[test]
    fn links_are_resolved_against_the_page() {
        let check = |reference: &str, expected: &str| {
            assert_eq!(absolute("http://h:1/a/b?x=1", reference).unwrap(), expected);
        };
        check("?page=2", "http://h:1/a/b?page=2");
        check("/c", "http://h:1/c");
        check("c#top", "http://h:1/a/c");
        check("../c", "http://h:1/c");
        check("//other/c", "http://other/c");
        check("https://other/c?d", "https://other/c?d");
        assert!(absolute("http://h/", "http://[").is_err());
        assert!(absolute("http://h/", "a b").is_err());
    }
}
