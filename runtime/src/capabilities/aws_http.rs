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

/// The client of a tenant. Connections of tenants are never shared, and neither are those of whoever works for none: they end with the
/// runtime that drives them.
pub fn client(tenant: &str) -> SharedHttpClient {
    if tenant.is_empty() {
        return new(tenant);
    }
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(tenant) {
        return client.clone();
    }
    if clients.len() >= MAX_CLIENTS {
        clients.clear();
    }
    let client = new(tenant);
    clients.insert(tenant.to_owned(), client.clone());
    client
}

fn new(tenant: &str) -> SharedHttpClient {
    let driver = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    SharedHttpClient::new(Client {
        driver,
        tenant: tenant.to_owned(),
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use crate::capabilities::aws::Aws;
    use crate::job::{AwsSettings, Secrets};

    /// A server that finds everything, and how many connections it has had.
    async fn server() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counting = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counting.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if line.is_empty() && write.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (format!("http://{address}"), connections)
    }

    #[tokio::test]
    async fn runs_of_a_tenant_share_connections_and_those_of_others_do_not() {
        let (endpoint, connections) = server().await;
        let mut found = Vec::new();
        for tenant in ["aws-http-a", "aws-http-a", "aws-http-b", "aws-http-a"] {
            let settings = AwsSettings {
                tenant: tenant.to_owned(),
                endpoint_url: Some(endpoint.clone()),
                region: Some("us-east-1".to_owned()),
                access_key_id: Some("id".to_owned()),
                secret_access_key: Some("key".to_owned()),
                ..AwsSettings::default()
            };
            let aws = Aws::new(&settings, &Secrets::default());
            let asked = aws.s3().await.head_bucket().bucket("lake").send().await;
            assert!(asked.is_ok(), "{asked:?}");
            found.push(connections.load(SeqCst));
        }
        assert_eq!(found, [1, 1, 2, 2]);
    }
}
