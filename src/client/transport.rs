//! How clusters are reached. A [`Connector`] holds what clusters with the same settings share: the CA certificates, the
//! client certificate, the proxy. Each poll makes an HTTP client of its own from it, so that each poll connects anew and
//! sees what any new client would see.

use std::{
    collections::HashMap,
    fmt, io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Proxy, dns, header::HeaderValue, redirect::Policy, retry};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{
    kms_probe::{Networks, Probes},
    lock::lock,
    pem::{authorities, client_certificate, unfit},
    resolve::{self, Addresses, DnsError},
    secret_file::{SecretError, SecretFile},
    settings::{ProxyAccount, ProxySettings, SecretSource, TlsSettings, TransportSettings},
    verify::{CertificateRecorder, ServerVerifier, Trust},
    words,
};
use crate::{
    fingerprint::Fingerprint,
    lanes::Lanes,
    model::{KmsProbe, KmsServer},
    secret::Secret,
};

const USER_AGENT: &str = concat!("qumulo-encryption-exporter/", env!("CARGO_PKG_VERSION"));

/// Threads for files of clusters. A folder whose file system hangs holds one.
const FILES: usize = 64;

/// Why a connector cannot be built. The words follow the cluster's key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransportError {
    /// A file of `tls_config` is of no use.
    #[error("tls_config.{key}: {path} {problem}")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// What to call the file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The runtime is ending.
    #[error("the program is ending")]
    Ending,
    /// There is no authority to trust.
    #[error(
        "no certificate authorities found on this system; install the package ca-certificates or set tls_config.ca_file \
         (--cluster.ca-file)"
    )]
    NoSystemRoots,
    /// There is no password for the proxy.
    #[error("proxy_authorization.password_file: {0}")]
    ProxyPassword(String),
    /// The proxy's address is none.
    #[error("proxy_url cannot be connected to")]
    ProxyUrl,
    /// The name to verify is none.
    #[error("tls_config.server_name is neither a host name nor an IP address")]
    ServerName,
    /// What rustls says.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// The connectors of all clusters.
#[derive(Debug)]
pub struct TransportPool {
    addresses: Arc<Addresses>,
    /// Renewed files that are of no use, and what was said about them.
    broken: Mutex<HashMap<TransportSettings, TransportError>>,
    connectors: Mutex<HashMap<TransportSettings, Shared>>,
    files: Lanes,
    good: Arc<AtomicBool>,
    probes: Probes,
    provider: Arc<CryptoProvider>,
    system_roots: OnceLock<RootCertStore>,
}

/// What clusters with the same settings share.
pub struct Connector {
    connect_timeout: Duration,
    /// Whether it is for https only, or for plain HTTP only.
    https: bool,
    proxies: Proxies,
    resolver: Resolver,
    /// For plain HTTP it trusts nobody.
    tls: ClientConfig,
    verifier: ServerVerifier,
}

enum Proxies {
    None,
    Environment(Matcher),
    One {
        authorization: Option<HeaderValue>,
        /// Intercepts what goes through the proxy.
        matcher: Matcher,
        uri: Uri,
    },
}

/// Why there is no client for a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoClient {
    /// The library refuses what it is given.
    Http,
    /// https was asked for, with a connector for plain HTTP.
    NoTls,
    /// A proxy is in between, and the cluster is named by an IPv6 address.
    ProxyIpv6,
    /// The proxy is not an HTTP proxy, as its URL says.
    ProxyKind,
}

/// Looks names up on threads of its own, each lookup shared by all who ask for the same name.
#[derive(Clone)]
struct Resolver {
    addresses: Arc<Addresses>,
    /// Whether other addresses than loopback ones are left out, so that a token never crosses a network without TLS
    /// even if `localhost` were made to point elsewhere.
    only_loopback: bool,
}

/// A connector, and what its files looked like when it was built.
#[derive(Debug)]
struct Shared {
    connector: Arc<Connector>,
    files: Vec<Option<Fingerprint>>,
}

impl Default for TransportPool {
    fn default() -> Self {
        Self::with_lookup(resolve::system)
    }
}

// === impl TransportPool ===

impl TransportPool {
    /// A pool with a resolver of its own.
    pub fn with_lookup(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            addresses: Arc::new(Addresses::new(lookup)),
            broken: Mutex::default(),
            connectors: Mutex::default(),
            files: Lanes::new(FILES),
            good: Arc::new(AtomicBool::new(true)),
            probes: Probes::default(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            system_roots: OnceLock::new(),
        }
    }

    /// Whether no renewed file is of no use; kept up to date.
    pub fn files_are_good(&self) -> Arc<AtomicBool> {
        self.good.clone()
    }

    /// The connector for these settings: a shared one, unless there is none yet or its files changed. Reads files, so it may
    /// take as long as their file systems do.
    ///
    /// # Errors
    ///
    /// When a file cannot be used or there is nothing to trust.
    pub fn load(&self, settings: &TransportSettings) -> Result<Arc<Connector>, TransportError> {
        let files = fingerprints(settings);
        if let Some(shared) = lock(&self.connectors).get(settings).filter(|shared| shared.files == files) {
            return Ok(shared.connector.clone());
        }
        let connector = self.build(settings, settings.tls.is_none())?;
        let shared = Shared { connector: connector.clone(), files };
        lock(&self.connectors).insert(settings.clone(), shared);
        Ok(connector)
    }

