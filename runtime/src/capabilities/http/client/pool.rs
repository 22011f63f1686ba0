//! Connections: the driver's client for a tenant, a reach and the job's settings. Connections of tenants are never shared.
//!
//! With a proxy, it is the proxy that resolves names, so that addresses behind names cannot be checked here; an address
//! that stands in a URL still is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::super::Access;
use super::super::grant::Reach;
use crate::capabilities::egress::{self, Refused};
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// Clients that are kept; beyond this, those of other tenants and settings are closed once they are done.
const MAX_CLIENTS: usize = 256;

/// How long a connection waits to be used again; middle boxes forget it after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

/// Most headers of an answer, and the most bytes of them over HTTP/2.
const MAX_HEADERS: usize = 200;
const MAX_HEADER_BYTES: u32 = 128 << 10;

static POOL: LazyLock<Mutex<HashMap<Key, reqwest::Client>>> = LazyLock::new(Mutex::default);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    tenant: String,
    reach: Reach,
    proxy: Option<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// The client with which `access` reaches what a rule with `reach` covers.
pub fn client(access: &Access, reach: Reach) -> Result<reqwest::Client> {
    let settings = &access.settings;
    let proxy = settings.proxy.as_ref();
    let key = Key {
        tenant: access.tenant.clone(),
        reach,
        proxy: proxy.map(|proxy| access.secrets.fill(proxy)),
        connect_timeout: settings.connect_timeout,
        read_timeout: settings.read_timeout,
    };
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = pool.get(&key) {
        return Ok(client.clone());
    }
    let proxy = proxy.map(|proxy| filled(access, proxy)).transpose()?;
    let client = build(access, reach, proxy)?;
    if pool.len() >= MAX_CLIENTS {
        pool.clear();
    }
    pool.insert(key, client.clone());
    Ok(client)
}

fn build(access: &Access, reach: Reach, proxy: Option<reqwest::Proxy>) -> Result<reqwest::Client> {
    let resolver = Resolver {
        reach,
        is_proxied: proxy.is_some(),
    };
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .dns_resolver(Arc::new(resolver))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(access.settings.connect_timeout)
        .read_timeout(access.settings.read_timeout)
        .pool_idle_timeout(IDLE)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .user_agent(concat!("dativo-wasm/", env!("CARGO_PKG_VERSION")));
    let builder = match proxy {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    };
    builder.build().map_err(|error| {
        let why = error.without_url();
        Failure::new(ErrorKind::Internal, format!("no HTTP client: {why}"))
    })
}

/// The job's proxy with its secrets.
fn filled(access: &Access, text: &str) -> Result<reqwest::Proxy> {
    let refuse = || {
        Failure::new(
            ErrorKind::InvalidConfig,
            "the proxy is not a URL that can be used",
        )
        .hint("write `http: { proxy: \"http://proxy.example:3128\" }`")
    };
    let fill = |part: &str| access.secrets.fill(part);
    let decoded = |part: &str| {
        let pair = format!("x={}", part.replace('+', "%2B"));
        let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
        let value = pairs.next().map(|(_, value)| value.into_owned());
        value.unwrap_or_default()
    };
    // The whole URL may be one secret, or the user and password in it.
    let mut url = Url::parse(text)
        .or_else(|_| Url::parse(&fill(text)))
        .map_err(|_| refuse())?;
    let user = fill(&decoded(url.username()));
    let password = url.password().map(|password| fill(&decoded(password)));
    let is_known = ["http", "https"].contains(&url.scheme());
    if !is_known || url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(refuse());
    }
    let proxy = reqwest::Proxy::all(url.as_str()).map_err(|_| refuse())?;
    Ok(match user.is_empty() && password.is_none() {
        true => proxy,
        false => proxy.basic_auth(&user, &password.unwrap_or_default()),
    })
}

/// TLS with the authorities of the system, or of `SSL_CERT_FILE`.
pub fn tls() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Resolves a name once, and leaves nothing but addresses that it may lead to.
struct Resolver {
    reach: Reach,
    /// The names are those of the proxy, which the job itself chose.
    is_proxied: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_private = self.reach.is_private || self.is_proxied;
        Box::pin(async move {
            let name = name.as_str();
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut allowed: Vec<SocketAddr> = Vec::new();
            let mut denied = None;
            for place in found {
                match egress::check_public(name, place.ip(), is_private) {
                    Ok(()) => allowed.push(place),
                    Err(refused) => denied = Some(AddressDenied::new(name, place.ip(), refused)),
                }
            }
            match denied {
                Some(denied) if allowed.is_empty() => Err(denied.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// A name or URL leads where it must not.
#[derive(Debug, Clone)]
pub struct AddressDenied {
    message: String,
    is_private: bool,
}

impl AddressDenied {
    fn new(name: &str, address: std::net::IpAddr, refused: Refused) -> Self {
        Self {
            message: format!("`{name}` leads to {address}, which {}", refused.why()),
            is_private: refused == Refused::Private,
        }
    }

    pub fn failure(&self) -> Failure {
        let hint = match self.is_private {
            true => "add `private` to the grant: `http: [\"GET https://... private\"]`",
            false => "name the machine by an address that the job may reach",
        };
        Failure::new(ErrorKind::Denied, self.message.clone()).hint(hint)
    }
}

impl std::fmt::Display for AddressDenied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AddressDenied {}

/// The driver resolves no addresses, so that one in a URL is looked at here.
pub fn check_address(url: &Url, reach: Reach) -> Result<()> {
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => v4.into(),
        Some(Host::Ipv6(v6)) => v6.into(),
        _ => return Ok(()),
    };
    let name = url.host_str().unwrap_or_default();
    egress::check_public(name, address, reach.is_private)
        .map_err(|refused| AddressDenied::new(name, address, refused).failure())
}
