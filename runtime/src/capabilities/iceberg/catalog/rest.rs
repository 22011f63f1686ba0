//! A server of the Iceberg REST protocol: <https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml>
//!
//! Sends, signs in, and says what became of a commit. Credentials for storage that the server offers are not taken: a job has
//! its own under `aws`. Knows no metadata beyond what it hands on.

mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use super::{CatalogSpec, Commit, Creation, Loaded, TableName};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::http;
use crate::job::Secrets;
use token::Token;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that change nothing are sent again after 0.2, 0.4, … seconds.
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Largest answer: metadata of a table with very many snapshots.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How much of an error of the server is shown.
const MAX_SHOWN: usize = 300;

pub struct Rest {
    uri: Url,
    warehouse: Option<String>,
    credential: Option<String>,
    token: Option<String>,
    tokens: Option<String>,
    scope: String,
    secrets: Secrets,
    client: OnceCell<reqwest::Client>,
    /// What all paths of this warehouse begin with.
    prefix: OnceCell<String>,
    fetched: Mutex<Option<Token>>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// A request without an answer.
enum Lost {
    /// The server cannot have seen it.
    NotSent(Failure),
    Unknown(Failure),
}

#[derive(Deserialize)]
struct TableAnswer {
    #[serde(rename = "metadata-location")]
    metadata_location: Option<String>,
    metadata: TableMetadata,
}

impl Rest {
    pub fn open(spec: &CatalogSpec, secrets: &Secrets) -> Result<Self> {
        let CatalogSpec::Rest {
            uri,
            warehouse,
            credential,
            token,
            oauth2_server_uri,
            scope,
        } = spec
        else {
            return Err(Failure::new(ErrorKind::Internal, "not a REST catalog"));
        };
        let refuse = |why: &str| {
            Err(Failure::new(
                ErrorKind::InvalidConfig,
                format!("the `uri` of the catalog {why}"),
            )
            .hint("write it like `https://catalog.example/api`"))
        };
        let Ok(uri) = Url::parse(&format!("{}/", secrets.fill(uri).trim_end_matches('/'))) else {
            return refuse("is no URL");
        };
        if !matches!(uri.scheme(), "http" | "https")
            || !uri.username().is_empty()
            || uri.password().is_some()
        {
            return refuse("is no plain http or https URL");
        }
        Ok(Self {
            uri,
            warehouse: warehouse.clone(),
            credential: credential.clone(),
            token: token.clone(),
            tokens: oauth2_server_uri.clone(),
            scope: scope.clone().unwrap_or_else(|| "catalog".to_owned()),
            secrets: secrets.clone(),
            client: OnceCell::new(),
            prefix: OnceCell::new(),
            fetched: Mutex::new(None),
        })
    }

    pub async fn load(&self, name: &TableName) -> Result<Option<Loaded>> {
        let url = self.url(&self.table_path(name)).await?;
        let answer = self.ask(Method::GET, &url, None).await?;
        match answer.status {
            StatusCode::OK => self.loaded(name, &answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&answer)),
        }
    }

    pub async fn create(&self, name: &TableName, creation: &Creation) -> Result<Option<Loaded>> {
        self.create_namespaces(name).await?;
        let mut properties = creation.properties.clone();
        properties
            .entry("format-version".to_owned())
            .or_insert_with(|| "2".to_owned());
        let mut body = json!({
            "name": name.table, "schema": creation.schema, "partition-spec": creation.partition_spec,
            "stage-create": false, "properties": properties,
        });
        if !creation.sort_order.is_unsorted() {
            body["write-order"] = json!(creation.sort_order);
        }
        if let Some(location) = &creation.location {
            body["location"] = location.clone().into();
        }
        let path = format!("namespaces/{}/tables", namespace(&name.namespace));
        let url = self.url(&path).await?;
        match self.send(Method::POST, &url, Some(&body)).await {
            Ok(answer) if answer.status == StatusCode::OK => self.loaded(name, &answer).map(Some),
            // Made meanwhile, by somebody else or by a request whose answer a gateway lost.
            Ok(answer) if answer.status == StatusCode::CONFLICT => Ok(None),
            Ok(answer) if answer.status.is_server_error() => match self.load(name).await? {
                Some(loaded) => Ok(Some(loaded)),
                None => Err(self.refused(&answer)),
            },
            Ok(answer) => Err(self.refused(&answer)),
            Err(Lost::NotSent(failure)) => Err(failure),
            Err(Lost::Unknown(failure)) => match self.load(name).await? {
                Some(loaded) => Ok(Some(loaded)),
                None => Err(failure),
            },
        }
    }

