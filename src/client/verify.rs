//! Whether a cluster's certificate is trusted.
//!
//! Three things that rustls does not do by itself: a pinned certificate, a name to verify that is not the URL's, and
//! a server's own certificate in the CA file (marked as a CA, as `openssl req -x509` makes them, it is refused by
//! webpki as a leaf, while OpenSSL and Go accept it as its own trust anchor).

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::DateTime;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{
    prelude::{FromDer, GeneralName, X509Certificate},
    public_key::PublicKey,
};

use super::{pin::Pin, words};
use crate::model::Timestamp;

/// What makes a certificate acceptable.
#[derive(Debug)]
pub enum Trust {
    /// Anything is.
    Anything,
    /// A chain to an authority, or one of `own` itself.
    Authorities {
        /// The certificates of the CA file, if there is one.
        own: Vec<CertificateDer<'static>>,
        /// The rules of the web's public key infrastructure.
        webpki: Arc<WebPkiServerVerifier>,
    },
    /// One of these certificates; chain, name and dates do not count.
    Pins(Vec<Pin>),
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
    /// When it expired, if that is why.
    expired: Option<Timestamp>,
    /// Why, and what to do about it.
    text: String,
}

// === impl Trust ===

impl Trust {
    /// Trust in the authorities of `roots`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn authorities(
        roots: RootCertStore,
        own: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self::Authorities { own, webpki })
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
    ) -> Result<(), Error> {
        match &*self.trust {
            Trust::Anything => Ok(()),
            Trust::Pins(pins) => check_pins(pins, leaf),
            Trust::Authorities { own, .. } if own.contains(leaf) => check_own(leaf, name, now),
            Trust::Authorities { webpki, .. } => {
                webpki.verify_server_cert(leaf, intermediates, name, &[], now).map(|_| ())
            }
        }
        .map_err(|err| explain(err, leaf, name))
    }

    /// The certificate was accepted before, and now the server has proved that it has the key.
    fn accepted(&self, leaf: &CertificateDer<'_>) {
        if let Some(expiry) = expiry(leaf) {
            self.recorder.record(expiry);
        }
    }
}

impl CertificateRecorder {
    pub fn expiry(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, expiry: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(expiry);
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
        let outcome = self.check(leaf, intermediates, self.name.as_ref().unwrap_or(name), now);
        if let Some(expired) = outcome.as_ref().err().and_then(expired) {
            self.recorder.record(expired);
        }
        outcome.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .inspect(|_| self.accepted(cert))
            .map_err(|err| explain_version(err, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .inspect(|_| self.accepted(cert))
            .map_err(|err| explain_version(err, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn check_pins(pins: &[Pin], leaf: &CertificateDer<'_>) -> Result<(), Error> {
    let got = Pin::of(leaf);
    if pins.contains(&got) {
        return Ok(());
    }
    let expected: Vec<String> = pins.iter().map(Pin::to_string).collect();
    Err(refusal(format!(
        "the cluster's certificate has the SHA-256 {got}, pin_sha256 expects {}; if the certificate was renewed, \
         compare the new fingerprint on the cluster and add it",
        expected.join(" or ")
    )))
}

/// The certificate is in the CA file itself: it needs no chain, but its name and its dates must fit.
fn check_own(leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let (from, to) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < from {
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    } else if now > to {
        Err(Error::InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

/// What rustls found wrong, with the way out.
fn explain(err: Error, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Error {
    use CertificateError as Problem;
    let pin = format!(
        "tls_config.pin_sha256 (--cluster.pin-sha256) to its SHA-256 {} after comparing that on the cluster",
        Pin::of(leaf)
    );
    let Error::InvalidCertificate(problem) = &err else { return err };
    let text = match problem {
        Problem::Other(other) if other.0.downcast_ref::<VerifyError>().is_some() => return err,
        _ if version(leaf).is_some_and(|version| version != 3) || rsa_bits(leaf).is_some_and(|bits| bits < 2048) => {
            return explain_version(err, leaf);
        }
        Problem::Expired | Problem::ExpiredContext { .. } => {
            let text = "the cluster's certificate has expired; renew it".to_owned();
            return refusal_with(text, expiry(leaf));
        }
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => {
            "the cluster's certificate is not valid yet; compare the clocks".to_owned()
        }
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => {
            let name = name.to_str();
            match names(leaf).as_slice() {
                [] => format!(
                    "the cluster's certificate has no subjectAltName, so it is for no name at all, {name} included; \
                     reissue it, or set {pin}"
                ),
                names => format!(
                    "the cluster's certificate is not for {name} but for {}; set tls_config.server_name to a name in it, \
                     or {pin}",
                    names.join(", ")
                ),
            }
        }
        // A bad signature is what an authority of the same name but another key gives: a self-signed certificate that
        // was made anew, or an authority that was.
        Problem::UnknownIssuer | Problem::BadSignature => format!(
            "the cluster's certificate is not signed by a trusted authority; set tls_config.ca_file (--cluster.ca-file) to \
             that authority, or {pin}"
        ),
        // webpki's CaUsedAsEndEntity arrives here: a self-signed certificate that is marked as a CA.
        Problem::Other(_) if is_ca(leaf) => format!(
            "the cluster's certificate is marked as a CA and not trusted itself; put this very certificate into \
             tls_config.ca_file (--cluster.ca-file), or set {pin}"
        ),
        problem => format!("the cluster's certificate {}; reissue it, or set {pin}", words::certificate(problem)),
    };
    refusal(text)
}

/// The names that a certificate is for, a few of them, as far as they are plain text.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            ref bytes => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    });
    let plain = |name: &String| name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_graphic());
    names.filter(plain).take(5).collect()
}

/// webpki cannot parse X.509 version 1 at all, and takes no short RSA keys, so not even a pin helps there.
fn explain_version(err: Error, leaf: &CertificateDer<'_>) -> Error {
    match (version(leaf), rsa_bits(leaf)) {
        (Some(version), _) if version != 3 => refusal(format!(
            "the cluster's certificate is X.509 version {version}, which cannot be used; put a version 3 certificate on the \
             cluster"
        )),
        (_, Some(bits)) if bits < 2048 => refusal(format!(
            "the cluster's certificate has an RSA key of {bits} bits, which is too short to be used; put one with 2048 bits \
             or more on the cluster"
        )),
        _ => err,
    }
}

/// The size of an RSA key.
fn rsa_bits(leaf: &CertificateDer<'_>) -> Option<usize> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

/// The version of a certificate that can be parsed.
fn version(leaf: &CertificateDer<'_>) -> Option<u32> {
    X509Certificate::from_der(leaf).ok().map(|(_, certificate)| certificate.version().0 + 1)
}

/// When a certificate expires.
pub fn expiry(leaf: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Timestamp::new(DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)?)
}

fn is_ca(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, certificate)| certificate.is_ca())
}

fn refusal(text: String) -> Error {
    refusal_with(text, None)
}

fn refusal_with(text: String, expired: Option<Timestamp>) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(VerifyError { expired, text }))))
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for VerifyError {}

/// The text of a refusal of ours, if that is what `err` holds: rustls prints it in its Debug form only.
pub fn refusal_text(err: &Error) -> Option<String> {
    verify_error(err).map(|refusal| refusal.text.clone())
}

/// When the certificate expired that was refused for that.
pub fn expired(err: &Error) -> Option<Timestamp> {
    verify_error(err)?.expired
}

fn verify_error(err: &Error) -> Option<&VerifyError> {
    match err {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
        _ => None,
    }
}
