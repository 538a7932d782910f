//! Checks of one certificate that webpki does not offer.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{Oid, OidRegistry},
    prelude::{FromDer, X509Certificate, X509Version},
};

use super::{Problem, Purpose};

/// A certificate with parsed extensions.
pub struct Certificate<'a>(X509Certificate<'a>);

/// The extensions below id-ce (2.5.29) that webpki evaluates.
const KNOWN_TO_WEBPKI: [u8; 6] = [15, 17, 19, 30, 31, 37];

/// Those about policies, which OpenSSL and Go evaluate as well.
const POLICIES: [u8; 4] = [32, 33, 36, 54];

// === impl Certificate ===

impl<'a> Certificate<'a> {
    /// `None` if any part of it cannot be parsed, or it has an extension twice.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        let is_evaluated = |id: &Oid<'_>| id_ce(id).is_some_and(|id| KNOWN_TO_WEBPKI.contains(&id));
        let has_error = certificate.extensions().iter().any(|extension| {
            is_evaluated(&extension.oid) && matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. })
        });
        (rest.is_empty() && !has_error && certificate.extensions_map().is_ok()).then_some(Self(certificate))
    }

    /// As [`Self::parse`], of version 3 only.
    pub fn parse_v3(der: &'a [u8]) -> Result<Self, Problem> {
        let certificate = Self::parse(der).ok_or(Problem::Unparsable)?;
        match certificate.0.version() {
            X509Version::V3 => Ok(certificate),
            X509Version(version) => Err(Problem::Version(version.saturating_add(1))),
        }
    }

    /// notBefore and notAfter, in Unix seconds.
    pub fn validity(&self) -> [i64; 2] {
        let validity = self.0.validity();
        [validity.not_before.timestamp(), validity.not_after.timestamp()]
    }

    pub fn x509(&self) -> &X509Certificate<'a> {
        &self.0
    }

    /// The subject alternative names of the types DNS, IP, email and URI, without their types.
    pub fn alternative_names(&self) -> Vec<String> {
        let extension = self.0.subject_alternative_name().ok().flatten();
        let names = extension.iter().flat_map(|extension| &extension.value.general_names);
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            GeneralName::IPAddress(bytes) => san_address(bytes).map(|address| address.to_string()),
            _ => None,
        };
        names.filter_map(text).collect()
    }

    /// The common name or else the subject, for messages: quoted, in printable ASCII, 64 characters at most.
    pub fn name(&self) -> String {
        let subject = self.0.subject();
        let common = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let text = common.map_or_else(|| subject.to_string(), str::to_owned);
        let mut text: String = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        if text.len() > 64 {
            text.truncate(61);
            text.push_str("...");
        }
        if text.is_empty() { "without a name".to_owned() } else { format!("\"{}\"", text.replace('"', "'")) }
    }

    /// Whether it may sign certificates (RFC 5280, sections 4.2.1.3 and 4.2.1.9).
    pub fn check_ca(&self) -> Result<(), Problem> {
        let constraints = self.0.basic_constraints().ok().flatten();
        if self.0.version() != X509Version::V3 || !constraints.is_some_and(|constraints| constraints.value.ca) {
            Err(Problem::NotCa)
        } else if self.0.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
            Err(Problem::NoCertSign)
        } else {
            Ok(())
        }
    }

    /// Whether it may be the anchor of a chain with this many intermediates.
    pub fn check_path_length(&self, intermediates: usize) -> Result<(), Problem> {
        let limit = self.0.basic_constraints().ok().flatten().and_then(|each| each.value.path_len_constraint);
        match limit.and_then(|limit| usize::try_from(limit).ok()) {
            Some(limit) if intermediates > limit => Err(Problem::PathLength),
            _ => Ok(()),
        }
    }

    pub fn check_purpose(&self, purpose: Purpose) -> Result<(), Problem> {
        let usage = self.0.extended_key_usage().ok().flatten();
        let allowed = usage.is_none_or(|usage| {
            usage.value.any
                || match purpose {
                    Purpose::Client => usage.value.client_auth,
                    Purpose::Server => usage.value.server_auth,
                }
        });
        if allowed { Ok(()) } else { Err(Problem::Purpose) }
    }

    pub fn check_dates(&self, now: UnixTime) -> Result<(), Problem> {
        let [from, to] = self.validity();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > to {
            Err(Problem::Expired)
        } else if now < from {
            Err(Problem::NotYetValid)
        } else {
            Ok(())
        }
    }

    /// Whether all critical extensions are evaluated. Those about policies have no effect in an anchor.
    pub fn check_extensions(&self, is_anchor: bool) -> Result<(), Problem> {
        let known = |id: u8| KNOWN_TO_WEBPKI.contains(&id) || (is_anchor && POLICIES.contains(&id));
        let unknown = |oid: &Oid<'_>| !id_ce(oid).is_some_and(known);
        match self.0.extensions().iter().find(|extension| extension.critical && unknown(&extension.oid)) {
            Some(extension) => Err(Problem::CriticalExtension(extension_name(&extension.oid))),
            None => Ok(()),
        }
    }
}

/// The address in a subjectAltName of the type IP.
pub fn san_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// In Unix seconds.
pub fn not_after(der: &CertificateDer<'_>) -> Option<i64> {
    Certificate::parse(der).map(|certificate| certificate.validity()[1])
}

/// The last number of an object identifier below id-ce, 2.5.29.
fn id_ce(oid: &Oid<'_>) -> Option<u8> {
    match oid.as_bytes() {
        [0x55, 0x1d, id] => Some(*id),
        _ => None,
    }
}

/// `certificatePolicies (2.5.29.32)`, or only the identifier if it has no name.
fn extension_name(oid: &Oid<'_>) -> String {
    let registry = OidRegistry::default().with_x509();
    let known = registry.get(oid).map(|entry| entry.sn());
    known.map_or_else(|| oid.to_string(), |name| format!("{name} ({oid})"))
}
