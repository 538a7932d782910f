//! Whether a cluster's certificate is trusted, and what to do if it is not.
//!
//! Three things that rustls does not do by itself: a pinned certificate, a name to verify that is not the URL's, and the
//! judgement of [`crate::trust`] about CA files.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::DateTime;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use webpki::RawPublicKeyEntity;
use x509_parser::{
    prelude::{FromDer, GeneralName, X509Certificate},
    public_key::PublicKey,
};

use super::pin::Pin;
use crate::{
    lock::lock,
    model::Timestamp,
    trust::{self, Culprit, Problem, Purpose, TrustError, TrustStore},
};

/// What makes a certificate acceptable.
#[derive(Debug)]
pub enum Trust {
    Anything,
    /// One of these certificates; chain, name and dates do not count.
    Pins(Vec<Pin>),
    Store(Arc<TrustStore>),
}

/// A verifier for one set of TLS settings.
#[derive(Clone, Debug)]
pub struct ServerVerifier {
    name: Option<ServerName<'static>>,
    recorder: Arc<CertificateRecorder>,
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
}

/// When the certificate expires that a cluster showed.
#[derive(Debug, Default)]
pub struct CertificateRecorder(Mutex<Option<Timestamp>>);

/// A certificate that is not accepted.
#[derive(Debug)]
struct VerifyError {
    /// When it expires, if it is the cluster's beyond doubt: nothing but a date is wrong.
    expiry: Option<Timestamp>,
    /// Why, and what to do about it.
    text: String,
}

/// The sizes of RSA keys that the provider verifies signatures with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Shows the client certificate, if there is one, and notes that it was asked for.
#[derive(Debug)]
pub struct RequestRecorder {
    requested: Arc<AtomicBool>,
    resolver: Arc<dyn ResolvesClientCert>,
}

// === impl RequestRecorder ===

impl RequestRecorder {
    /// Notes in `requested` whether a connection that begins from now on asks for it.
    pub fn new(resolver: Arc<dyn ResolvesClientCert>, requested: Arc<AtomicBool>) -> Arc<Self> {
        requested.store(false, Ordering::Relaxed);
        Arc::new(Self { requested, resolver })
    }
}

impl ResolvesClientCert for RequestRecorder {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.requested.store(true, Ordering::Relaxed);
        self.resolver.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.resolver.has_certs()
    }
}

// === impl ServerVerifier ===

impl ServerVerifier {
    /// `name` is the name to verify in place of the URL's host.
    pub fn new(trust: Trust, name: Option<ServerName<'static>>, provider: Arc<CryptoProvider>) -> Self {
        Self { name, provider, recorder: Arc::default(), trust: Arc::new(trust) }
    }

