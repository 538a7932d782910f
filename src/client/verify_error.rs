//! Why a server's certificate is not accepted, and what to do about it.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

use rustls::{
    CertificateError, Error, OtherError,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer},
    server::ParsedCertificate,
};
use webpki::RawPublicKeyEntity;
use x509_parser::{
    prelude::{FromDer, GeneralName, X509Certificate},
    public_key::PublicKey,
};

use super::pin::Pin;
use crate::{
    model::Timestamp,
    trust::{self, Culprit, Problem, TrustError, san_address},
};

/// The sizes of RSA keys whose signatures can be verified, in bits.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// A certificate that is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}; {advice}")]
pub struct VerifyError {
    /// What to change on the cluster or in its configuration.
    pub advice: String,
    /// What is wrong: a sentence about the server, without its subject.
    pub problem: String,
    /// When it expires, for the recorder: if nothing but its dates is wrong, so that it is the server's own.
    pub expiry: Option<Timestamp>,
}

// === impl VerifyError ===

impl VerifyError {
    pub fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
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

pub fn rejection(err: &TrustError, leaf: &CertificateDer<'_>) -> VerifyError {
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

pub fn wrong_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> VerifyError {
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

pub fn unsupported_rsa_key(leaf: &CertificateDer<'_>) -> Option<VerifyError> {
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

/// The subjectAltNames, and whether a host can match them; if not, with the reason. Other tools accept some that no host can
/// match here, such as an address of the type DNS.
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

pub fn public_key(leaf: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(certificate.public_key().raw.to_vec().into())
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
}
