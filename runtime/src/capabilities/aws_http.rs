//! How the SDK's requests travel: over connections that a tenant's runs share, each within the limits of the process.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::capabilities::connections;

/// Clients that are kept; beyond this, those of other tenants are closed once they are done.
const MAX_CLIENTS: usize = 256;

/// How long a request waits for its place. The SDK tries again what did not get one.
const WAIT: Duration = Duration::from_secs(30);

static CLIENTS: LazyLock<Mutex<HashMap<String, SharedHttpClient>>> = LazyLock::new(Mutex::default);

/// The client of a tenant. Connections of tenants are never shared.
pub fn client(tenant: &str) -> SharedHttpClient {
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(tenant) {
        return client.clone();
    }
    if clients.len() >= MAX_CLIENTS {
        clients.clear();
    }
    let driver = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let client = SharedHttpClient::new(Client {
        driver,
        tenant: tenant.to_owned(),
    });
    clients.insert(tenant.to_owned(), client.clone());
    client
}

#[derive(Debug)]
struct Client {
    driver: SharedHttpClient,
    tenant: String,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            driver: self.driver.http_connector(settings, components),
            tenant: self.tenant.clone(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    driver: SharedHttpConnector,
    tenant: String,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (driver, tenant) = (self.driver.clone(), self.tenant.clone());
        HttpConnectorFuture::new(async move {
            let place = connections::request(&tenant, WAIT).await;
            let _place = place.map_err(|failure| ConnectorError::timeout(failure.into()))?;
            driver.call(request).await
        })
    }
}