    /// The same trust, with a recorder of its own.
    pub fn with_recorder(&self, recorder: Arc<CertificateRecorder>) -> Self {
        Self { recorder, ..self.clone() }
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
            Trust::Pins(pins) => return check_pins(pins, leaf),
            Trust::Store(store) => store,
        };
        let Err(err) = store.verify(leaf, intermediates, now, Purpose::Server) else {
            return self.check_name(leaf, name);
        };
        if !err.is_date() {
            return Err(self.refusal(&err, leaf));
        }
        // A stranger's certificate may have expired too; in the cluster's nothing else is wrong.
        match store.verify_without_dates(leaf, intermediates, Purpose::Server) {
            Ok(()) => {
                self.check_name(leaf, name)?;
                Err(VerifyError { expiry: expiry(leaf), ..self.refusal(&err, leaf) })
            }
            Err(other) if !other.is_date() => Err(self.refusal(&other, leaf)),
            Err(_) => Err(self.refusal(&err, leaf)),
        }
    }

    fn check_name(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), VerifyError> {
        let parsed = ParsedCertificate::try_from(leaf);
        match parsed.as_ref().map(|parsed| verify_server_name(parsed, name)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.wrong_name(leaf, name)),
            Err(_) => Err(self.refusal(&TrustError::leaf(Problem::Unparsable), leaf)),
        }
    }

    /// What is wrong, with the way out.
    fn refusal(&self, err: &TrustError, leaf: &CertificateDer<'_>) -> VerifyError {
        if let Some(text) = rsa_size(leaf) {
            return text.into();
        }
        let who = match &err.culprit {
            Culprit::Leaf => "the cluster's certificate".to_owned(),
            Culprit::Intermediate(name) => format!("the intermediate CA certificate {name} that the cluster sends"),
            Culprit::Anchor(name) => format!("the trusted CA certificate {name}"),
        };
        let (problem, advice) = match (&err.problem, &err.culprit) {
            (Problem::Expired, Culprit::Leaf) => return format!("{who} has expired; renew it").into(),
            (Problem::Expired, Culprit::Intermediate(_)) => ("has expired", "renew it on the cluster"),
            (Problem::Expired, Culprit::Anchor(_)) => {
                ("has expired", "set tls_config.ca_file (--cluster.ca-file) to the CA's new certificate")
            }
            (Problem::NotYetValid, _) => return format!("{who} is not valid yet; compare the clocks").into(),
            // A bad signature is what a CA of the same name but another key gives: a self-signed certificate that was
            // made anew, or a CA that was.
            (Problem::UnknownIssuer | Problem::BadSignature, _) => {
                ("is not signed by a trusted CA", "set tls_config.ca_file (--cluster.ca-file) to that CA's certificate")
            }
            (Problem::CaAsLeaf, _) => (
                "is marked as a CA and not trusted itself",
                "put this very certificate into tls_config.ca_file (--cluster.ca-file)",
            ),
            (Problem::NotCa | Problem::NoCertSign, Culprit::Anchor(name)) => {
                let lack = if err.problem == Problem::NotCa { "is not a CA" } else { "may not sign (its keyUsage)" };
                let text = format!(
                    "the cluster's certificate is signed by {name}, which is in ca_file but {lack} and is trusted for itself \
                     only"
                );
                return self.advise(&text, "set tls_config.ca_file (--cluster.ca-file) to a CA's certificate", leaf);
            }
            (Problem::NotCa, _) => ("signs others and is not a CA", "reissue it"),
            (Problem::NoCertSign, _) => ("signs others and may not (its keyUsage lacks keyCertSign)", "reissue it"),
            (Problem::CriticalExtension(name), _) => {
                let text = format!("{who} has the critical extension {name}, which the exporter does not support");
                return self.advise(&text, "reissue it without", leaf);
            }
            (Problem::PathLength, _) => ("allows fewer intermediate certificates than there are", "reissue it"),
            (Problem::Purpose, Culprit::Leaf) => ("is not for servers (its extendedKeyUsage lacks it)", "reissue it"),
            (Problem::Purpose, _) => ("is not for issuing to servers (its extendedKeyUsage lacks it)", "reissue it"),
            (Problem::NameConstraint, _) => ("has a name that a CA of its chain may not certify", "reissue it"),
            (Problem::Algorithm, _) => (
                "or one of its chain is signed in a way that is not supported, such as SHA-1 or RSA below 2048 bits",
                "reissue it",
            ),
            (Problem::TooComplex, _) => ("has a chain that is too long to be verified", "shorten it"),
            (Problem::Version(version), _) => {
                let text = format!("{who} is X.509 version {version}, of which no name can be verified");
                return self.advise(&text, "put a version 3 certificate on the cluster", leaf);
            }
            (Problem::Unparsable, _) => ("cannot be parsed", "reissue it"),
        };
        self.advise(&format!("{who} {problem}"), advice, leaf)
    }

    /// A pin is advised where it works only: with a key whose signatures can be verified.
    fn advise(&self, problem: &str, advice: &str, leaf: &CertificateDer<'_>) -> VerifyError {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let key = public_key(leaf);
        let key = key.as_ref().and_then(|key| RawPublicKeyEntity::try_from(key).ok());
        // An empty signature is refused, but not for the kind of the key if that is known.
        let works = key.is_some_and(|key| {
            let outcomes = algorithms.iter().map(|algorithm| key.verify_signature(*algorithm, b"", b""));
            outcomes.into_iter().any(|outcome| outcome == Err(webpki::Error::InvalidSignatureForPublicKey))
        });
        let pin = if works {
            format!(
                ", or set tls_config.pin_sha256 (--cluster.pin-sha256) to its SHA-256 {} after comparing that on the cluster",
                Pin::of(leaf)
            )
        } else {
            String::new()
        };
        format!("{problem}; {advice}{pin}").into()
    }

    /// Names that can be verified, and those that never can.
    fn wrong_name(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> VerifyError {
        let name = name.to_str();
        let names = alternative_names(leaf);
        let joined = |good: bool| {
            let names = names.iter().filter(|each| each.fault.is_none() == good).take(5);
            names.map(|each| format!("{}{}", each.text, each.fault.unwrap_or_default())).collect::<Vec<_>>().join(", ")
        };
        let (good, bad) = (joined(true), joined(false));
        let exact = names.iter().any(|each| each.fault.is_none() && !each.text.starts_with('*'));
        let also = if bad.is_empty() { String::new() } else { format!(" (and not for {bad})") };
        let problem = "the cluster's certificate";
        if names.is_empty() {
            let text = format!("{problem} has no subjectAltName, so it is for no name at all, {name} included");
            self.advise(&text, "reissue it", leaf)
        } else if good.is_empty() {
            let text = format!("{problem} is not for {name}, nor for any other name: it has {bad}");
            self.advise(&text, "reissue it", leaf)
        } else if exact {
            let text = format!("{problem} is not for {name} but for {good}{also}");
            self.advise(&text, "set tls_config.server_name to a name in it", leaf)
        } else {
            let text = format!("{problem} is not for {name} but for {good}{also}");
            self.advise(&text, "set tls_config.server_name to a name with one label in place of the *", leaf)
        }
    }

    /// By its public key alone, because webpki cannot parse every certificate that can be pinned.
    fn check_signature(
        &self,
        leaf: &CertificateDer<'_>,
        verify: impl FnOnce(&SubjectPublicKeyInfoDer<'_>) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(leaf).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let valid = verify(&key).map_err(|err| rsa_size(leaf).map_or(err, |text| VerifyError::from(text).into()))?;
        // Only now has the server proved that the certificate is its own.
        if let Some(expiry) = expiry(leaf) {
            self.recorder.record(expiry);
        }
        Ok(valid)
    }
}

impl CertificateRecorder {
    pub fn expiry(&self) -> Option<Timestamp> {
        *lock(&self.0)
    }

    fn record(&self, expiry: Timestamp) {
        *lock(&self.0) = Some(expiry);
    }
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
        let checked = self.check(leaf, intermediates, self.name.as_ref().unwrap_or(name), now);
        if let Err(VerifyError { expiry: Some(expiry), .. }) = &checked {
            self.recorder.record(*expiry);
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
        let algorithms = &self.provider.signature_verification_algorithms;
        self.check_signature(leaf, |key| verify_tls12_signature_with_raw_key(message, key, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.check_signature(leaf, |key| verify_tls13_signature_with_raw_key(message, key, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// As rustls does it for TLS 1.2 with a certificate, and for TLS 1.3 with a key.
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
    let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let good = candidates.iter().any(|algorithm| key.verify_signature(*algorithm, message, dss.signature()).is_ok());
    if good { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
}

fn check_pins(pins: &[Pin], leaf: &CertificateDer<'_>) -> Result<(), VerifyError> {
    let got = Pin::of(leaf);
    if pins.contains(&got) {
        return Ok(());
    }
    let expected: Vec<String> = pins.iter().map(Pin::to_string).collect();
    Err(VerifyError::from(format!(
        "the cluster's certificate has the SHA-256 {got}, pin_sha256 expects {}; if the certificate was renewed, \
         compare the new fingerprint on the cluster and add it",
        expected.join(" or ")
    )))
}

/// A name in a certificate, for messages.
struct AlternativeName {
    /// Why it is no name of a server.
    fault: Option<&'static str>,
    text: String,
}

fn alternative_names(leaf: &CertificateDer<'_>) -> Vec<AlternativeName> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let parsed = ParsedCertificate::try_from(leaf).ok();
    let verifies = |text: &str| {
        // A wildcard stands for one label.
        let name = text.strip_prefix('*').map_or_else(|| text.to_owned(), |rest| format!("name{rest}"));
        let name = ServerName::try_from(name);
        name.is_ok_and(|name| parsed.as_ref().is_some_and(|parsed| verify_server_name(parsed, &name).is_ok()))
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) if verifies(text) => AlternativeName { fault: None, text: (*text).to_owned() },
        GeneralName::DNSName(text) => AlternativeName {
            fault: Some(match text {
                text if text.parse::<IpAddr>().is_ok() => ", an address as a DNS name: it has to be of the kind IP",
                text if text.contains('*') => ", with a wildcard that is not the whole first label",
                text if text.ends_with('.') => ", with a dot at its end",
                _ => ", which is not a host name",
            }),
            text: format!("DNS:{text}"),
        },
        GeneralName::IPAddress(bytes) => match address(bytes) {
            Some(address) => AlternativeName { fault: None, text: address.to_string() },
            None => AlternativeName { fault: Some(", which is not an address"), text: "IP".to_owned() },
        },
        GeneralName::URI(text) => {
            AlternativeName { fault: Some(", which does not count"), text: format!("URI:{text}") }
        }
        GeneralName::RFC822Name(text) => {
            AlternativeName { fault: Some(", which does not count"), text: format!("email:{text}") }
        }
        _ => AlternativeName { fault: Some(", which does not count"), text: "a name of another kind".to_owned() },
    };
    let plain = |name: &AlternativeName| {
        name.text.len() <= 260 && name.text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    extension.value.general_names.iter().map(name).filter(plain).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn public_key(leaf: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(certificate.public_key().raw.to_vec().into())
}

/// What to say of an RSA key that no signature can be verified with, so that not even a pin helps.
fn rsa_size(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let PublicKey::RSA(key) = certificate.public_key().parsed().ok()? else { return None };
    let bits = key.key_size();
    (!RSA_BITS.contains(&bits)).then(|| {
        format!(
            "the cluster's certificate has an RSA key of {bits} bits, which cannot be used; put one with {} to {} bits on the \
             cluster",
            RSA_BITS.start(),
            RSA_BITS.end()
        )
    })
}

/// When a certificate expires.
pub fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Timestamp::new(DateTime::from_timestamp(trust::not_after(leaf)?, 0)?)
}

impl From<String> for VerifyError {
    fn from(text: String) -> Self {
        Self { expiry: None, text }
    }
}

impl From<VerifyError> for Error {
    fn from(err: VerifyError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(err))))
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for VerifyError {}

/// The text of a refusal of ours, if that is what `err` holds: rustls prints it in its Debug form only.
pub fn refusal_text(err: &Error) -> Option<String> {
    match err {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref().map(|VerifyError { text, .. }| text.clone())
        }
        _ => None,
    }
}
