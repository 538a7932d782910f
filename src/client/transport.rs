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
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Proxy, dns, header::HeaderValue, redirect::Policy, retry};
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{
    accounts::{Account, Accounts},
    error, error_text, https_proxy,
    kms_probe::{Networks, ProbeRate, Probes},
    pem::{client_cert_error, client_certificate, trust_store},
    resolve::{self, DnsError, DnsResolver},
    secret_file::{SecretError, SecretFile},
    settings::{ProxyAccount, ProxySettings, TlsSettings, TransportSettings},
    verify::{CertificateRecorder, RequestRecorder, ServerVerifier, Trust},
};
use crate::{
    blocking::KeyedBlockingPool,
    file::FileStamp,
    lock::lock,
    model::{KmsProbe, KmsServer},
    secret::Secret,
    trust::{TrustStore, WallClock},
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
    #[error(
        "no certificate authorities found on this system, which the https proxy needs; install the package ca-certificates"
    )]
    NoSystemRootsForProxy,
    #[error("the user and password of {origin} cannot be sent in a header")]
    ProxyHeader { origin: &'static str },
    #[error("proxy_authorization.password_file: {0}")]
    ProxyPassword(String),
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
    accounts: Accounts,
    resolver: Arc<DnsResolver>,
    /// Renewed files that are of no use, and what was said about them.
    broken: Mutex<HashMap<TransportSettings, TransportError>>,
    connectors: Mutex<HashMap<TransportSettings, Shared>>,
    files: KeyedBlockingPool,
    good: Arc<AtomicBool>,
    probes: Probes,
    provider: Arc<CryptoProvider>,
    /// For proxies. Read once, and only if they are needed: it takes some milliseconds. `None` if there are none.
    system: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    system_roots: OnceLock<Arc<TrustStore>>,
}

/// What clusters with the same settings share.
pub struct Connector {
    proxy: Option<Proxied>,
    resolver: Resolver,
    settings: TransportSettings,
    /// For plain HTTP it trusts nobody.
    tls: ClientConfig,
    verifier: ServerVerifier,
}

struct Proxied {
    login: Option<(Account, Secret, HeaderValue)>,
    /// Verifies a proxy that speaks TLS.
    system: Option<Arc<WebPkiServerVerifier>>,
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
}

/// Looks names up on threads of its own, each lookup shared by all who ask for the same name.
#[derive(Clone)]
struct Resolver {
    resolver: Arc<DnsResolver>,
    /// Whether other addresses than loopback ones are left out, so that a token never crosses a network without TLS
    /// even if `localhost` were made to point elsewhere.
    only_loopback: bool,
}

/// A connector, and what its files looked like when it was built.
#[derive(Debug)]
struct Shared {
    connector: Arc<Connector>,
    files: Vec<Option<FileStamp>>,
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
            accounts: Accounts::default(),
            resolver: Arc::new(DnsResolver::new(lookup)),
            broken: Mutex::default(),
            connectors: Mutex::default(),
            files: KeyedBlockingPool::new(FILES),
            good: Arc::new(AtomicBool::new(true)),
            probes: Probes::default(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            system: OnceLock::new(),
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
                .run(&pool_key(settings.files()), move || pool.load(&settings))
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
        let now = self.files.run(&pool_key(settings.files()), move || fingerprints(&owned)).await;
        now.is_some_and(|now| lock(&self.connectors).get(settings).is_none_or(|shared| shared.files != now))
    }