    /// The connector to poll with. While renewed files are of no use (one of two is written), it is the one before.
    ///
    /// # Errors
    ///
    /// When there never was one.
    pub(super) async fn current(
        self: &Arc<Self>,
        settings: &TransportSettings,
    ) -> Result<Arc<Connector>, TransportError> {
        let loaded = if settings.files().is_empty() {
            self.load(settings)
        } else {
            let (pool, settings) = (self.clone(), settings.clone());
            self.files
                .run(&lane(settings.files()), move || pool.load(&settings))
                .await
                .unwrap_or(Err(TransportError::Ending))
        };
        self.note(settings, loaded.as_ref().err());
        loaded.or_else(|err| lock(&self.connectors).get(settings).map(|shared| shared.connector.clone()).ok_or(err))
    }

    /// Whether the files that connections depend on changed since the connector was built.
    pub(super) async fn changed(self: &Arc<Self>, settings: &TransportSettings) -> bool {
        if settings.files().is_empty() {
            return false;
        }
        let owned = settings.clone();
        let now = self.files.run(&lane(settings.files()), move || fingerprints(&owned)).await;
        now.is_some_and(|now| lock(&self.connectors).get(settings).is_none_or(|shared| shared.files != now))
    }

    /// What a key management server shows.
    pub(super) fn look(&self, server: &KmsServer, networks: &Networks, now: Instant) -> Option<KmsProbe> {
        self.probes.look(server, networks, &self.addresses, &self.provider, now)
    }

    /// Where files are read.
    pub(super) fn files(&self) -> &Lanes {
        &self.files
    }

    /// Begins with another address of `host` from now on.
    pub(super) fn turn(&self, host: &str) {
        self.addresses.turn(host);
    }

    /// Forgets the connectors that nobody needs any more.
    pub fn retain(&self, needed: impl Fn(&TransportSettings) -> bool) {
        lock(&self.connectors).retain(|settings, _| needed(settings));
        let mut broken = lock(&self.broken);
        broken.retain(|settings, _| needed(settings));
        self.good.store(broken.is_empty(), Ordering::Relaxed);
    }

    /// Says once what is wrong with renewed files, and once that it is over.
    fn note(&self, settings: &TransportSettings, problem: Option<&TransportError>) {
        let mut broken = lock(&self.broken);
        match problem {
            None if broken.remove(settings).is_some() => tracing::info!("renewed files of clusters are in use"),
            Some(err) if broken.get(settings) != Some(err) => {
                tracing::error!(%err, "cannot use a renewed file, the last good one stays");
                broken.insert(settings.clone(), err.clone());
            }
            _ => return,
        }
        self.good.store(broken.is_empty(), Ordering::Relaxed);
    }

    /// A connector for requests that carry no credential, and may thus go to any host in plain HTTP.
    pub(super) fn open(&self, settings: &TransportSettings) -> Result<Arc<Connector>, TransportError> {
        self.build(settings, false)
    }

    fn build(&self, settings: &TransportSettings, only_loopback: bool) -> Result<Arc<Connector>, TransportError> {
        let resolver = Resolver { addresses: self.addresses.clone(), only_loopback };
        let https = settings.tls.is_some();
        let (tls, verifier) = self.tls(settings.tls.as_ref())?;
        let proxies = match &settings.proxy {
            // Plain HTTP goes to loopback; a proxy would carry the token elsewhere.
            _ if !https => Proxies::None,
            ProxySettings::Direct => Proxies::None,
            ProxySettings::FromEnvironment => Proxies::Environment(Matcher::from_env()),
            ProxySettings::Url { account, url, no_proxy } => {
                let account = account.as_ref().map(authorization).transpose()?;
                let uri: Uri = url.as_str().parse().map_err(|_| TransportError::ProxyUrl)?;
                Proxies::one(uri, account, no_proxy)
            }
        };
        let connect_timeout = settings.connect_timeout;
        Ok(Arc::new(Connector { connect_timeout, https, proxies, resolver, tls, verifier }))
    }

