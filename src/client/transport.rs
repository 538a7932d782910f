//! How clusters are connected to: one connector for all that are reached in the same way.
//!
//! A connector of its own for each of 1,000 clusters, each with its own copy of the system's authorities, costs about
//! 100 MiB; shared it is 2.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{Uri, header::HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::{
    connect::{Connector, Proxies},
    kms_probe::{Networks, Probes},
    lock::lock,
    pem::{authorities, client_certificate, unfit},
    resolve::{self, Addresses, Resolver},
    secret_file::{SecretError, SecretFile},
    settings::{ProxyAccount, ProxySettings, SecretSource, TlsSettings, TransportSettings},
    verify::{ServerVerifier, Trust},
    words,
};
use crate::{
    fingerprint::Fingerprint,
    lanes::Lanes,
    model::{KmsProbe, KmsServer},
    secret::Secret,
};

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
        let tls = settings.tls.as_ref().map(|tls| self.tls(tls)).transpose()?;
        let proxies = match &settings.proxy {
            // Plain HTTP goes to loopback; a proxy would carry the token elsewhere.
            _ if tls.is_none() => Proxies::None,
            ProxySettings::Direct => Proxies::None,
            ProxySettings::FromEnvironment => Proxies::Environment(Matcher::from_env()),
            ProxySettings::Url { account, url, no_proxy } => {
                let account = account.as_ref().map(authorization).transpose()?;
                let uri: Uri = url.as_str().parse().map_err(|_| TransportError::ProxyUrl)?;
                Proxies::one(uri, account, no_proxy)
            }
        };
        let limit = settings.connect_timeout;
        Ok(Arc::new(Connector { limit, proxies, tcp: Connector::tcp(resolver, limit), tls }))
    }

    fn tls(&self, settings: &TlsSettings) -> Result<ClientConfig, TransportError> {
        let versions: &[_] = if settings.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let name = settings
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TransportError::ServerName));
        let verifier = ServerVerifier::new(self.trust(settings)?, name.transpose()?, self.provider.clone());
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(|err| TransportError::Tls(words::tls(&err)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.client {
            None => config.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = client_certificate(files)?;
                config.with_client_auth_cert(chain, key).map_err(|err| unfit(files, &err))?
            }
        };
        // Sessions belong to each cluster's way. The library's default is 16 KiB, used or not.
        config.resumption = Resumption::disabled();
        Ok(config)
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
