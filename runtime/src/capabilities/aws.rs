//! How the host talks to services of AWS and to those that speak like them: settings, credentials, retries, and what an
//! error of the SDK means. Shared by the capabilities that use one.
//!
//! Knows no bucket, no key and no guest. Where the job says nothing, the SDK's own sources count: environment variables
//! (`AWS_ENDPOINT_URL_S3`, `AWS_PROFILE`, …), the profile files, web identity, and the role of the machine.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use tokio::sync::OnceCell;

use crate::capabilities::aws_http;
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::job::{AwsSettings, Secrets};
use crate::traffic;

/// Of one attempt. A part of 8 MiB takes a second at 64 Mbit/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often one request is sent, all in all: after 1, 2, 4 and 8 seconds at most, as the SDK waits.
const ATTEMPTS: u32 = 5;

/// Where no setting names a region: what S3 and its likes take an unnamed region for.
const DEFAULT_REGION: &str = "us-east-1";

/// The clients of one component, made when they are first needed.
pub struct Aws {
    settings: AwsSettings,
    secrets: Secrets,
    config: OnceCell<SdkConfig>,
    s3: OnceCell<aws_sdk_s3::Client>,
    kms: OnceCell<aws_sdk_kms::Client>,
}

impl Aws {
    pub fn new(settings: &AwsSettings, secrets: &Secrets) -> Arc<Self> {
        Arc::new(Self {
            settings: settings.clone(),
            secrets: secrets.clone(),
            config: OnceCell::new(),
            s3: OnceCell::new(),
            kms: OnceCell::new(),
        })
    }

    /// Counts bytes of objects that were sent or received.
    pub fn count(&self, bytes: u64) {
        traffic::count(&self.settings.tenant, bytes);
    }

    pub async fn s3(&self) -> &aws_sdk_s3::Client {
        self.s3
            .get_or_init(async || {
                let shared = self.config().await;
                let mut config = aws_sdk_s3::config::Builder::from(shared);
                if let Some(endpoint) = &self.settings.endpoint_url_s3 {
                    config = config.endpoint_url(endpoint);
                }
                let is_elsewhere = self.is_elsewhere() || shared.endpoint_url().is_some();
                // Few servers but AWS itself have a name for each bucket.
                config = config.force_path_style(self.settings.path_style.unwrap_or(is_elsewhere));
                aws_sdk_s3::Client::from_conf(config.build())
            })
            .await
    }

    pub async fn kms(&self) -> &aws_sdk_kms::Client {
        self.kms
            .get_or_init(async || {
                let mut config = aws_sdk_kms::config::Builder::from(self.config().await);
                if let Some(endpoint) = &self.settings.endpoint_url_kms {
                    config = config.endpoint_url(endpoint);
                }
                aws_sdk_kms::Client::from_conf(config.build())
            })
            .await
    }

    /// Whether the job or the environment names an endpoint, so that S3 is not that of AWS.
    fn is_elsewhere(&self) -> bool {
        let settings = &self.settings;
        let of_job = settings.endpoint_url_s3.is_some() || settings.endpoint_url.is_some();
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        of_job || names.iter().any(|name| std::env::var_os(name).is_some())
    }

    async fn config(&self) -> &SdkConfig {
        self.config.get_or_init(|| self.load()).await
    }

    async fn load(&self) -> SdkConfig {
        let settings = &self.settings;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(aws_http::client(&settings.tenant))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        } else if self.is_elsewhere() {
            // The SDK would ask the metadata service of a cloud, and wait where there is none.
            let mut profile = ProfileFileRegionProvider::builder();
            if let Some(name) = &settings.profile {
                profile = profile.profile_name(name);
            }
            let known = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(profile.build())
                .or_else(Region::new(DEFAULT_REGION));
            loader = loader.region(known);
        }
        if let Some(endpoint) = &settings.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
            let fill = |text: &String| self.secrets.fill(text);
            let token = settings.session_token.as_ref().map(fill);
            loader = loader.credentials_provider(Credentials::new(
                fill(id),
                fill(secret),
                token,
                None,
                "job",
            ));
        }
        let config = loader.load().await;
        match config.region() {
            Some(_) => config,
            None => config
                .into_builder()
                .region(Region::new(DEFAULT_REGION))
                .build(),
        }
    }
}

