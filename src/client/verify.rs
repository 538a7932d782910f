//! Verification of server certificates: the checks of [`crate::trust`], plus what rustls does not offer: pinned
//! certificates, and a name to verify other than the URL's host.

use std::{
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::DateTime;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, OtherError, PeerMisbehaved,
    SignatureScheme, SupportedProtocolVersion,
    client::{
        ResolvesClientCert, WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::verify_tls13_signature_with_raw_key,
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use webpki::RawPublicKeyEntity;
use x509_parser::{
    prelude::{FromDer, GeneralName, X509Certificate},
    public_key::PublicKey,
};

use super::{
    error_text::{self, TlsPeer},
    https_proxy,
    pin::Pin,
    recorder::Recorder,
};
use crate::{
    lock::lock,
    model::Timestamp,
    trust::{self, Culprit, Problem, Purpose, TrustError, TrustStore, WallClock, san_address},
};

/// Which certificates are accepted.
#[derive(Debug)]
pub enum Trust {
    Anything,
    /// None: the handshake ends once the certificate has been recorded.
    Nothing,
    /// One of these certificates, whatever its chain, name and dates.
    Pins(Vec<Pin>),
    Store(Arc<TrustStore>),
}

/// The sizes of RSA keys whose signatures can be verified, in bits.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// The verifier of one set of TLS settings.
#[derive(Clone, Debug)]
pub struct ServerVerifier {
    name: Option<ServerName<'static>>,
    /// The verifier of a proxy that speaks TLS.
    proxy: Option<Arc<Self>>,
    recorder: Arc<HandshakeRecorder>,
    trust: Arc<Trust>,
}

/// Records what the TLS handshakes with one server reveal.
#[derive(Debug, Default)]
pub struct HandshakeRecorder {
    client_cert_requested: AtomicBool,
    /// When the certificate expires that the server last showed and that was its own.
    expiry: Mutex<Option<Timestamp>>,
    /// For `status --record`.
    pub recorder: Option<Arc<Recorder>>,
}

/// A certificate that is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}; {advice}")]
pub struct VerifyError {
    /// What to change on the cluster or in its configuration.
    pub advice: String,
    /// What is wrong: a sentence about the server, without its subject.
    pub problem: String,
    /// When it expires, for the recorder: if nothing but its dates is wrong, so that it is the server's own.
    expiry: Option<Timestamp>,
}

/// Sends the client certificate, if there is one, but not to a proxy.
#[derive(Debug)]
struct ClientCertResolver {
    has_tls_proxy: bool,
    recorder: Arc<HandshakeRecorder>,
    resolver: Arc<dyn ResolvesClientCert>,
}

// === impl HandshakeRecorder ===

impl HandshakeRecorder {
    pub fn with_recorder(recorder: Arc<Recorder>) -> Self {
        Self { recorder: Some(recorder), ..Self::default() }
    }

    /// Whether the server (not a proxy) requested a client certificate in the last handshake.
    pub fn client_cert_requested(&self) -> bool {
        self.client_cert_requested.load(Ordering::Relaxed)
    }

    pub fn expiry(&self) -> Option<Timestamp> {
        *lock(&self.expiry)
    }

    fn record(&self, expiry: Timestamp) {
        *lock(&self.expiry) = Some(expiry);
    }
}

impl ResolvesClientCert for ClientCertResolver {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if self.has_tls_proxy && https_proxy::is_handshake_with_proxy() {
            return None;
        }
        self.recorder.client_cert_requested.store(true, Ordering::Relaxed);
        self.resolver.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.resolver.has_certs()
    }
}

// === impl ServerVerifier ===

impl ServerVerifier {
    /// `name` is the name to verify instead of the URL's host.
    pub fn new(trust: Trust, name: Option<ServerName<'static>>) -> Self {
        Self { name, proxy: None, recorder: Arc::default(), trust: Arc::new(trust) }
    }

    /// # Errors
    ///
    /// When the `versions` cannot be used.
    pub fn config(
        self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
        let builder = ClientConfig::builder_with_details(trust::provider().clone(), Arc::new(WallClock));
        let builder = builder.with_protocol_versions(versions).map_err(|err| error_text::tls(&err, TlsPeer::Other))?;
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(self)))
    }

    /// Makes the configuration for one client of a configuration for all, with the verifier of the proxy if that speaks TLS.
    pub fn for_client(
        &self,
        mut config: ClientConfig,
        recorder: Arc<HandshakeRecorder>,
        proxy: Option<Arc<Self>>,
    ) -> ClientConfig {
        recorder.client_cert_requested.store(false, Ordering::Relaxed);
        let (has_tls_proxy, resolver) = (proxy.is_some(), config.client_auth_cert_resolver);
        config.client_auth_cert_resolver =
            Arc::new(ClientCertResolver { has_tls_proxy, recorder: recorder.clone(), resolver });
        config.dangerous().set_certificate_verifier(Arc::new(Self { proxy, recorder, ..self.clone() }));
        config
    }

    /// The verifier of the handshake in progress.
    fn current(&self) -> &Self {
        self.proxy.as_deref().filter(|_| https_proxy::is_from_proxy()).unwrap_or(self)
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        let store = match &*self.trust {
            Trust::Anything => return Ok(()),
            Trust::Nothing => {
                // The caller shows the text only if there is no expiry to record.
                let err = VerifyError::new("its certificate cannot be parsed", "");
                return Err(VerifyError { expiry: expiry(leaf), ..err });
            }
            Trust::Pins(pins) => return check_pins(pins, leaf),
            Trust::Store(store) => store,
        };
        let Err(err) = store.verify(leaf, intermediates, now, Purpose::Server) else {
            return check_name(leaf, name);
        };
        if !err.is_date() {
            return Err(rejection(&err, leaf));
        }
        // Anybody can show an expired certificate; it is the cluster's if nothing else is wrong with it.
        match store.verify_without_dates(leaf, intermediates, Purpose::Server) {
            Ok(()) => {
                check_name(leaf, name)?;
                Err(VerifyError { expiry: expiry(leaf), ..rejection(&err, leaf) })
            }
            Err(other) if !other.is_date() => Err(rejection(&other, leaf)),
            Err(_) => Err(rejection(&err, leaf)),
        }
    }

    /// Uses the public key alone, because webpki cannot parse every certificate that can be pinned.
    fn check_signature(
        &self,
        leaf: &CertificateDer<'_>,
        tls_version: &'static str,
        verify: impl FnOnce(&SubjectPublicKeyInfoDer<'_>) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(recorder) = &self.recorder.recorder {
            recorder.tls_version(tls_version);
        }
        let key = public_key(leaf).ok_or(CertificateError::BadEncoding)?;
        let valid = verify(&key).map_err(|err| unsupported_rsa_key(leaf).map_or(err, Error::from))?;
        // Only now has the server proved that the certificate is its own.
        if let Some(expiry) = expiry(leaf) {
            self.recorder.record(expiry);
        }
        Ok(valid)
    }
}