    /// What a key management server shows.
    pub(super) fn probe(
        &self,
        server: &KmsServer,
        networks: &Networks,
        rate: &mut ProbeRate,
        now: Instant,
    ) -> Option<KmsProbe> {
        self.probes.probe(server, networks, rate, &self.resolver, &self.provider, now)
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Where files are read.
    pub(super) fn files(&self) -> &KeyedBlockingPool {
        &self.files
    }

    /// Begins with another address of `host` from now on.
    pub(super) fn turn(&self, host: &str) {
        self.resolver.turn(host);
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
        let resolver = Resolver { resolver: self.resolver.clone(), only_loopback };
        let https = settings.tls.is_some();
        let (tls, verifier) = self.tls(settings.tls.as_ref())?;
        let proxy = match &settings.proxy {
            ProxySettings::Url { account, url, .. } if https => Some(Proxied {
                login: account.as_ref().map(|account| proxy_login(account, url)).transpose()?,
                system: match url.scheme() {
                    "https" => Some(self.system().ok_or(TransportError::NoSystemRootsForProxy)?),
                    _ => None,
                },
            }),
            ProxySettings::Url { .. } | ProxySettings::Direct => None,
        };
        Ok(Arc::new(Connector { proxy, resolver, settings: settings.clone(), tls, verifier }))
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
        let config = ClientConfig::builder_with_details(self.provider.clone(), Arc::new(WallClock))
            .with_protocol_versions(versions)
            .map_err(|err| TransportError::Tls(error_text::tls(&err, false)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()));
        let mut config = match &settings.client {
            None => config.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = client_certificate(files)?;
                config.with_client_auth_cert(chain, key).map_err(|err| client_cert_error(files, &err))?
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
        let store = match &settings.ca_file {
            None => self.system_roots()?,
            Some(file) => Arc::new(trust_store(file)?),
        };
        Ok(Trust::Store(store))
    }

    /// Read once, and only if a cluster needs them: it takes some milliseconds.
    fn system_roots(&self) -> Result<Arc<TrustStore>, TransportError> {
        let store = self.system_roots.get_or_init(|| Arc::new(TrustStore::system()));
        if store.is_empty() { Err(TransportError::NoSystemRoots) } else { Ok(store.clone()) }
    }

    /// The verifier of proxies by the system's CA certificates, one for all.
    fn system(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let read = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build().ok()
        };
        self.system.get_or_init(read).clone()
    }
}

// === impl Connector ===

impl Connector {
    /// A client for one poll of `target`.
    ///
    /// # Errors
    ///
    /// When it cannot be reached with these settings.
    pub fn client(
        &self,
        target: &Url,
        recorder: Arc<CertificateRecorder>,
        client_cert_requested: Arc<AtomicBool>,
    ) -> Result<reqwest::Client, NoClient> {
        let https = self.settings.tls.is_some();
        if https != (target.scheme() == "https") {
            return Err(NoClient::NoTls);
        }
        let client = reqwest::Client::builder()
            .https_only(https)
            .connect_timeout(self.settings.connect_timeout)
            .dns_resolver(self.resolver.clone())
            .http1_only()
            .no_proxy()
            .pool_idle_timeout(None)
            .redirect(Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(USER_AGENT);
        let mut tls = self.tls.clone();
        tls.client_auth_cert_resolver = RequestRecorder::new(tls.client_auth_cert_resolver, client_cert_requested);
        let verifier = Arc::new(self.verifier.with_recorder(recorder));
        let client = match (&self.proxy, self.settings.proxy_for(target)) {
            (Some(proxied), Some((url, _))) => {
                // https://github.com/seanmonstar/reqwest/issues/3094
                if let Some(Host::Ipv6(_)) = target.host() {
                    return Err(NoClient::ProxyIpv6);
                }
                let mut proxy = Proxy::all(url.as_str()).map_err(|_| NoClient::Http)?;
                if let Some((_, _, header)) = &proxied.login {
                    proxy = proxy.custom_http_auth(header.clone());
                }
                let client = client.proxy(proxy);
                match &proxied.system {
                    Some(system) => https_proxy::prepare(client, tls, verifier, system.clone()),
                    None => {
                        tls.dangerous().set_certificate_verifier(verifier);
                        client.tls_backend_preconfigured(tls)
                    }
                }
            }
            _ => {
                tls.dangerous().set_certificate_verifier(verifier);
                client.tls_backend_preconfigured(tls)
            }
        };
        client.build().map_err(|_| NoClient::Http)
    }

    /// The account on the proxy for `target`, and its password.
    pub fn proxy_login(&self, target: &Url) -> Option<(Account, Secret)> {
        self.settings.proxy_for(target)?;
        let (account, password, _) = self.proxy.as_ref()?.login.as_ref()?;
        Some((account.clone(), password.clone()))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl dns::Resolve for Resolver {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        let (addresses, only_loopback) = (self.resolver.clone(), self.only_loopback);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = addresses.ask(&host, only_loopback).await;
            let found = found.map_err(|problem| DnsError { host, problem })?;
            Ok(Box::new(found.into_iter()) as dns::Addrs)
        })
    }
}

/// The account on a proxy, its password, and both as the proxy is told (RFC 7617).
fn proxy_login(account: &ProxyAccount, url: &Url) -> Result<(Account, Secret, HeaderValue), TransportError> {
    let mut file = SecretFile::password(account.password.clone());
    let password = file.load().map_err(|err: SecretError| TransportError::ProxyPassword(err.to_string()))?;
    let pair = Zeroizing::new([&account.username, ":", password.expose()].concat());
    let encoded = Secret::take(BASE64_STANDARD.encode(&*pair));
    let header = encoded.header("Basic").map_err(|_| TransportError::ProxyHeader { origin: account.origin() })?;
    Ok((Account { place: error::host_and_port(url), username: account.username.clone() }, password, header))
}

/// What the files that connections depend on look like now.
fn fingerprints(settings: &TransportSettings) -> Vec<Option<FileStamp>> {
    settings.files().into_iter().map(FileStamp::of).collect()
}

/// The key of files in a [`KeyedBlockingPool`]: that of the first one's folder.
fn pool_key(files: Vec<&Path>) -> String {
    folder(files.first().copied().unwrap_or(Path::new("")))
}

/// The key of a file's folder.
pub(super) fn folder(path: &Path) -> String {
    path.parent().unwrap_or(path).to_string_lossy().into_owned()
}
