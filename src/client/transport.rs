//! How clusters are reached. A [`Connector`] holds what clusters with the same settings share: CA certificates, client
//! certificate, proxy. Each poll makes an HTTP client of its own from it, so that each poll connects anew and sees what any
//! new client would see.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Proxy, header::HeaderValue, redirect::Policy, retry};
use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use url::Url;
use zeroize::Zeroizing;

use super::{
    accounts::{Account, Accounts},
    error::host_and_port,
    https_proxy,
    kms_probe::Probes,
    resolve::{self, ClusterResolver, DnsResolver},
    secret_file::{SecretFile, parse_password},
    settings::{ProxyAccount, ProxySettings, TlsSettings, TransportSettings},
    tls_files,
    verify::{HandshakeRecorder, ServerVerifier, Trust},
};
use crate::{
    blocking::{KeyedBlockingPool, folder_key},
    file::FileStamp,
    lock::lock,
    model::{FailureReason, PollFailure},
    secret::Secret,
    trust::{TrustStore, pem},
};

const USER_AGENT: &str = concat!("qumulo-encryption-exporter/", env!("CARGO_PKG_VERSION"));

/// Threads that read files of clusters. A folder whose file system hangs occupies one.
const FILE_THREADS: usize = 64;

/// Why a connector cannot be built. The text follows the cluster's key in the configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub(super) String);

/// What all clusters share.
#[derive(Debug)]
pub struct TransportPool {
    pub(super) accounts: Accounts,
    connectors: Mutex<HashMap<TransportSettings, Loaded>>,
    /// The threads that read files.
    pub(super) files: KeyedBlockingPool,
    files_are_good: Arc<AtomicBool>,
    pub(super) probes: Probes,
    pub(super) resolver: Arc<DnsResolver>,
    system_roots: OnceLock<Arc<TrustStore>>,
}

/// A connector and the stamps of the files that it was built from.
#[derive(Debug)]
struct Loaded {
    connector: Arc<Connector>,
    files: Vec<Option<FileStamp>>,
    /// Why the current files cannot be used, as logged.
    problem: Option<TransportError>,
}

#[derive(Debug)]
pub struct Connector {
    proxy_login: Option<ProxyLogin>,
    /// For a proxy that speaks TLS.
    proxy_verifier: Option<Arc<ServerVerifier>>,
    resolver: ClusterResolver,
    settings: TransportSettings,
    /// For plain HTTP, too: then it accepts no certificate.
    tls: ClientConfig,
    verifier: ServerVerifier,
}

#[derive(Debug)]
struct ProxyLogin {
    account: Account,
    header: HeaderValue,
    password: Secret,
}

impl Default for TransportPool {
    fn default() -> Self {
        Self::with_lookup(resolve::system)
    }
}

// === impl TransportPool ===