/// What the service answered: a code such as `AccessDenied`, and the status. Empty and 0 where no answer came.
pub fn answer<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> (&str, u16) {
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let code = error.as_service_error().and_then(|error| error.code());
    (code.unwrap_or_default(), status)
}

/// A failed request for what `name` stands for, such as `s3://lake/orders.csv`.
pub fn failure<E>(
    name: &str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Failure
where
    E: ProvideErrorMetadata + RequestId + std::error::Error + 'static,
{
    let new = |kind, what: String| Failure::new(kind, format!("`{name}` {what}"));
    let (code, status) = answer(error);
    let Some(service) = error.as_service_error() else {
        return no_answer(name, error);
    };
    let mut said = match (code, service.message().unwrap_or_default()) {
        ("", "") => format!("status {status}"),
        (code, "") => format!("{code}, status {status}"),
        (code, message) => format!("{code}: {message}"),
    };
    said.retain(|c| !c.is_control());
    if let Some(id) = service.request_id() {
        said.push_str(&format!(" (request {id})"));
    }
    match (code, status) {
        ("NoSuchBucket", _) => new(ErrorKind::NotFound, format!("is in no bucket there ({said})"))
            .hint("create the bucket, or correct its name, the region and the endpoint"),
        ("NoSuchKey" | "NotFound" | "NotFoundException" | "", 404) => {
            new(ErrorKind::NotFound, "does not exist".to_owned())
        }
        ("ExpiredToken" | "ExpiredTokenException" | "RequestExpired", _) => {
            new(ErrorKind::Rejected, format!("is refused: the credentials have expired ({said})"))
                .hint("renew the credentials and run the job again; it goes on where it stopped")
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "UnrecognizedClientException" | "InvalidClientTokenId", _) => {
            new(ErrorKind::Rejected, format!("is refused: the credentials are not valid there ({said})"))
                .hint("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or `aws:` in the job, and the endpoint")
        }
        ("RequestTimeTooSkewed", _) => new(ErrorKind::Rejected, format!("is refused: {said}"))
            .hint("set the clock of this machine"),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) | (_, 301) => {
            new(ErrorKind::InvalidConfig, format!("is in another region ({said})"))
                .hint("set AWS_REGION, or `aws: { region: … }` in the job, to the region of the bucket or key")
        }
        ("SlowDown" | "Throttling" | "ThrottlingException" | "RequestTimeout" | "RequestLimitExceeded" | "TooManyRequestsException", _)
        | (_, 429 | 500..) => new(ErrorKind::Unavailable, format!("cannot be reached now: {said}")),
        (_, 403) => new(ErrorKind::Rejected, format!("may not be accessed with these credentials ({said})"))
            .hint("allow it in the policy of the user or role, of the bucket or of the key"),
        _ => new(ErrorKind::Rejected, format!("is refused: {said}")),
    }
}

/// The request was not sent, or its answer did not come or could not be read.
fn no_answer<E: std::error::Error + 'static>(
    name: &str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Failure {
    let mut reasons = Vec::new();
    let mut source = error.source();
    while let Some(reason) = source {
        let text = reason.to_string();
        if reasons.last() != Some(&text) {
            reasons.push(text);
        }
        source = reason.source();
    }
    let why = reasons.join(": ").replace(|c: char| c.is_control(), " ");
    let is_unsigned = ["credentials", "profile", "token"]
        .iter()
        .any(|word| why.contains(word));
    match error {
        SdkError::ConstructionFailure(_) => Failure::new(
            ErrorKind::InvalidConfig,
            format!("no request for `{name}` can be made: {why}"),
        ),
        SdkError::DispatchFailure(_) if is_unsigned => Failure::new(
            ErrorKind::InvalidConfig,
            format!("there are no credentials for `{name}`: {why}"),
        )
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or `aws:` in the job"),
        SdkError::TimeoutError(_) => Failure::new(
            ErrorKind::Unavailable,
            format!("`{name}` did not answer in time: {why}"),
        ),
        _ => Failure::new(
            ErrorKind::Unavailable,
            format!("`{name}` cannot be reached: {why}"),
        )
        .hint("check the network, AWS_REGION and the endpoint"),
    }
}
