//! `aws:` of a job file → [`AwsSettings`]. Knows no client.

use url::Url;

use super::build::Builder;
use super::secrets::Resolver;
use super::spec::AwsSpec;

/// How the host reaches S3 and KMS for this job. What is not set comes from the environment. Descriptions are in `AwsSpec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    pub region: Option<String>,
    pub profile: Option<String>,
    pub endpoint_url: Option<String>,
    pub endpoint_url_s3: Option<String>,
    pub endpoint_url_kms: Option<String>,
    pub path_style: Option<bool>,
    /// With a placeholder for every secret, as the two after it.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    /// Whose traffic it is.
    pub tenant: String,
}

impl Builder<'_> {
    pub fn aws(&mut self, spec: AwsSpec, resolver: &mut Resolver) -> AwsSettings {
        if spec.access_key_id.is_some() != spec.secret_access_key.is_some() {
            self.problem(
                "/aws",
                "`aws.access_key_id` and `aws.secret_access_key` stand together",
                "set both, or neither: then the environment and the profile count",
            );
        }
        let mut hidden = |key: &str, written: Option<String>| {
            let mut value = written?.into();
            self.hide(&mut value, &format!("/aws/{key}"), resolver);
            value.as_str().map(str::to_owned)
        };
        let access_key_id = hidden("access_key_id", spec.access_key_id);
        let secret_access_key = hidden("secret_access_key", spec.secret_access_key);
        let session_token = hidden("session_token", spec.session_token);
        AwsSettings {
            region: spec.region,
            profile: spec.profile,
            endpoint_url: self.service_url("endpoint_url", spec.endpoint_url),
            endpoint_url_s3: self.service_url("endpoint_url_s3", spec.endpoint_url_s3),
            endpoint_url_kms: self.service_url("endpoint_url_kms", spec.endpoint_url_kms),
            path_style: spec.path_style,
            access_key_id,
            secret_access_key,
            session_token,
            tenant: String::new(),
        }
    }

    fn service_url(&mut self, key: &str, written: Option<String>) -> Option<String> {
        let written = written?;
        let fits = Url::parse(&written).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if !fits {
            let message = format!("`aws.{key}` is not the URL of a service");
            self.problem(
                &format!("/aws/{key}"),
                &message,
                "write it as `https://s3.example:8333`",
            );
        }
        fits.then_some(written)
    }
}
