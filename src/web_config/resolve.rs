//! Turns the web configuration file into the policy of the listener, or reports every error.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::{HeaderName, HeaderValue};
use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::CryptoProvider,
    version::{TLS12, TLS13},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    names,
    raw::{Raw, RawRate, RawTls},
};
use crate::{
    config::ConfigErrors,
    file::{self, ConfiguredPath},
    trust::{
        TrustStore, not_after,
        pem::{self, PemError},
    },
    web::{
        basic_auth::Users,
        policy::ListenerPolicy,
        rate_limit::RateLimit,
        tls::{self, ClientAuth, Tls},
    },
};

/// The headers that may be set, and their allowed values; none means any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// Resolves `tls_server_config`.
struct TlsSection<'a> {
    folder: &'a Path,
    errors: &'a mut ConfigErrors,
    raw: &'a RawTls,
}

/// An empty value counts as absent, as in the exporter toolkit.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// The files that are named in `raw`.
pub fn files(raw: &Raw, folder: &Path) -> Vec<PathBuf> {
    let tls = raw.tls_server_config.iter();
    let files = tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
    files.filter_map(given).map(|file| folder.join(file)).collect()
}

/// The result is valid if no errors were added.
pub fn resolve(raw: &Raw, folder: &Path, errors: &mut ConfigErrors) -> ListenerPolicy {
    let tls = raw.tls_server_config.as_ref().and_then(|raw| TlsSection { folder, errors, raw }.resolve());
    let headers = headers(raw.http_server_config.iter().flat_map(|http| http.headers.iter().flatten()), errors);
    let users = users(raw.basic_auth_users.iter().flatten(), errors);
    let rate = raw.rate_limit.as_ref().and_then(|raw| rate(raw, errors));
    ListenerPolicy { headers, rate, superseded: CancellationToken::new(), tls, users }
}

fn headers<'a>(
    raw: impl Iterator<Item = (&'a String, &'a String)>,
    errors: &mut ConfigErrors,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, text) in raw {
        let place = format!("http_server_config.headers.{name}");
        let Some((_, allowed)) = HEADERS.iter().find(|(each, _)| each == name) else {
            let names = HEADERS.map(|(name, _)| name).join(", ");
            errors.add(place, format!("HTTP header \"{name}\" can not be configured; those that can are {names}"));
            continue;
        };
        if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
            errors.add(place, format!("invalid value for {name}. Expected one of: {}", allowed.join(", ")));
            continue;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(text)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => errors.add(place, "has characters that a header cannot have"),
        }
    }
    headers
}

fn users<'a>(raw: impl Iterator<Item = (&'a String, &'a String)>, errors: &mut ConfigErrors) -> Option<Users> {
    let mut users = BTreeMap::new();
    for (name, hash) in raw {
        let place = format!("basic_auth_users.{name}");
        match hash.parse() {
            _ if name.contains(':') => errors.add(place, "a user's name cannot hold a colon: HTTP ends it there"),
            Ok(hash) => drop(users.insert(name.clone(), hash)),
            Err(problem) => errors.add(place, problem),
        }
    }
    Users::new(users)
}

fn rate(raw: &RawRate, errors: &mut ConfigErrors) -> Option<Arc<RateLimit>> {
    let text = raw.interval.as_deref()?;
    match names::go_duration(text) {
        Some(interval) if interval.is_zero() => None,
        Some(interval) => Some(Arc::new(RateLimit::new(interval, raw.burst.unwrap_or(0)))),
        None => {
            errors.add("rate_limit.interval", "not a duration; write one such as 1s, 500ms or 1m30s");
            None
        }
    }
}

// === impl TlsSection ===

