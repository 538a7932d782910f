//! TLS of the listener.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::time::Instant;

use crate::trust::{self, Certificate, Purpose, TrustStore, WallClock};

#[derive(Clone, Debug)]
pub struct Tls {
    pub config: Arc<ServerConfig>,
    /// When the listener's certificate expires, in Unix seconds.
    pub not_after: Option<i64>,
    /// All settings but the listener's own certificate and key, in any form: connections end when it changes.
    pub rules: String,
    /// Whether connections end when the client's certificate expires.
    pub verifies_clients: bool,
}

/// What is required of client certificates.
#[derive(Debug)]
pub struct ClientAuth {
    /// The certificate must have one of these subject alternative names. Empty: no name is required.
    pub allowed_sans: Vec<String>,
    /// Whether a client must present a certificate.
    pub mandatory: bool,
    /// The CAs that must have issued it. `None`: it is not verified.
    pub store: Option<TrustStore>,
}

/// `chain` starts with the listener's certificate, to which `key` belongs. With `client` a certificate is requested.
///
/// # Errors
///
/// When key and certificate do not match, or no cipher suite is left for the `versions`.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client: Option<ClientAuth>,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, &'static str> {
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_details(Arc::new(provider), Arc::new(WallClock))
        .with_protocol_versions(versions)
        .map_err(|_| "the versions and cipher suites leave nothing to offer")?;
    let requests_certificates = client.is_some();
    let builder = match client {
        Some(auth) => {
            let subjects = auth.store.as_ref().map(TrustStore::subjects).unwrap_or_default();
            builder.with_client_cert_verifier(Arc::new(ClientVerifier { algorithms, auth, subjects }))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|err| match err {
        Error::InconsistentKeys(_) => "it does not belong to the key",
        Error::InvalidCertificate(_) => "it holds a certificate that cannot be used",
        _ => "the key is of a kind or size that is not supported; use RSA (2048 bits or more), ECDSA or Ed25519",
    })?;
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if requests_certificates {
        // The certificate would not be verified again when a session is resumed, even if it has expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// When the first of the client's certificates expires that is still valid. By the monotonic clock.
pub fn expiry(connection: &ServerConnection) -> Option<Instant> {
    let (start, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).ok()?);
    let left = connection.peer_certificates()?.iter().filter_map(|certificate| {
        // A certificate is valid until the end of the second that it names.
        let end = u64::try_from(trust::not_after(certificate)?).ok()? + 1;
        Duration::from_secs(end).checked_sub(now)
    });
    start.checked_add(left.min()?)
}

#[derive(Debug)]
struct ClientVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    auth: ClientAuth,
    subjects: Vec<DistinguishedName>,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.auth.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(store) = &self.auth.store {
            store.verify(certificate, intermediates, now, Purpose::Client)?;
        }
        let allowed = &self.auth.allowed_sans;
        let has_allowed_name =
            |certificate: Certificate<'_>| certificate.alternative_names().iter().any(|name| allowed.contains(name));
        if !allowed.is_empty() && !Certificate::parse(certificate).is_some_and(has_allowed_name) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
