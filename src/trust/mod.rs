//! Which certificates are trusted, for clusters, for proxies and for the clients of the listener.
//!
//! webpki builds chains and verifies signatures, dates and constraints of the certificates that a peer sends. Of a trust
//! anchor it evaluates only name, key and name constraints. Added here is what OpenSSL and Go check as well: that an anchor
//! is a CA, its dates, path length, purpose and critical extensions; and that the key usage of intermediates allows them to
//! sign certificates.
//!
//! A certificate in a CA file that is not a CA is trusted only if the peer sends exactly this certificate.

mod certificate;
pub mod pem;

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DistinguishedName,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, TrustAnchor, UnixTime},
    time_provider::TimeProvider,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

pub use self::certificate::{Certificate, not_after, san_address};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    Client,
    Server,
}

/// rustls' cryptography. Every connector would have a copy otherwise.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

/// The system's clock for rustls, whose own provider panics when the clock is before 1970.
#[derive(Debug)]
pub struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        SystemTime::now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// The certificates of a CA file, or of the system.
#[derive(Debug, Default)]
pub struct TrustStore {
    /// Of each of `cas`, for webpki.
    anchors: Vec<TrustAnchor<'static>>,
    cas: Vec<CertificateDer<'static>>,
    /// The certificates that are not CAs.
    others: Vec<CertificateDer<'static>>,
}

/// Why a chain is not trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustError {
    pub culprit: Culprit,
    pub problem: Problem,
}

/// The certificate that is wrong; CAs by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Culprit {
    Anchor(String),
    Intermediate(String),
    Leaf,
}

/// What is wrong with a certificate: the rest of a sentence about it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("or one of its chain has an unsupported signature (SHA-1) or key (RSA needs 2048 to 8192 bits)")]
    Algorithm,
    /// Also of a CA that was renewed under the same name with another key.
    #[error("is not signed by a trusted CA")]
    BadSignature,
    #[error("is a CA certificate that is not trusted itself")]
    CaAsLeaf,
    #[error("has the critical extension {0}, which is not supported")]
    CriticalExtension(String),
    #[error("has expired")]
    Expired,
    #[error("has a name that a CA of its chain may not certify")]
    NameConstraint,
    #[error("signed another certificate, which its keyUsage does not allow")]
    NoCertSign,
    #[error("signed another certificate but is not a CA")]
    NotCa,
    #[error("is not valid yet")]
    NotYetValid,
    #[error("allows fewer intermediate certificates than there are")]
    PathLength,
    #[error("is not allowed for this use by its extendedKeyUsage")]
    Purpose,
    #[error("has a chain that is too long to verify")]
    TooComplex,
    #[error("cannot be parsed")]
    Unparsable,
    #[error("is not signed by a trusted CA")]
    UnknownIssuer,
    #[error("is of X.509 version {0}; only version 3 is supported")]
    Version(u32),
}

// === impl TrustStore ===