impl TlsSection<'_> {
    fn resolve(mut self) -> Option<Tls> {
        let raw = self.raw;
        let is_verified = given(&raw.client_auth_type) == Some("RequireAndVerifyClientCert");
        if raw.client_allowed_sans.as_ref().is_some_and(|names| !names.is_empty()) && !is_verified {
            // Anybody can make a certificate with these names, and omit it where none is required.
            self.error(
                "client_allowed_sans",
                "protects nothing unless clients must have a certificate from a trusted CA: set client_auth_type to \
                 RequireAndVerifyClientCert",
            );
        }
        let RawTls { cert, cert_file, key, key_file, client_ca, client_ca_file, client_auth_type, .. } = raw;
        // The other keys alone do not enable TLS, as in the exporter toolkit.
        let enabling = [cert, cert_file, key, key_file, client_ca, client_ca_file, client_auth_type];
        enabling.into_iter().find_map(given)?;
        for (name, values) in [("cert", [cert, cert_file]), ("key", [key, key_file])] {
            if values.into_iter().all(|value| given(value).is_none()) {
                self.error(&format!("{name}_file"), format!("missing one of {name} or {name}_file"));
            }
        }
        let chain = self.pem("cert", cert, cert_file, pem::chain);
        let key = self.pem("key", key, key_file, pem::private_key);
        let client = self.client();
        let versions = self.versions();
        let provider = self.provider();
        let (chain, client) = (chain?, client?);
        let not_after = chain.first().and_then(not_after);
        let verifies_clients = client.as_ref().is_some_and(|client| client.store.is_some());
        match tls::server_config(chain, key?, client, provider?, &versions?) {
            Ok(config) => Some(Tls { config: Arc::new(config), not_after, rules: self.rules(), verifies_clients }),
            Err(problem) => {
                self.error("cert_file", format!("cannot be used: {problem}"));
                None
            }
        }
    }

    fn rules(&self) -> String {
        let RawTls { client_auth_type, client_allowed_sans, client_ca, client_ca_file, .. } = self.raw;
        let RawTls { min_version, max_version, cipher_suites, curve_preferences, .. } = self.raw;
        let file = given(client_ca_file).and_then(|file| file::read(&self.folder.join(file), file::MAX_PEM).ok());
        let ca = file.map_or_else(|| client_ca.clone().unwrap_or_default().into_bytes(), |file| file.bytes);
        let client = (client_auth_type, client_allowed_sans, ca);
        format!("{:?}", (client, min_version, max_version, cipher_suites, curve_preferences))
    }

    /// Parses the PEM text of a setting, which is inline or in a file. `None` if it is absent or invalid.
    fn pem<T>(
        &mut self,
        key: &str,
        text: &Option<String>,
        file: &Option<String>,
        parse: fn(&[u8]) -> Result<T, PemError>,
    ) -> Option<T> {
        let (key, bytes) = match given(file) {
            Some(file) => {
                let path = ConfiguredPath::new(self.folder, Path::new(file));
                let read = file::read(path.path(), file::MAX_PEM).map(|content| content.bytes);
                (format!("{key}_file"), read.map_err(|err| format!("cannot use {}: {err}", path.redacted())))
            }
            None => (key.to_owned(), Ok(given(text)?.as_bytes().to_vec())),
        };
        let parsed = bytes.and_then(|bytes| parse(&Zeroizing::new(bytes)).map_err(|err| err.to_string()));
        parsed.map_err(|problem| self.error(&key, problem)).ok()
    }

    /// The outer `None` is an error, the inner one requests no certificate.
    fn client(&mut self) -> Option<Option<ClientAuth>> {
        let RawTls { client_ca, client_ca_file, client_auth_type, client_allowed_sans, .. } = self.raw;
        let has_ca = [client_ca, client_ca_file].into_iter().any(|value| given(value).is_some());
        let (mandatory, is_verified) = match given(client_auth_type).unwrap_or("NoClientCert") {
            "NoClientCert" if has_ca => {
                self.error(
                    "client_auth_type",
                    "client CA's have been configured without a Client Auth Policy; write RequireAndVerifyClientCert",
                );
                return None;
            }
            "NoClientCert" => return Some(None),
            "RequestClientCert" => (false, false),
            "RequireAnyClientCert" | "RequireClientCert" => (true, false),
            "VerifyClientCertIfGiven" => (false, true),
            "RequireAndVerifyClientCert" => (true, true),
            other => {
                let problem = format!(
                    "invalid ClientAuth: {other}; write NoClientCert, RequestClientCert, RequireAnyClientCert, \
                     VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                );
                self.error("client_auth_type", problem);
                return None;
            }
        };
        let store = match (is_verified, has_ca) {
            (false, _) => None,
            (true, true) => Some(self.pem("client_ca", client_ca, client_ca_file, pem::trust_store)?),
            // As in Go.
            (true, false) => Some(TrustStore::system()),
        };
        if store.as_ref().is_some_and(TrustStore::is_empty) {
            self.error("client_ca_file", "is missing, and this system has no CA certificates");
            return None;
        }
        Some(Some(ClientAuth { allowed_sans: client_allowed_sans.clone().unwrap_or_default(), mandatory, store }))
    }

    fn versions(&mut self) -> Option<Vec<&'static SupportedProtocolVersion>> {
        let raw = self.raw;
        let mut bound = |key, value, default| {
            let version = names::version(given(value).unwrap_or(default)).map_err(|problem| self.error(key, problem));
            version.ok().map(|version| u16::from(version.version))
        };
        let (min, max) =
            (bound("min_version", &raw.min_version, "TLS12"), bound("max_version", &raw.max_version, "TLS13"));
        let range = min?..=max?;
        if range.is_empty() {
            self.error("max_version", "is below min_version");
            return None;
        }
        Some([&TLS12, &TLS13].into_iter().filter(|each| range.contains(&u16::from(each.version))).collect())
    }

    fn provider(&mut self) -> Option<CryptoProvider> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let suites = self.each("cipher_suites", &self.raw.cipher_suites, names::suite);
        let groups = self.each("curve_preferences", &self.raw.curve_preferences, names::curve);
        let (suites, groups) = (suites?, groups?);
        if !suites.is_empty() {
            // As in Go, the list does not restrict TLS 1.3.
            let is_tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
            provider.cipher_suites.retain(is_tls13);
            provider.cipher_suites.extend(suites.into_iter().filter(|suite| !is_tls13(suite)));
        }
        if !groups.is_empty() {
            provider.kx_groups = groups;
        }
        Some(provider)
    }

    /// Looks up each name of a list.
    fn each<T>(
        &mut self,
        key: &str,
        names: &Option<Vec<String>>,
        find: fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        // Collected first, so that every error is reported.
        let found: Vec<Option<T>> = names
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, name)| find(name).map_err(|problem| self.error(&format!("{key}[{index}]"), problem)).ok())
            .collect();
        found.into_iter().collect()
    }

    fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.add(format!("tls_server_config.{key}"), problem);
    }
}