impl TransportPool {
    /// A pool that resolves host names with `lookup`.
    pub fn with_lookup(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            accounts: Accounts::default(),
            connectors: Mutex::default(),
            files: KeyedBlockingPool::new(FILE_THREADS),
            files_are_good: Arc::new(AtomicBool::new(true)),
            probes: Probes::default(),
            resolver: Arc::new(DnsResolver::new(lookup)),
            system_roots: OnceLock::new(),
        }
    }

    /// False while a renewed file of a cluster cannot be used; kept up to date.
    pub fn files_are_good(&self) -> Arc<AtomicBool> {
        self.files_are_good.clone()
    }

    /// The connector for these settings: a shared one, unless its files changed. Reads files, so it takes as long as their
    /// file systems do. Logs once when renewed files cannot be used, and once when they can be used again.
    ///
    /// # Errors
    ///
    /// When a file cannot be used or there are no CA certificates.
    pub fn load(&self, settings: &TransportSettings) -> Result<Arc<Connector>, TransportError> {
        let files = stamps(settings);
        if let Some(loaded) =
            lock(&self.connectors).get(settings).filter(|loaded| loaded.files == files && loaded.problem.is_none())
        {
            return Ok(loaded.connector.clone());
        }
        let built = self.build(settings, settings.tls.is_none());
        let mut connectors = lock(&self.connectors);
        match (&built, connectors.get_mut(settings)) {
            (Ok(connector), before) => {
                if before.is_some_and(|before| before.problem.is_some()) {
                    tracing::info!("renewed files of clusters are in use");
                }
                let loaded = Loaded { connector: connector.clone(), files, problem: None };
                connectors.insert(settings.clone(), loaded);
            }
            (Err(err), Some(before)) if before.problem.as_ref() != Some(err) => {
                tracing::error!(%err, "cannot use a renewed file, the last good one stays");
                before.problem = Some(err.clone());
            }
            (Err(_), _) => {}
        }
        self.note_problems(&connectors);
        built
    }

    /// As [`Self::load`], on another thread if there are files to read. While renewed files cannot be used (of two, one may
    /// be written already), it is the last good connector.
    ///
    /// # Errors
    ///
    /// When there never was one.
    pub(super) async fn current(
        self: &Arc<Self>,
        settings: &TransportSettings,
    ) -> Result<Arc<Connector>, TransportError> {
        let Some(key) = pool_key(settings) else { return self.load(settings) };
        let (pool, owned) = (self.clone(), settings.clone());
        let loaded = self.files.run(&key, move || pool.load(&owned)).await;
        let loaded = loaded.unwrap_or_else(|| Err(TransportError("the exporter is shutting down".to_owned())));
        loaded.or_else(|err| lock(&self.connectors).get(settings).map(|loaded| loaded.connector.clone()).ok_or(err))
    }

    /// Whether the files changed since the connector was built.
    pub(super) async fn changed(self: &Arc<Self>, settings: &TransportSettings) -> bool {
        let Some(key) = pool_key(settings) else { return false };
        let owned = settings.clone();
        let now = self.files.run(&key, move || stamps(&owned)).await;
        now.is_some_and(|now| lock(&self.connectors).get(settings).is_some_and(|loaded| loaded.files != now))
    }

    /// Drops the connectors of other settings.
    pub fn retain(&self, needed: impl Fn(&TransportSettings) -> bool) {
        let mut connectors = lock(&self.connectors);
        connectors.retain(|settings, _| needed(settings));
        self.note_problems(&connectors);
    }

    fn note_problems(&self, connectors: &HashMap<TransportSettings, Loaded>) {
        let good = connectors.values().all(|loaded| loaded.problem.is_none());
        self.files_are_good.store(good, Ordering::Relaxed);
    }

    /// `only_loopback`: see [`ClusterResolver`].
    pub(super) fn build(
        &self,
        settings: &TransportSettings,
        only_loopback: bool,
    ) -> Result<Arc<Connector>, TransportError> {
        let resolver = ClusterResolver { only_loopback, resolver: self.resolver.clone(), skip: 0 };
        let (tls, verifier) = self.tls(settings.tls.as_ref())?;
        let (mut proxy_login, mut proxy_verifier) = (None, None);
        if let ProxySettings::Url { account, url, .. } = &settings.proxy
            && settings.tls.is_some()
        {
            proxy_login = account.as_ref().map(|account| ProxyLogin::load(account, url)).transpose()?;
            if url.scheme() == "https" {
                let trust = Trust::Store(self.system_roots(", which the https proxy needs")?);
                proxy_verifier = Some(Arc::new(ServerVerifier::new(trust, None)));
            }
        }
        Ok(Arc::new(Connector { proxy_login, proxy_verifier, resolver, settings: settings.clone(), tls, verifier }))
    }

    fn tls(&self, settings: Option<&TlsSettings>) -> Result<(ClientConfig, ServerVerifier), TransportError> {
        let default = TlsSettings::default();
        let (settings, trust) = match settings {
            Some(settings) => (settings, self.trust(settings)?),
            None => (&default, Trust::Nothing),
        };
        let versions: &[_] = if settings.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let name =
            settings.server_name.as_ref().map(|name| ServerName::try_from(name.clone())).transpose().map_err(|_| {
                TransportError("tls_config.server_name is neither a host name nor an IP address".to_owned())
            })?;
        let verifier = ServerVerifier::new(trust, name);
        let config = verifier.clone().config(versions);
        let config = config.map_err(|problem| TransportError(format!("TLS cannot be set up: {problem}")))?;
        let mut config = match &settings.client {
            None => config.with_no_client_auth(),
            Some(files) => {
                let chain = tls_files::read("cert_file", &files.cert_file, pem::chain)?;
                let key = tls_files::read("key_file", &files.key_file, pem::private_key)?;
                config.with_client_auth_cert(chain, key).map_err(|err| tls_files::client_cert_error(files, &err))?
            }
        };
        // The server of a resumed session shows no certificate.
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
            None => self.system_roots(" or, for clusters, set tls_config.ca_file (--cluster.ca-file)")?,
            Some(file) => Arc::new(tls_files::read("ca_file", file, pem::trust_store)?),
        };
        Ok(Trust::Store(store))
    }

    /// Reads them at the first call only. `more` ends the advice of the error.
    fn system_roots(&self, more: &str) -> Result<Arc<TrustStore>, TransportError> {
        let store = self.system_roots.get_or_init(|| Arc::new(TrustStore::system()));
        if store.is_empty() {
            let text = format!("no CA certificates found on this system; install the package ca-certificates{more}");
            return Err(TransportError(text));
        }
        Ok(store.clone())
    }
}