    pub async fn commit(
        &self,
        name: &TableName,
        requirements: &[TableRequirement],
        updates: &[TableUpdate],
    ) -> Commit {
        let url = match self.url(&self.table_path(name)).await {
            Ok(url) => url,
            Err(failure) => return Commit::Refused(failure),
        };
        let identifier = json!({ "namespace": name.namespace, "name": name.table });
        let body =
            json!({ "identifier": identifier, "requirements": requirements, "updates": updates });
        let answer = match self.send(Method::POST, &url, Some(&body)).await {
            Ok(answer) => answer,
            Err(Lost::NotSent(failure)) => return Commit::Refused(failure),
            Err(Lost::Unknown(failure)) => return Commit::Unknown(failure),
        };
        match answer.status {
            StatusCode::OK => match self.loaded(name, &answer) {
                Ok(loaded) => Commit::Landed(loaded),
                Err(failure) => Commit::Unknown(failure),
            },
            StatusCode::CONFLICT => Commit::Conflict(self.refused(&answer)),
            StatusCode::TOO_MANY_REQUESTS => Commit::Conflict(self.refused(&answer)),
            status if status.is_client_error() => Commit::Refused(self.refused(&answer)),
            _ => Commit::Unknown(self.refused(&answer)),
        }
    }

    /// Each level of the namespace, where it is absent.
    async fn create_namespaces(&self, name: &TableName) -> Result<()> {
        for levels in 1..=name.namespace.len() {
            let parts = name.namespace.get(..levels).unwrap_or_default();
            let known = self
                .url(&format!("namespaces/{}", namespace(parts)))
                .await?;
            if self.ask(Method::GET, &known, None).await?.status == StatusCode::OK {
                continue;
            }
            let url = self.url("namespaces").await?;
            let body = json!({ "namespace": parts, "properties": {} });
            let answer = self.ask(Method::POST, &url, Some(&body)).await?;
            // Also where an earlier try made it and its answer was lost.
            if !answer.status.is_success() && answer.status != StatusCode::CONFLICT {
                return Err(self.refused(&answer));
            }
        }
        Ok(())
    }

    fn table_path(&self, name: &TableName) -> String {
        format!(
            "namespaces/{}/tables/{}",
            namespace(&name.namespace),
            encoded(&name.table)
        )
    }

    async fn url(&self, path: &str) -> Result<Url> {
        let prefix = self.prefix.get_or_try_init(|| self.fetch_prefix()).await?;
        self.join(&format!("v1/{prefix}{path}"))
    }

    fn join(&self, path: &str) -> Result<Url> {
        self.uri.join(path).map_err(|error| {
            Failure::new(
                ErrorKind::InvalidConfig,
                format!("`{path}` is no path at the catalog: {error}"),
            )
        })
    }