    /// Without settings, what is never used is still wanted by the library: it trusts nobody.
    fn tls(&self, settings: Option<&TlsSettings>) -> Result<(ClientConfig, ServerVerifier), TransportError> {
        let nothing = TlsSettings::default();
        let (settings, trust) = match settings {
            Some(settings) => (settings, self.trust(settings)?),
            None => (&nothing, Trust::Pins(Vec::new())),
        };
        let versions: &[_] = if settings.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let name = settings
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TransportError::ServerName));
        let verifier = ServerVerifier::new(trust, name.transpose()?, self.provider.clone());
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(|err| TransportError::Tls(words::tls(&err)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()));
        let mut config = match &settings.client {
            None => config.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = client_certificate(files)?;
                config.with_client_auth_cert(chain, key).map_err(|err| unfit(files, &err))?
            }
        };
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        Ok((config, verifier))
    }

    fn trust(&self, settings: &TlsSettings) -> Result<Trust, TransportError> {
        if settings.insecure_skip_verify {
            return Ok(Trust::Anything);
        }
        if !settings.pins.is_empty() {
            return Ok(Trust::Pins(settings.pins.clone()));
        }
        let (roots, own) = match &settings.ca_file {
            None => (self.system_roots()?, Vec::new()),
            Some(path) => authorities(path)?,
        };
        Trust::authorities(roots, own, self.provider.clone()).map_err(|_| TransportError::NoSystemRoots)
    }

    /// Read once, and only if a cluster needs them: it takes some milliseconds.
    fn system_roots(&self) -> Result<RootCertStore, TransportError> {
        let roots = self.system_roots.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        });
        if roots.is_empty() { Err(TransportError::NoSystemRoots) } else { Ok(roots.clone()) }
    }
}

// === impl Connector ===

impl Connector {
    /// A client for one poll of `target`.
    ///
    /// # Errors
    ///
    /// When it cannot be reached with these settings.
    pub fn client(&self, target: &Url, recorder: Arc<CertificateRecorder>) -> Result<reqwest::Client, NoClient> {
        if self.https != (target.scheme() == "https") {
            return Err(NoClient::NoTls);
        }
        let mut tls = self.tls.clone();
        tls.dangerous().set_certificate_verifier(Arc::new(self.verifier.with_recorder(recorder)));
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(self.https)
            .connect_timeout(self.connect_timeout)
            .dns_resolver(self.resolver.clone())
            .http1_only()
            .no_proxy()
            .pool_idle_timeout(None)
            .redirect(Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(USER_AGENT);
        if let Some((proxy, authorization)) = self.proxies.of(&target.as_str().parse().map_err(|_| NoClient::Http)?) {
            if !matches!(proxy.scheme_str(), Some("http" | "https")) {
                return Err(NoClient::ProxyKind);
            }
            // https://github.com/seanmonstar/reqwest/issues/3094
            if let Some(Host::Ipv6(_)) = target.host() {
                return Err(NoClient::ProxyIpv6);
            }
            let mut proxy = Proxy::all(proxy.to_string()).map_err(|_| NoClient::Http)?;
            if let Some(authorization) = authorization {
                proxy = proxy.custom_http_auth(authorization);
            }
            client = client.proxy(proxy);
        }
        client.build().map_err(|_| NoClient::Http)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

// === impl Proxies ===

impl Proxies {
    /// The proxy at `uri`, but for the hosts of `no_proxy`.
    fn one(uri: Uri, authorization: Option<HeaderValue>, no_proxy: &str) -> Self {
        // Means every host, as in Go; the library takes it for every name, and not for addresses.
        if no_proxy.split(',').any(|host| host.trim() == "*") {
            return Self::None;
        }
        // Only the exceptions are the library's, so that no URL that it does not understand means no proxy.
        Self::One { authorization, matcher: Matcher::builder().all("http://proxy").no(no_proxy).build(), uri }
    }

    /// The proxy for `target`, and what to authenticate with.
    fn of(&self, target: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
        match self {
            Self::None => None,
            Self::Environment(matcher) => {
                let proxy = matcher.intercept(target)?;
                Some((proxy.uri().clone(), proxy.basic_auth().cloned()))
            }
            Self::One { authorization, matcher, uri } => {
                matcher.intercept(target).map(|_| (uri.clone(), authorization.clone()))
            }
        }
    }
}

impl dns::Resolve for Resolver {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        let (addresses, only_loopback) = (self.addresses.clone(), self.only_loopback);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = addresses.ask(&host, only_loopback).await;
            let found = found.map_err(|problem| DnsError { host, problem })?;
            Ok(Box::new(found.into_iter()) as dns::Addrs)
        })
    }
}

/// User and password as a proxy is told (RFC 7617).
fn authorization(account: &ProxyAccount) -> Result<HeaderValue, TransportError> {
    let mut file = SecretFile::password(SecretSource::File(account.password_file.clone()));
    let password = file.load().map_err(|err: SecretError| TransportError::ProxyPassword(err.to_string()))?;
    let pair = Zeroizing::new([&account.username, ":", password.expose()].concat());
    let encoded = Secret::take(BASE64_STANDARD.encode(&*pair));
    encoded.header("Basic").map_err(|_| TransportError::ProxyUrl)
}

/// What the files that connections depend on look like now.
fn fingerprints(settings: &TransportSettings) -> Vec<Option<Fingerprint>> {
    settings.files().into_iter().map(Fingerprint::of).collect()
}

/// The lane of files: that of the first one's folder.
fn lane(files: Vec<&Path>) -> String {
    folder(files.first().copied().unwrap_or(Path::new("")))
}

/// What a file's lane is called.
pub(super) fn folder(path: &Path) -> String {
    path.parent().unwrap_or(path).to_string_lossy().into_owned()
}
