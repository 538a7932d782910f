//! What the operator wrote -> the rules of the listener, or every error.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::{HeaderName, HeaderValue};
use rustls::{crypto::CryptoProvider, pki_types::PrivateKeyDer};
use zeroize::Zeroizing;

use tokio_util::sync::CancellationToken;

use super::{
    names,
    raw::{Raw, RawHttp, RawRate, RawTls},
};
use crate::{
    config::ConfigErrors,
    file::{self, ConfiguredPath},
    trust::{
        TrustStore,
        pem::{self, PemError},
    },
    web::{
        basic_auth::Users,
        policy::ListenerPolicy,
        rate_limit::RateLimit,
        tls::{self, ClientAuth, Tls},
    },
};

/// The five headers that may be set, and to what; none is anything.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The section under examination.
struct TlsSection<'a> {
    folder: &'a Path,
    errors: &'a mut ConfigErrors,
    raw: &'a RawTls,
}

/// The files that are named in `raw`, whatever is in them.
pub fn files(raw: &Raw, folder: &Path) -> Vec<PathBuf> {
    let tls = raw.tls_server_config.iter();
    let files = tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
    files.flatten().filter(|file| !file.as_os_str().is_empty()).map(|file| folder.join(file)).collect()
}

/// Turns the file into rules, which count if there were no errors.
pub fn resolve(raw: &Raw, folder: &Path, errors: &mut ConfigErrors) -> ListenerPolicy {
    if let Some(tls) = &raw.tls_server_config {
        names_need_a_certificate(tls, errors);
    }
    let tls = raw.tls_server_config.as_ref().filter(|raw| is_enabled(raw));
    let tls = tls.and_then(|raw| TlsSection { folder, errors, raw }.resolve());
    let headers = headers(raw.http_server_config.as_ref().unwrap_or(&RawHttp::default()), errors);
    let users = users(raw.basic_auth_users.as_ref(), errors);
    let rate = rate(raw.rate_limit.as_ref().unwrap_or(&RawRate::default()), errors);
    ListenerPolicy { headers, rate, superseded: CancellationToken::new(), tls, users }
}

/// Anybody can make a certificate with these names, and leave it out where none is demanded.
fn names_need_a_certificate(raw: &RawTls, errors: &mut ConfigErrors) {
    let named = raw.client_allowed_sans.as_ref().is_some_and(|names| !names.is_empty());
    if named && raw.client_auth_type.as_deref() != Some("RequireAndVerifyClientCert") {
        errors.add(
            "tls_server_config.client_allowed_sans",
            "protects nothing unless clients must have a certificate from a trusted CA: set client_auth_type to \
             RequireAndVerifyClientCert",
        );
    }
}

/// As in the original: the versions alone do not switch it on.
fn is_enabled(raw: &RawTls) -> bool {
    let texts = [&raw.cert, &raw.key, &raw.client_ca, &raw.client_auth_type].into_iter().flatten();
    let files = [&raw.cert_file, &raw.key_file, &raw.client_ca_file].into_iter().flatten();
    texts.map(|text| !text.is_empty()).chain(files.map(|file| !file.as_os_str().is_empty())).any(|set| set)
}

