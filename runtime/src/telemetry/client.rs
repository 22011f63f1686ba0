//! HTTP to where the operator says. Nothing of a job is sent through it.

use std::time::Duration;

use bytes::Bytes;

use crate::capabilities::http;
use crate::error::{Error, Result};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A client, on a runtime that outlives it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

impl Client {
    pub fn new() -> Result<Self> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::internal("no HTTP client for telemetry").caused_by(error)
        };
        let tls = http::tls().map_err(|error| internal(&error))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| internal(&error))?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| internal(&error))?;
        Ok(Self { http, runtime })
    }

    /// Posts JSON; the status of the answer.
    pub async fn post(&self, url: &url::Url, body: String) -> Result<u16, String> {
        let request = self.http.post(url.clone());
        let request = request.header("content-type", "application/json");
        let sent = request.body(body).send().await;
        // The URL may be a secret of its own.
        let answer = sent.map_err(|error| error.without_url().to_string())?;
        Ok(answer.status().as_u16())
    }
}

/// For the exporter of spans, which asks from a thread of its own.
#[async_trait::async_trait]
impl opentelemetry_http::HttpClient for Client {
    async fn send_bytes(
        &self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> Result<opentelemetry_http::Response<Bytes>, opentelemetry_http::HttpError> {
        let client = self.http.clone();
        let sending = self.runtime.spawn(async move {
            let request = reqwest::Request::try_from(request)?;
            let answer = client.execute(request).await?;
            let mut response = opentelemetry_http::Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                response = response.header(name, value);
            }
            let mut body = answer.bytes().await?;
            body.truncate(MAX_ANSWER_BYTES);
            Ok(response.body(body)?)
        });
        sending.await?
    }
}
