//! The `http` interface: check the grant, do it, count the memory.

use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;
use wasmtime::component::Resource;

use super::Access;
use super::client::{Auth, Client, ClientCredentials};
use super::rate::Rate;
use super::request::Request;
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::component::State;
use crate::component::bindings::imports::http as wit;
use crate::component::bindings::imports::types::Error as WitError;

/// What a client takes in the host beside its handle, in bytes: its credentials.
const CLIENT_BYTES: u64 = 4 << 10;

/// A client behind a handle.
pub struct HostClient(Arc<Client>);

type Answer<T> = wasmtime::Result<Result<T, WitError>>;

impl State {
    fn apis(&self) -> wasmtime::Result<Arc<Access>> {
        let granted = self.granted.http.clone();
        granted.ok_or_else(|| wasmtime::Error::msg("`http` is not granted"))
    }
}

impl wit::Host for State {}

impl wit::HostClient for State {
    async fn open(&mut self, settings: wit::Settings) -> Answer<Resource<HostClient>> {
        let access = self.apis()?;
        let opened = rate(settings.rate.as_ref())
            .and_then(|rate| Client::open(access, settings.auth.map(Auth::from), rate));
        Ok(match opened {
            Ok(client) => self.hold(HostClient(Arc::new(client)), CLIENT_BYTES),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn send(
        &mut self,
        handle: Resource<HostClient>,
        request: wit::Request,
    ) -> Answer<wit::Response> {
        let client = self.get(&handle)?.0.clone();
        let response = match client.send(request.into(), self.budget.left()).await {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let body = self.hold_blob(Buffer::from_vec(response.body));
        Ok(body.map(|body| wit::Response {
            status: response.status,
            url: response.url,
            headers: response.headers,
            body,
        }))
    }

    async fn drop(&mut self, handle: Resource<HostClient>) -> wasmtime::Result<()> {
        self.release(handle, |_| CLIENT_BYTES).map(drop)
    }
}

fn rate(wanted: Option<&wit::Rate>) -> Result<Option<Rate>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let rate = Rate::new(wanted.per_second, wanted.burst);
    let invalid = || {
        let message = format!(
            "{} requests a second with a burst of {} is no rate",
            wanted.per_second, wanted.burst
        );
        Failure::new(ErrorKind::InvalidConfig, message)
            .hint("write a number above 0 and at most a million, and a burst of 1 or more")
    };
    rate.map(Some).ok_or_else(invalid)
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        Self {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            timeout: request
                .timeout_ms
                .map(|ms| Duration::from_millis(ms.into())),
            is_repeatable: request.repeatable,
        }
    }
}

impl From<wit::Auth> for Auth {
    fn from(auth: wit::Auth) -> Self {
        match auth {
            wit::Auth::Bearer(token) => Self::Bearer(token),
            wit::Auth::Header((name, value)) => Self::Header(name, value),
            wit::Auth::Query((name, value)) => Self::Query(name, value),
            wit::Auth::Basic((user, password)) => Self::Basic(user, password),
            wit::Auth::ClientCredentials(wanted) => Self::ClientCredentials(ClientCredentials {
                token_url: wanted.token_url,
                client_id: wanted.client_id,
                client_secret: wanted.client_secret,
                scope: wanted.scope,
                parameters: wanted.parameters,
                is_in_body: wanted.in_body,
            }),
        }
    }
}