impl TrustStore {
    /// # Errors
    ///
    /// The index of a certificate that cannot be used, and why.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, (usize, Problem)> {
        let mut store = Self::default();
        for (index, certificate) in certificates.into_iter().enumerate() {
            store.add(certificate).map_err(|problem| (index, problem))?;
        }
        Ok(store)
    }

    /// The system's CA certificates, without those that cannot be used; may be empty.
    pub fn system() -> Self {
        let mut store = Self::default();
        for certificate in rustls_native_certs::load_native_certs().certs {
            let _ = store.add(certificate);
        }
        store
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Result<(), Problem> {
        let certificate = Certificate::parse_v3(&der)?;
        if certificate.check_ca().is_ok() {
            certificate.check_extensions(true)?;
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| Problem::Unparsable)?.to_owned();
            self.anchors.push(anchor);
            self.cas.push(der);
        } else {
            certificate.check_extensions(false)?;
            EndEntityCert::try_from(&der).map_err(|_| Problem::Unparsable)?;
            self.others.push(der);
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.cas.is_empty() && self.others.is_empty()
    }

    /// The names of acceptable CAs in a TLS CertificateRequest.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        let anchors = self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject));
        let others = self.others.iter().filter_map(|other| EndEntityCert::try_from(other).ok());
        anchors.chain(others.map(|other| DistinguishedName::in_sequence(other.subject()))).collect()
    }

    /// # Errors
    ///
    /// When there is no chain to a CA of the store, and the leaf is not in it.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), TrustError> {
        self.verify_at(leaf, intermediates, purpose, now, true)
    }

    /// Whether nothing but dates is wrong: the chain is valid at the leaf's notBefore or notAfter.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`].
    pub fn verify_without_dates(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
    ) -> Result<(), TrustError> {
        let dates = Certificate::parse_v3(leaf).map_err(TrustError::leaf)?.validity();
        let [from, to] = dates.map(|at| UnixTime::since_unix_epoch(Duration::from_secs(at.max(0).cast_unsigned())));
        let verify = |at| self.verify_at(leaf, intermediates, purpose, at, false);
        verify(from).or_else(|_| verify(to))
    }

    /// `dates`: whether the dates of the store's own certificates count; those of the peer's always do.
    fn verify_at(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        dates: bool,
    ) -> Result<(), TrustError> {
        let certificate = Certificate::parse_v3(leaf).map_err(TrustError::leaf)?;
        if self.cas.contains(leaf) || self.others.contains(leaf) {
            let dated = if dates { certificate.check_dates(now) } else { Ok(()) };
            return dated
                .and_then(|()| certificate.check_purpose(purpose))
                .and_then(|()| certificate.check_extensions(false))
                .map_err(TrustError::leaf);
        }
        let parsed =
            EndEntityCert::try_from(leaf).map_err(|err| self.find_culprit(&err, &certificate, intermediates, now))?;
        let found = RefCell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            self.check_path(path, purpose, dates.then_some(now)).map_err(|err| {
                found.replace(Some(err));
                webpki::Error::UnknownIssuer
            })
        };
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let algorithms = provider().signature_verification_algorithms.all;
        let verified =
            parsed.verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, Some(&check));
        let explain = |err| found.take().unwrap_or_else(|| self.find_culprit(&err, &certificate, intermediates, now));
        verified.map(drop).map_err(explain)
    }

    /// The checks that webpki does not make, of a path that it has verified.
    fn check_path(&self, path: &VerifiedPath<'_>, purpose: Purpose, now: Option<UnixTime>) -> Result<(), TrustError> {
        let mut intermediates = 0;
        for intermediate in path.intermediate_certificates() {
            let der = intermediate.der();
            let certificate = Certificate::parse(&der).ok_or_else(|| TrustError::leaf(Problem::Unparsable))?;
            certificate.check_ca().map_err(|problem| TrustError::intermediate(&certificate, problem))?;
            intermediates += 1;
        }
        // webpki does not tell a CA certificate from its renewal with the same key; one of them may still be valid.
        let same = self.anchors.iter().zip(&self.cas).filter(|(anchor, _)| *anchor == path.anchor());
        let mut outcome = Err(TrustError::leaf(Problem::UnknownIssuer));
        for certificate in same.filter_map(|(_, der)| Certificate::parse(der)) {
            outcome = now
                .map_or(Ok(()), |now| certificate.check_dates(now))
                .and_then(|()| certificate.check_path_length(intermediates))
                .and_then(|()| certificate.check_purpose(purpose))
                .map_err(|problem| TrustError { culprit: Culprit::Anchor(certificate.name()), problem });
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Finds the certificate that an error of webpki is about.
    fn find_culprit(
        &self,
        err: &webpki::Error,
        leaf: &Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> TrustError {
        use webpki::Error as E;
        let intermediates: Vec<_> = intermediates.iter().filter_map(|der| Certificate::parse(der)).collect();
        let first = |check: &dyn Fn(&Certificate<'_>) -> Result<(), Problem>, otherwise: Problem| match check(leaf) {
            Err(problem) => TrustError::leaf(problem),
            Ok(()) => intermediates
                .iter()
                .find_map(|each| Some(TrustError::intermediate(each, check(each).err()?)))
                .unwrap_or(TrustError::leaf(otherwise)),
        };
        match err {
            E::CertExpired { .. } | E::InvalidCertValidity => first(&|each| each.check_dates(now), Problem::Expired),
            E::CertNotValidYet { .. } => first(&|each| each.check_dates(now), Problem::NotYetValid),
            E::UnsupportedCriticalExtension => {
                first(&|each| each.check_extensions(false), Problem::CriticalExtension("of an unknown kind".to_owned()))
            }
            E::EndEntityUsedAsCa => intermediates
                .iter()
                .find_map(|each| Some(TrustError::intermediate(each, each.check_ca().err()?)))
                .unwrap_or(TrustError::leaf(Problem::NotCa)),
            E::CaUsedAsEndEntity => TrustError::leaf(Problem::CaAsLeaf),
            E::InvalidSignatureForPublicKey => TrustError::leaf(Problem::BadSignature),
            E::NameConstraintViolation => TrustError::leaf(Problem::NameConstraint),
            E::PathLenConstraintViolated => TrustError::leaf(Problem::PathLength),
            E::EmptyEkuExtension | E::RequiredEkuNotFoundContext(_) => TrustError::leaf(Problem::Purpose),
            E::UnknownIssuer => {
                // The issuer may be in the store without being a CA.
                let issued =
                    [leaf].into_iter().chain(&intermediates).filter(|_| leaf.x509().subject() != leaf.x509().issuer());
                let issuers: Vec<_> = issued.map(|each| each.x509().issuer()).collect();
                let others = self.others.iter().filter_map(|der| Certificate::parse(der));
                let mut issuers = others.filter(|other| issuers.contains(&other.x509().subject()));
                let not_ca = issuers.find_map(|other| {
                    Some(TrustError { culprit: Culprit::Anchor(other.name()), problem: other.check_ca().err()? })
                });
                not_ca.unwrap_or(TrustError::leaf(Problem::UnknownIssuer))
            }
            E::UnsupportedSignatureAlgorithmContext(_) | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                TrustError::leaf(Problem::Algorithm)
            }
            E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded => TrustError::leaf(Problem::TooComplex),
            _ => TrustError::leaf(Problem::Unparsable),
        }
    }
}

// === impl TrustError ===

impl TrustError {
    pub fn leaf(problem: Problem) -> Self {
        Self { culprit: Culprit::Leaf, problem }
    }

    fn intermediate(certificate: &Certificate<'_>, problem: Problem) -> Self {
        Self { culprit: Culprit::Intermediate(certificate.name()), problem }
    }

    pub fn is_date(&self) -> bool {
        matches!(self.problem, Problem::Expired | Problem::NotYetValid)
    }
}

/// rustls chooses the alert to a client by it.
impl From<TrustError> for rustls::Error {
    fn from(err: TrustError) -> Self {
        Self::InvalidCertificate(match (err.culprit, err.problem) {
            (Culprit::Leaf, Problem::Expired) => CertificateError::Expired,
            (Culprit::Leaf, Problem::NotYetValid) => CertificateError::NotValidYet,
            (_, Problem::BadSignature) => CertificateError::BadSignature,
            (_, Problem::Purpose) => CertificateError::InvalidPurpose,
            (_, Problem::Unparsable) => CertificateError::BadEncoding,
            _ => CertificateError::UnknownIssuer,
        })
    }
}

#[cfg(test)]
mod tests;
