//! TLS of the listener: whom a client certificate has to come from, and what is offered.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::trust::{Purpose, TrustStore, WallClock};

/// What a listener with TLS uses.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For the next handshakes.
    pub config: Arc<ServerConfig>,
    /// When its certificate expires, in Unix seconds.
    pub not_after: i64,
    /// All that decides whether a connection is admitted, in whatever form; connections end when it changes.
    pub rules: String,
    /// Whether the dates of a client's certificate count.
    pub verifies_clients: bool,
}

/// What to offer. The key is not shown by `Debug`.
pub struct ListenerTls {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What is asked of clients; `None` is nothing.
    pub client: Option<ClientAuth>,
    /// Whether the client's order of cipher suites is overruled.
    pub ignore_client_order: bool,
    /// The leaf's.
    pub key: PrivateKeyDer<'static>,
    /// Cipher suites and key exchange groups.
    pub provider: Arc<CryptoProvider>,
    /// See [`Tls::rules`].
    pub rules: String,
    /// TLS 1.2, 1.3 or both.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

/// What is asked of a client's certificate.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// Subject alternative names, one of which the certificate must have; empty is any.
    pub allowed_sans: Vec<String>,
    /// Whether there must be one.
    pub mandatory: bool,
    /// Whom it must come from; `None` is anybody.
    pub store: Option<Arc<TrustStore>>,
}

impl Tls {
    /// Sets up what `settings` say.
    ///
    /// # Errors
    ///
    /// When key and certificate do not fit, or nothing is left to offer.
    pub fn new(settings: ListenerTls) -> Result<Self, String> {
        let ListenerTls { chain, client, ignore_client_order, key, provider, rules, versions } = settings;
        let not_after = not_after(&chain)?;
        let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(WallClock))
            .with_protocol_versions(&versions)
            .map_err(|_| "the versions and cipher suites leave nothing to offer")?;
        let asks = client.is_some();
        let verifies_clients = client.as_ref().is_some_and(|client| client.store.is_some());
        let builder = match client {
            Some(client) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(client, provider))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|err| server_cert_error(&err))?;
        config.ignore_client_order = ignore_client_order;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if asks {
            // A resumed session is not verified again: an expired certificate would stay good.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), not_after, rules, verifies_clients })
    }
}

/// When the first certificate that the client has shown and that is still valid expires: the moment from which a new
/// connection would be refused. By the monotonic clock.
pub fn expiry(connection: &ServerConnection) -> Option<Instant> {
    let (start, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).ok()?);
    let left = connection.peer_certificates()?.iter().filter_map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        // It is valid until the end of that second.
        let end = u64::try_from(certificate.validity().not_after.timestamp()).ok()? + 1;
        Duration::from_secs(end).checked_sub(now)
    });
    start.checked_add(left.min()?)
}

fn not_after(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let leaf = chain.first().ok_or("there is no certificate")?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| "it holds a certificate that cannot be parsed")?;
    if leaf.version().0 != 2 {
        let version = leaf.version().0 + 1;
        return Err(format!("it holds a certificate of X.509 version {version}; reissue it as version 3"));
    }
    Ok(leaf.validity().not_after.timestamp())
}

/// Why a certificate and its key cannot be used, in words of ours.
fn server_cert_error(err: &Error) -> &'static str {
    match err {
        Error::InconsistentKeys(_) => "it does not belong to the key",
        Error::InvalidCertificate(_) => "it holds a certificate that cannot be used",
        _ => "the key is of a kind or size that is not supported; use RSA (2048 bits or more), ECDSA or Ed25519",
    }
}

/// Go's five kinds of client authentication.
#[derive(Debug)]
struct ClientVerifier {
    allowed_sans: Vec<String>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
    store: Option<Arc<TrustStore>>,
    subjects: Vec<DistinguishedName>,
}

// === impl ClientVerifier ===

impl ClientVerifier {
    fn new(client: ClientAuth, provider: Arc<CryptoProvider>) -> Self {
        let ClientAuth { allowed_sans, mandatory, store } = client;
        let subjects = store.as_ref().map(|store| store.subjects()).unwrap_or_default();
        Self { allowed_sans, mandatory, provider, store, subjects }
    }

    fn check_names(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
        let names = certificate.subject_alternative_name().map_err(|_| bad())?;
        let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(name);
        let allowed = names.into_iter().any(|name| self.allowed_sans.contains(&name));
        if allowed { Ok(()) } else { Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) }
    }
}

/// As people write it.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes)
                .map(std::net::IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
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
        if let Some(store) = &self.store {
            store.verify(certificate, intermediates, now, Purpose::Client)?;
        }
        if !self.allowed_sans.is_empty() {
            self.check_names(certificate)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
