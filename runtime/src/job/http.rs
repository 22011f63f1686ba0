//! `http:` of a job file → [`HttpSettings`]. Knows no client.

use std::time::Duration;

use url::Url;

use super::build::Builder;
use super::secrets::Resolver;
use super::spec::HttpSpec;
use super::units::{GIB, KIB, MIB};

/// How the host sends HTTP requests of this job. Descriptions and ranges are in `HttpSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// A URL, with a placeholder for every secret.
    pub proxy: Option<String>,
    pub connect_timeout: Duration,
    /// Longest silence of a server.
    pub read_timeout: Duration,
    /// Of one attempt, with the whole body.
    pub timeout: Duration,
    pub max_response_bytes: u64,
    /// Of one request.
    pub retries: u32,
    /// Of all requests of a run.
    pub retry_budget: u64,
    /// The longest time that one request waits for rate limits and retries, all in all.
    pub max_wait: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(2 * 60),
            max_response_bytes: 64 * MIB,
            retries: 5,
            retry_budget: 1_000,
            max_wait: Duration::from_secs(4 * 60),
        }
    }
}

impl Builder<'_> {
    pub fn http(&mut self, spec: HttpSpec, resolver: &mut Resolver) -> HttpSettings {
        let tenth = Duration::from_millis(100);
        let hour = Duration::from_secs(60 * 60);
        let default = HttpSettings::default();
        let mut span = |key: &str, span: &_, min, default| {
            self.span(&format!("/http/{key}"), span, min, hour, default)
        };
        HttpSettings {
            connect_timeout: span(
                "connect_timeout",
                &spec.connect_timeout,
                tenth,
                default.connect_timeout,
            ),
            read_timeout: span(
                "read_timeout",
                &spec.read_timeout,
                tenth,
                default.read_timeout,
            ),
            timeout: span("timeout", &spec.timeout, tenth, default.timeout),
            max_wait: span("max_wait", &spec.max_wait, Duration::ZERO, default.max_wait),
            max_response_bytes: self.size(
                "/http/max_response_size",
                &spec.max_response_size,
                KIB,
                GIB,
                default.max_response_bytes,
            ),
            retries: spec.retries.unwrap_or(default.retries),
            retry_budget: spec.retry_budget.unwrap_or(default.retry_budget),
            proxy: spec.proxy.and_then(|proxy| self.proxy(&proxy, resolver)),
        }
    }

    fn proxy(&mut self, written: &str, resolver: &mut Resolver) -> Option<String> {
        let mut hidden = written.into();
        self.hide(&mut hidden, "/http/proxy", resolver);
        let hidden = hidden.as_str()?.to_owned();
        let url = Url::parse(&hidden);
        let fits = url.is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if !fits {
            // Not the text itself: it may hold a password.
            let message = "`http.proxy` is not the URL of a proxy";
            let hint =
                "write it as `http://proxy.example:3128`, with `${SECRET:NAME}` for a password";
            self.problem("/http/proxy", message, hint);
        }
        fits.then_some(hidden)
    }
}
