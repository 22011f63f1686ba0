//! TLS as libpq's `sslmode` defines it, on rustls.
//!
//! Source: PostgreSQL documentation, "SSL Support", table "SSL Mode Descriptions".

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::super::server::{Tls, TlsMode};
use crate::capabilities::failure::{ErrorKind, Failure};

/// Reads the files that `tls` names. For every mode but `disable`.
pub fn config(tls: &Tls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
    let builder = match tls.mode {
        TlsMode::VerifyFull => builder.with_root_certificates(roots(tls)?),
        mode => {
            let chain = match mode {
                TlsMode::VerifyCa => Some(chain(tls, provider.clone())?),
                _ => None,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName { chain, provider }))
        }
    };
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("sslcert", cert)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("sslkey", Some(key), &error))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| unusable("sslcert", Some(cert), &error))
}

fn chain(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(tls)?), provider)
        .build()
        .map_err(|error| unusable("sslrootcert", tls.root_cert.as_deref(), &error))
}

fn roots(tls: &Tls) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match &tls.root_cert {
        Some(file) => {
            for certificate in certificates("sslrootcert", file)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable("sslrootcert", Some(file), &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Failure::new(
            ErrorKind::InvalidConfig,
            "there is no certificate authority to verify the server with",
        )
        .hint("name a PEM file with `sslrootcert=` in the connection string"));
    }
    Ok(roots)
}

fn certificates(key: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(key, Some(file), &error))
}

fn unusable(key: &str, file: Option<&str>, error: &dyn std::fmt::Display) -> Failure {
    let file = file.unwrap_or("the system's authorities");
    Failure::new(
        ErrorKind::InvalidConfig,
        format!("`{file}`, the `{key}` of the connection string, cannot be used: {error}"),
    )
    .hint("name a PEM file that this user can read")
}

/// Takes a certificate for any name.
#[derive(Debug)]
struct AnyName {
    /// `verify-ca`: its chain is verified. Without it, `prefer` and `require`, so is nothing.
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(certificate, intermediates, name, stapled, now) {
            // The name is looked at after the chain, its dates and its purpose.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