fn headers(raw: &RawHttp, errors: &mut ConfigErrors) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, text) in raw.headers.iter().flatten() {
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

fn users(raw: Option<&BTreeMap<String, String>>, errors: &mut ConfigErrors) -> Option<Users> {
    let mut users = BTreeMap::new();
    for (name, hash) in raw.into_iter().flatten() {
        let place = format!("basic_auth_users.{name}");
        if name.contains(':') {
            errors.add(place, "a user's name cannot hold a colon: HTTP ends it there");
            continue;
        }
        match hash.parse() {
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
        let chain = self.pem("cert", self.raw.cert.as_ref(), self.raw.cert_file.as_ref(), pem::chain);
        if chain.is_none() && !self.is_given(self.raw.cert.as_ref(), self.raw.cert_file.as_ref()) {
            self.error("cert_file", "missing one of cert or cert_file");
        }
        let key = self.key();
        let client = self.client();
        let rules = self.rules();
        let versions = self.versions();
        let provider = self.provider();
        let settings = tls::ListenerTls {
            chain: chain?,
            client: client?,
            ignore_client_order: self.raw.prefer_server_cipher_suites.unwrap_or(true),
            key: key?,
            provider: Arc::new(provider?),
            rules,
            versions: versions?,
        };
        Tls::new(settings).map_err(|problem| self.error("cert_file", format!("cannot be used: {problem}"))).ok()
    }

    /// Everything in this section but the listener's own certificate and key.
    fn rules(&self) -> String {
        let RawTls { client_auth_type, client_allowed_sans, client_ca, client_ca_file, .. } = self.raw;
        let RawTls { min_version, max_version, cipher_suites, curve_preferences, .. } = self.raw;
        let file = client_ca_file.iter().filter_map(|file| file::read(&self.folder.join(file), file::MAX_PEM).ok());
        let ca: Vec<Vec<u8>> =
            file.map(|content| content.bytes).chain(client_ca.clone().map(String::into_bytes)).collect();
        format!(
            "{client_auth_type:?} {client_allowed_sans:?} {ca:?} {min_version:?} {max_version:?} {cipher_suites:?} \
             {curve_preferences:?}"
        )
    }

    fn is_given(&self, text: Option<&String>, file: Option<&PathBuf>) -> bool {
        text.is_some_and(|text| !text.is_empty()) || file.is_some_and(|file| !file.as_os_str().is_empty())
    }

    /// What is in the PEM text of a setting that can stand in the file or in one of its own.
    fn pem<T>(
        &mut self,
        key: &str,
        text: Option<&String>,
        file: Option<&PathBuf>,
        parse: impl FnOnce(&[u8]) -> Result<T, PemError>,
    ) -> Option<T> {
        let file = file.filter(|file| !file.as_os_str().is_empty());
        let (key, read) = match file {
            Some(file) => {
                let named = ConfiguredPath::new(self.folder, file);
                let read = file::read(named.path(), file::MAX_PEM).map(|content| content.bytes);
                (format!("{key}_file"), read.map_err(|err| format!("cannot use {}: {err}", named.redacted())))
            }
            None => (key.to_owned(), Ok(text.filter(|text| !text.is_empty())?.clone().into_bytes())),
        };
        let parsed = read.and_then(|bytes| parse(&Zeroizing::new(bytes)).map_err(|err| err.to_string()));
        parsed.map_err(|problem| self.error(&key, problem)).ok()
    }

    fn key(&mut self) -> Option<PrivateKeyDer<'static>> {
        if !self.is_given(self.raw.key.as_ref(), self.raw.key_file.as_ref()) {
            self.error("key_file", "missing one of key or key_file");
            return None;
        }
        self.pem("key", self.raw.key.as_ref(), self.raw.key_file.as_ref(), pem::private_key)
    }

    /// The outer `None` is an error; the inner one asks nothing of clients.
    fn client(&mut self) -> Option<Option<ClientAuth>> {
        let raw = self.raw;
        let (mandatory, verified) = match raw.client_auth_type.as_deref().unwrap_or_default() {
            "" | "NoClientCert" => {
                if self.is_given(raw.client_ca.as_ref(), raw.client_ca_file.as_ref()) {
                    self.error(
                        "client_auth_type",
                        "client CA's have been configured without a Client Auth Policy; write \
                         RequireAndVerifyClientCert",
                    );
                    return None;
                }
                return Some(None);
            }
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
        let store = if verified { Some(Arc::new(self.trust_store()?)) } else { None };
        let allowed_sans = raw.client_allowed_sans.clone().unwrap_or_default();
        Some(Some(ClientAuth { allowed_sans, mandatory, store }))
    }

    /// Without a client CA those of the system, as in Go.
    fn trust_store(&mut self) -> Option<TrustStore> {
        let raw = self.raw;
        if self.is_given(raw.client_ca.as_ref(), raw.client_ca_file.as_ref()) {
            return self.pem("client_ca", raw.client_ca.as_ref(), raw.client_ca_file.as_ref(), pem::trust_store);
        }
        let store = TrustStore::system();
        if store.is_empty() {
            self.error("client_ca_file", "is missing, and this system has no CA certificates");
            return None;
        }
        Some(store)
    }

    fn versions(&mut self) -> Option<Vec<&'static rustls::SupportedProtocolVersion>> {
        let (min, max) = (self.raw.min_version.as_deref(), self.raw.max_version.as_deref());
        let min = names::version(min.filter(|name| !name.is_empty()).unwrap_or("TLS12"));
        let max = names::version(max.filter(|name| !name.is_empty()).unwrap_or("TLS13"));
        for (key, version) in [("min_version", &min), ("max_version", &max)] {
            if let Err(problem) = version {
                self.error(key, problem.clone());
            }
        }
        let (min, max) = (min.ok()?.version, max.ok()?.version);
        let all = [&rustls::version::TLS12, &rustls::version::TLS13];
        let range = u16::from(min)..=u16::from(max);
        let versions: Vec<_> = all.into_iter().filter(|each| range.contains(&u16::from(each.version))).collect();
        if versions.is_empty() {
            self.error("max_version", "is below min_version");
            return None;
        }
        Some(versions)
    }

    /// What is offered, in the order of the lists.
    fn provider(&mut self) -> Option<CryptoProvider> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut good = true;
        if let Some(wanted) = self.raw.cipher_suites.as_ref().filter(|list| !list.is_empty()) {
            let mut suites: Vec<_> =
                provider.cipher_suites.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
            for (index, name) in wanted.iter().enumerate() {
                match names::suite(name, &provider) {
                    Ok(suite) => suites.extend(suite),
                    Err(problem) => {
                        self.error(&format!("cipher_suites[{index}]"), problem);
                        good = false;
                    }
                }
            }
            provider.cipher_suites = suites;
        }
        if let Some(wanted) = self.raw.curve_preferences.as_ref().filter(|list| !list.is_empty()) {
            let mut groups = Vec::new();
            for (index, name) in wanted.iter().enumerate() {
                match names::curve(name, &provider) {
                    Ok(group) => groups.push(group),
                    Err(problem) => {
                        self.error(&format!("curve_preferences[{index}]"), problem);
                        good = false;
                    }
                }
            }
            provider.kx_groups = groups;
        }
        good.then_some(provider)
    }

    fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.add(format!("tls_server_config.{key}"), problem);
    }
}