// === impl Connector ===

impl Connector {
    /// A client for one poll of `target`. `skip` is how many of the host's addresses to try last: TCP tries all of them, but
    /// one that accepts the connection and then hangs would be the first one in every poll.
    ///
    /// # Errors
    ///
    /// When the target does not fit the settings.
    pub fn client(
        &self,
        target: &Url,
        recorder: Arc<HandshakeRecorder>,
        skip: usize,
    ) -> Result<reqwest::Client, PollFailure> {
        let https = self.settings.tls.is_some();
        if https != (target.scheme() == "https") {
            let text = format!("{} needs TLS, which is not configured", host_and_port(target));
            return Err(PollFailure::new(FailureReason::Tls, text));
        }
        let unusable =
            |_| PollFailure::new(FailureReason::Connect, "no HTTP client can be set up for url or proxy_url");
        let mut client = reqwest::Client::builder()
            .https_only(https)
            .connect_timeout(self.settings.connect_timeout)
            .dns_resolver(ClusterResolver { skip, ..self.resolver.clone() })
            .http1_only()
            .no_proxy()
            .pool_idle_timeout(None)
            .redirect(Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(USER_AGENT);
        let mut proxy_verifier = None;
        if let Some((url, _)) = self.settings.proxy_for(target) {
            let mut proxy = Proxy::all(url.as_str()).map_err(unusable)?;
            if let Some(login) = &self.proxy_login {
                proxy = proxy.custom_http_auth(login.header.clone());
            }
            client = client.proxy(proxy);
            proxy_verifier.clone_from(&self.proxy_verifier);
        }
        if proxy_verifier.is_some() {
            client = https_proxy::prepare(client);
        }
        let tls = self.verifier.for_client(self.tls.clone(), recorder, proxy_verifier);
        client.tls_backend_preconfigured(tls).build().map_err(unusable)
    }

    /// The account on the proxy for `target`, and its password.
    pub fn proxy_login(&self, target: &Url) -> Option<(Account, Secret)> {
        self.settings.proxy_for(target)?;
        let login = self.proxy_login.as_ref()?;
        Some((login.account.clone(), login.password.clone()))
    }
}

// === impl ProxyLogin ===

impl ProxyLogin {
    /// With the header of RFC 7617.
    fn load(account: &ProxyAccount, url: &Url) -> Result<Self, TransportError> {
        let ProxyAccount { password, username } = account;
        let password = SecretFile::new(password.clone(), parse_password)
            .get_blocking()
            .map_err(|err| TransportError(format!("proxy_authorization.password_file: {err}")))?;
        let pair = Zeroizing::new([username, ":", password.expose()].concat());
        let encoded = Secret::take(BASE64_STANDARD.encode(&*pair));
        let header = encoded.header("Basic").map_err(|_| {
            TransportError(format!("the user and password of {} cannot be sent in a header", account.origin()))
        })?;
        let account = Account { host_and_port: host_and_port(url), username: username.clone() };
        Ok(Self { account, header, password })
    }
}

fn stamps(settings: &TransportSettings) -> Vec<Option<FileStamp>> {
    settings.files().into_iter().map(FileStamp::of).collect()
}

/// The key of the settings' files in a [`KeyedBlockingPool`]: the folder of the first one. `None` without files.
fn pool_key(settings: &TransportSettings) -> Option<String> {
    settings.files().first().map(|path| folder_key(path))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn without_files_no_thread_for_files_is_needed() {
        let pool = Arc::new(TransportPool::default());
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for index in 0..FILE_THREADS {
            let (pool, gate) = (pool.clone(), gate.clone());
            tokio::spawn(async move {
                pool.files.run(&index.to_string(), move || gate.lock().unwrap().recv().is_ok()).await
            });
        }
        while pool.files.free() > 0 {
            tokio::task::yield_now().await;
        }
        let tls = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
        let settings =
            TransportSettings { connect_timeout: Duration::from_secs(1), proxy: ProxySettings::Direct, tls: Some(tls) };
        let limit = Duration::from_secs(10);
        assert!(timeout(limit, pool.current(&settings)).await.unwrap().is_ok());
        assert!(!timeout(limit, pool.changed(&settings)).await.unwrap());
        drop(release);
    }
}