fn check_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), VerifyError> {
    let parsed = ParsedCertificate::try_from(leaf);
    match parsed.as_ref().map(|parsed| verify_server_name(parsed, name)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(wrong_name(leaf, name)),
        Err(_) => Err(rejection(&TrustError::leaf(Problem::Unparsable), leaf)),
    }
}

fn check_pins(pins: &[Pin], leaf: &CertificateDer<'_>) -> Result<(), VerifyError> {
    let got = Pin::of(leaf);
    if pins.contains(&got) {
        return Ok(());
    }
    let expected = pins.iter().map(Pin::to_string).collect::<Vec<_>>().join(" or ");
    Err(VerifyError::new(
        format!("its certificate has the SHA-256 {got}, but pin_sha256 is {expected}"),
        "if the certificate was renewed, compare the new fingerprint on the cluster and add it",
    ))
}

fn rejection(err: &TrustError, leaf: &CertificateDer<'_>) -> VerifyError {
    let problem = match &err.culprit {
        Culprit::Leaf => format!("its certificate {}", err.problem),
        Culprit::Anchor(name) if matches!(err.problem, Problem::NotCa | Problem::NoCertSign) => {
            format!("the trusted certificate {name} {}, so it is trusted for itself only", err.problem)
        }
        Culprit::Intermediate(name) => format!("its intermediate CA certificate {name} {}", err.problem),
        Culprit::Anchor(name) => format!("the trusted certificate {name} {}", err.problem),
    };
    let advice = match (&err.problem, &err.culprit) {
        (Problem::Expired, Culprit::Leaf) => return VerifyError::new(problem, "renew it"),
        (Problem::NotYetValid, _) => {
            return VerifyError::new(problem, "check the clocks of the cluster and of this host");
        }
        (Problem::Expired, Culprit::Intermediate(_)) => "renew it on the cluster",
        (Problem::Expired | Problem::NotCa | Problem::NoCertSign, Culprit::Anchor(_)) => {
            "set tls_config.ca_file (--cluster.ca-file) to a valid CA certificate"
        }
        (Problem::UnknownIssuer | Problem::BadSignature, _) => {
            "set tls_config.ca_file (--cluster.ca-file) to the certificate of its CA"
        }
        (Problem::CaAsLeaf, _) => "add it to tls_config.ca_file (--cluster.ca-file)",
        (Problem::CriticalExtension(_), _) => "reissue it without this extension",
        (Problem::TooComplex, _) => "shorten the chain",
        _ => "reissue it",
    };
    or_pin(problem, advice, leaf)
}

