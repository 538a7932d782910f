//! Verification of server certificates: the checks of [`crate::trust`], plus what rustls does not offer: pinned
//! certificates, and a name to verify other than the URL's host.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use chrono::DateTime;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    SupportedProtocolVersion,
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

use super::{
    error_text::{self, TlsPeer},
    https_proxy,
    pin::Pin,
    recorder::Recorder,
    verify_error::{VerifyError, public_key, rejection, unsupported_rsa_key, wrong_name},
};
use crate::{
    lock::lock,
    model::Timestamp,
    trust::{self, Problem, Purpose, TrustError, TrustStore, WallClock},
};

#[derive(Debug)]
pub enum Trust {
    Anything,
    /// None: the handshake ends once the certificate has been recorded.
    Nothing,
    /// One of these certificates, whatever its chain, name and dates.
    Pins(Vec<Pin>),
    Store(Arc<TrustStore>),
}

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

    /// The TLS configuration of a client that uses this verifier, without a client certificate yet.
    ///
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

    /// Adapts a shared configuration to one client: its recorder, and the verifier of its proxy if that speaks TLS.
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
            Ok(()) => check_name(leaf, name).and(Err(VerifyError { expiry: expiry(leaf), ..rejection(&err, leaf) })),
            Err(other) => Err(rejection(if other.is_date() { &err } else { &other }, leaf)),
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

fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Timestamp::new(DateTime::from_timestamp(trust::not_after(leaf)?, 0)?)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const RSA_1024: &[u8] = include_bytes!("../../tests/fixtures/rsa-1024.pem");

    #[test]
    fn after_a_pin_the_size_of_an_unsupported_key_is_named() {
        let leaf = CertificateDer::from_pem_slice(RSA_1024).unwrap();
        let verifier = ServerVerifier::new(Trust::Pins(vec![Pin::of(&leaf)]), None);
        let err = verifier.check_signature(&leaf, "1.2", |_| Err(CertificateError::BadSignature.into())).unwrap_err();
        assert!(VerifyError::from_rustls(&err).unwrap().problem.contains("RSA key of 1024 bits"), "{err}");
    }
}