    async fn fetch_prefix(&self) -> Result<String> {
        let mut url = self.join("v1/config")?;
        if let Some(warehouse) = &self.warehouse {
            let warehouse = self.secrets.fill(warehouse);
            url.query_pairs_mut()
                .append_pair("warehouse", warehouse.trim_end_matches('/'));
        }
        let answer = self.ask(Method::GET, &url, None).await?;
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        let config: Value =
            serde_json::from_slice(&answer.body).map_err(|_| self.strange("its config"))?;
        let prefix = ["overrides", "defaults"]
            .into_iter()
            .find_map(|key| config[key]["prefix"].as_str());
        Ok(match prefix {
            None | Some("") => String::new(),
            Some(prefix) => format!("{}/", prefix.trim_matches('/')),
        })
    }

    /// Sends what may be sent again, as long as the server is not there or busy.
    async fn ask(&self, method: Method, url: &Url, body: Option<&Value>) -> Result<Answer> {
        let mut patience = Patience::new();
        loop {
            match self.settled(self.send(method.clone(), url, body).await) {
                Err(failure) if patience.has_more(&failure).await => {}
                outcome => return outcome,
            }
        }
    }

    /// An answer that would not be another one later.
    fn settled(&self, sent: Result<Answer, Lost>) -> Result<Answer> {
        match sent {
            Ok(answer) if !is_busy(answer.status) => Ok(answer),
            Ok(answer) => Err(self.refused(&answer)),
            Err(Lost::NotSent(failure) | Lost::Unknown(failure)) => Err(failure),
        }
    }

    /// Sends a request once; twice where the token was not taken any more, which changed nothing.
    async fn send(&self, method: Method, url: &Url, body: Option<&Value>) -> Result<Answer, Lost> {
        let token = self.bearer(false).await.map_err(Lost::NotSent)?;
        let answer = self
            .once(method.clone(), url, body, token.as_deref())
            .await?;
        if answer.status != StatusCode::UNAUTHORIZED || self.credential.is_none() {
            return Ok(answer);
        }
        let token = self.bearer(true).await.map_err(Lost::NotSent)?;
        self.once(method, url, body, token.as_deref()).await
    }

    async fn once(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Answer, Lost> {
        let mut request = self
            .client()
            .await
            .map_err(Lost::NotSent)?
            .request(method, url.clone());
        if let Some(token) = token {
            let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                Lost::NotSent(Failure::new(
                    ErrorKind::InvalidConfig,
                    "the token of the catalog cannot stand in a header",
                ))
            })?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        self.receive(request).await
    }