/// Also advises a pin, if it helps: the signatures of the server's key must be verifiable.
fn or_pin(problem: String, advice: &str, leaf: &CertificateDer<'_>) -> VerifyError {
    if let Some(err) = unsupported_rsa_key(leaf) {
        return err;
    }
    if !has_supported_key(leaf) {
        return VerifyError::new(problem, advice);
    }
    let pin = Pin::of(leaf);
    let advice = format!(
        "{advice}, or compare its SHA-256 {pin} on the cluster and set tls_config.pin_sha256 (--cluster.pin-sha256) to it"
    );
    VerifyError::new(problem, advice)
}

fn wrong_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> VerifyError {
    let (name, names) = (name.to_str(), alternative_names(leaf));
    let list = |usable: bool| {
        let names = names.iter().filter(|(is_usable, _)| *is_usable == usable).take(5);
        names.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (problem, advice) = match (&*list(true), &*list(false)) {
        ("", "") => ("its certificate has no subjectAltName, so it matches no host".to_owned(), "reissue it with one"),
        ("", unusable) => (
            format!("its certificate is not for {name}, and {unusable} matches no host"),
            "reissue it with a DNS name, or an address of the type IP",
        ),
        (usable, _) => (
            format!("its certificate is not for {name} but for {usable}"),
            "set tls_config.server_name to a name that it covers",
        ),
    };
    or_pin(problem, advice, leaf)
}

fn has_supported_key(leaf: &CertificateDer<'_>) -> bool {
    let algorithms = trust::provider().signature_verification_algorithms.all;
    let key = public_key(leaf);
    let Some(key) = key.as_ref().and_then(|key| RawPublicKeyEntity::try_from(key).ok()) else { return false };
    // An empty signature is always wrong, but webpki reports that only for keys that fit the algorithm.
    let check = |algorithm| key.verify_signature(algorithm, b"", b"");
    algorithms.iter().any(|algorithm| check(*algorithm) == Err(webpki::Error::InvalidSignatureForPublicKey))
}

fn unsupported_rsa_key(leaf: &CertificateDer<'_>) -> Option<VerifyError> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let PublicKey::RSA(key) = certificate.public_key().parsed().ok()? else { return None };
    let bits = key.key_size();
    (!RSA_BITS.contains(&bits)).then(|| {
        VerifyError::new(
            format!("its certificate has an RSA key of {bits} bits, which is not supported"),
            format!("use one with {} to {} bits on the cluster", RSA_BITS.start(), RSA_BITS.end()),
        )
    })
}

/// The subjectAltNames, and whether a host can match them; if not, with the reason. Other tools accept some of the latter,
/// such as an address of the type DNS.
fn alternative_names(leaf: &CertificateDer<'_>) -> Vec<(bool, String)> {
    let certificate = X509Certificate::from_der(leaf).ok().map(|(_, certificate)| certificate);
    let extension = certificate.as_ref().and_then(|certificate| certificate.subject_alternative_name().ok().flatten());
    let parsed = ParsedCertificate::try_from(leaf).ok();
    let matches_a_host = |pattern: &str| {
        let host = pattern.strip_prefix('*').map_or_else(|| pattern.to_owned(), |rest| format!("host{rest}"));
        let host = ServerName::try_from(host);
        host.is_ok_and(|host| parsed.as_ref().is_some_and(|parsed| verify_server_name(parsed, &host).is_ok()))
    };
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| {
        Some(match name {
            GeneralName::DNSName(name) if matches_a_host(name) => (true, (*name).to_owned()),
            GeneralName::DNSName(name) => {
                let reason = match name {
                    name if name.parse::<IpAddr>().is_ok() => "an address needs the type IP",
                    name if name.contains('*') => {
                        "a wildcard must be the whole first label, with at least two labels after it"
                    }
                    name if name.ends_with('.') => "it ends with a dot",
                    _ => "not a host name",
                };
                (false, format!("DNS:{name} ({reason})"))
            }
            GeneralName::IPAddress(bytes) => (true, san_address(bytes)?.to_string()),
            GeneralName::URI(uri) => (false, format!("URI:{uri}")),
            _ => (false, "a name of another type".to_owned()),
        })
    });
    let can_be_shown = |text: &str| text.len() <= 260 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    names.filter(|(_, text)| can_be_shown(text)).collect()
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        https_proxy::count_certificate();
        let verifier = self.current();
        if let Some(recorder) = &verifier.recorder.recorder {
            recorder.certificates(leaf, intermediates);
        }
        let checked = verifier.check(leaf, intermediates, verifier.name.as_ref().unwrap_or(name), now);
        if let Err(VerifyError { expiry: Some(expiry), .. }) = &checked {
            verifier.recorder.record(*expiry);
        }
        checked?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().check_signature(leaf, "1.2", |key| verify_tls12_signature_with_raw_key(message, key, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &trust::provider().signature_verification_algorithms;
        let current = self.current();
        current.check_signature(leaf, "1.3", |key| verify_tls13_signature_with_raw_key(message, key, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        trust::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What rustls offers for TLS 1.2 only with a certificate, and with a raw key only for TLS 1.3.
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let known =
        trust::provider().signature_verification_algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
    let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let good = candidates.iter().any(|algorithm| key.verify_signature(*algorithm, message, dss.signature()).is_ok());
    if good { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
}

fn public_key(leaf: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(certificate.public_key().raw.to_vec().into())
}

fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Timestamp::new(DateTime::from_timestamp(trust::not_after(leaf)?, 0)?)
}

// === impl VerifyError ===

impl VerifyError {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), expiry: None, problem: problem.into() }
    }

    /// The error behind rustls' error, if it is one of this module.
    pub fn from_rustls(err: &Error) -> Option<&Self> {
        match err {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<VerifyError> for Error {
    fn from(err: VerifyError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(err))))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const RSA_1024: &[u8] = include_bytes!("../../tests/fixtures/rsa-1024.pem");

    fn elliptic() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_pin_is_advised_only_where_it_works() {
        let check = |leaf: CertificateDer<'_>, has_pin: bool, words: &str| {
            for text in [
                rejection(&TrustError::leaf(Problem::UnknownIssuer), &leaf).to_string(),
                wrong_name(&leaf, &"b.test".try_into().unwrap()).to_string(),
            ] {
                assert_eq!(text.contains("pin_sha256"), has_pin, "{text}");
                assert!(text.contains(words), "{text}");
            }
        };
        check(elliptic().into(), true, "; set tls_config.");
        // The curve prime192v1 instead of prime256v1.
        let (curve, other) = (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x01");
        let mut unsupported = elliptic();
        let at = unsupported.windows(8).position(|bytes| bytes == curve).unwrap();
        unsupported[at..at + 8].copy_from_slice(other);
        check(unsupported.into(), false, "; set tls_config.");
        let rsa = CertificateDer::from_pem_slice(RSA_1024).unwrap();
        check(
            rsa,
            false,
            "an RSA key of 1024 bits, which is not supported; use one with 2048 to 8192 bits on the cluster",
        );
    }

    #[test]
    fn after_a_pin_the_size_of_an_unsupported_key_is_named() {
        let leaf = CertificateDer::from_pem_slice(RSA_1024).unwrap();
        let verifier = ServerVerifier::new(Trust::Pins(vec![Pin::of(&leaf)]), None);
        let err = verifier.check_signature(&leaf, "1.2", |_| Err(CertificateError::BadSignature.into())).unwrap_err();
        assert!(VerifyError::from_rustls(&err).unwrap().problem.contains("RSA key of 1024 bits"), "{err}");
    }
}