    async fn receive(&self, request: reqwest::RequestBuilder) -> Result<Answer, Lost> {
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => {
                return Err(Lost::NotSent(self.unreachable(&error)));
            }
            Err(error) => return Err(Lost::Unknown(self.unreachable(&error))),
        };
        let status = response.status();
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                    body.extend_from_slice(&chunk)
                }
                Ok(Some(_)) => {
                    let message = format!(
                        "an answer of the catalog has more than {} MiB",
                        MAX_ANSWER_BYTES >> 20
                    );
                    return Err(Lost::Unknown(
                        Failure::new(ErrorKind::LimitExceeded, message)
                            .hint("expire old snapshots of the table"),
                    ));
                }
                Ok(None) => break,
                Err(error) => return Err(Lost::Unknown(self.unreachable(&error))),
            }
        }
        Ok(Answer {
            status,
            body: body.freeze(),
        })
    }

    async fn client(&self) -> Result<&reqwest::Client> {
        self.client
            .get_or_try_init(async || {
                let client = reqwest::Client::builder()
                    .tls_backend_preconfigured(http::tls()?)
                    .redirect(Policy::none())
                    .retry(reqwest::retry::never())
                    .referer(false)
                    .no_proxy()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(TIMEOUT)
                    .user_agent(concat!("dativo-wasm/", env!("CARGO_PKG_VERSION")))
                    .build();
                client.map_err(|error| {
                    Failure::new(ErrorKind::Internal, error.without_url().to_string())
                })
            })
            .await
    }

    fn loaded(&self, name: &TableName, answer: &Answer) -> Result<Loaded> {
        let table: TableAnswer = serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::new(
                ErrorKind::InvalidData,
                format!("what the catalog says of `{name}` cannot be read: {error}"),
            )
            .hint("read the table with another engine; if that works, report this message")
        })?;
        Ok(Loaded {
            metadata: Arc::new(table.metadata),
            metadata_location: table.metadata_location.unwrap_or_default(),
        })
    }

    /// What the server said instead of doing it.
    fn refused(&self, answer: &Answer) -> Failure {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let said = body["error"]["message"]
            .as_str()
            .or(body["error_description"].as_str());
        let said: String = said
            .unwrap_or("no reason is given")
            .chars()
            .take(MAX_SHOWN)
            .collect();
        // A server may repeat what it was sent.
        let said = self.secrets.mask(&said).escape_debug().to_string();
        let (status, host) = (answer.status.as_u16(), self.host());
        let message = format!("the catalog at `{host}` answered {status}: {said}");
        match status {
            401 => Failure::new(ErrorKind::Rejected, message)
                .hint("check `credential`, `token` and `scope` of the catalog"),
            403 => Failure::new(ErrorKind::Rejected, message).hint(
                "let the catalog give this client the right to read, make and change the table",
            ),
            429 | 500..=599 => Failure::new(ErrorKind::Unavailable, message)
                .hint("run the job again when the catalog is well"),
            _ => Failure::new(ErrorKind::Rejected, message)
                .hint("check `warehouse`, `namespace`, `table` and `uri` of the catalog"),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let what = match (error.is_connect(), error.is_timeout()) {
            (true, _) => "cannot be reached",
            (_, true) => "did not answer in time",
            _ => "ended the connection",
        };
        let host = self.host();
        Failure::new(
            ErrorKind::Unavailable,
            format!("the catalog at `{host}` {what}: {cause}"),
        )
        .hint("check that it runs and that `uri` is its address; then run the job again")
    }

    fn strange(&self, what: &str) -> Failure {
        Failure::new(
            ErrorKind::Rejected,
            format!("`{}` answered with something else than {what}", self.host()),
        )
        .hint("check that `uri` is that of an Iceberg REST catalog")
    }

    fn host(&self) -> String {
        let host = self.uri.host_str().unwrap_or_default();
        self.uri
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// The attempts of one request that changes nothing.
struct Patience {
    attempt: u32,
    wait: Duration,
}

impl Patience {
    fn new() -> Self {
        Self {
            attempt: 1,
            wait: FIRST_WAIT,
        }
    }

    /// Waits where another attempt may help; false where none does, or there were enough.
    async fn has_more(&mut self, failure: &Failure) -> bool {
        if self.attempt >= ATTEMPTS || failure.kind != ErrorKind::Unavailable {
            return false;
        }
        tokio::time::sleep(self.wait).await;
        self.attempt += 1;
        self.wait *= 2;
        true
    }
}

fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// As it stands in a path: levels are separated by the unit separator.
fn namespace(parts: &[String]) -> String {
    parts
        .iter()
        .map(|part| encoded(part))
        .collect::<Vec<_>>()
        .join("%1F")
}

fn encoded(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let texts = part.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_paths_as_the_protocol_has_them() {
        assert_eq!(
            namespace(&["a b".to_owned(), "ü/".to_owned()]),
            "a%20b%1F%C3%BC%2F"
        );
        let open = |uri: &str| {
            let spec = json!({ "type": "rest", "uri": uri });
            Rest::open(&serde_json::from_value(spec).unwrap(), &Secrets::default())
        };
        let rest = open("https://c.example/api/").unwrap();
        assert_eq!(
            rest.join("v1/config").unwrap().as_str(),
            "https://c.example/api/v1/config"
        );
        for uri in [
            "ftp://c.example",
            "c.example",
            "https://u:hunter2@c.example",
        ] {
            let failure = open(uri).err().unwrap();
            assert!(!failure.to_string().contains("hunter2"));
        }
    }
}
