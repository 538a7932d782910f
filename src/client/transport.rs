//! HTTP clients, shared by all clusters that are reached in the same way.
//!
//! A client of its own for each of 1,000 clusters, each with its own copy of the system's authorities, costs about
//! 100 MiB; shared it is 2.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::{NoProxy, Proxy, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{
    resolve::{LOOKUPS, Resolver},
    settings::{ClientCertificate, ProxySettings, TlsSettings, TransportSettings},
    verify::{Trust, Verifier},
};
use crate::{fingerprint::Fingerprint, lanes::Lanes};

/// How long a connection is kept unused: longer than nearly every poll interval, and an end for removed clusters.
const KEEP: Duration = Duration::from_secs(600);

/// Tickets that rustls keeps for each server. Its default cache of 256 is thus for 32 servers, and with more of them
/// nothing is resumed.
const SESSIONS_PER_SERVER: usize = 8;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// What reqwest says.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A file of `tls_config` is of no use.
    #[error("tls_config.{key} {}: {problem}", path.display())]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no authority to trust.
    #[error("no certificate authorities found on this system; install the package ca-certificates or set ca_file")]
    NoSystemRoots,
    /// The name to verify is none.
    #[error("tls_config.server_name {0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// What rustls says.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The clients of all clusters.
#[derive(Debug)]
pub struct TransportPool {
    clients: Mutex<HashMap<TransportSettings, Shared>>,
    /// About how many there are: how large a session cache has to be.
    clusters: usize,
    lookups: Arc<Lanes>,
    provider: Arc<CryptoProvider>,
    system_roots: OnceLock<RootCertStore>,
}

/// A client, and what its files looked like when it was built.
#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    files: Vec<Option<Fingerprint>>,
}

// === impl TransportPool ===

impl TransportPool {
    /// A pool for about `clusters` clusters.
    pub fn new(clusters: usize) -> Self {
        Self {
            clients: Mutex::default(),
            clusters: clusters.max(32),
            lookups: Arc::new(Lanes::new(LOOKUPS)),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            system_roots: OnceLock::new(),
        }
    }

    /// The client for these settings: a shared one, unless there is none yet or its certificate files changed.
    ///
    /// # Errors
    ///
    /// When a file cannot be used or there is nothing to trust.
    pub fn get(&self, settings: &TransportSettings) -> Result<reqwest::Client, TransportError> {
        let files = settings.tls.as_ref().map(fingerprints).unwrap_or_default();
        // A panic while the lock was held leaves a complete map behind.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = clients.get(settings).filter(|shared| shared.files == files) {
            return Ok(shared.client.clone());
        }
        let client = self.build(settings)?;
        clients.insert(settings.clone(), Shared { client: client.clone(), files });
        Ok(client)
    }

    /// Forgets the clients that nobody needs any more; their connections end with the last poll that uses them.
    pub fn retain(&self, needed: impl Fn(&TransportSettings) -> bool) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|settings, _| needed(settings));
    }

    fn build(&self, settings: &TransportSettings) -> Result<reqwest::Client, TransportError> {
        // The type of the configuration has to be given even where no TLS is spoken.
        let tls = self.tls(
            settings.tls.as_ref().unwrap_or(&TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() }),
        )?;
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(settings.tls.is_some())
            .connect_timeout(settings.connect_timeout)
            .dns_resolver(Resolver { lanes: self.lookups.clone(), only_loopback: settings.tls.is_none() })
            .pool_idle_timeout(KEEP)
            .pool_max_idle_per_host(1)
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("qumulo-encryption-exporter/", env!("CARGO_PKG_VERSION")));
        match &settings.proxy {
            // Plain HTTP goes to loopback; a proxy would carry the token elsewhere.
            _ if settings.tls.is_none() => client = client.no_proxy(),
            ProxySettings::Direct => client = client.no_proxy(),
            ProxySettings::FromEnvironment => {}
            // Means every host, as in Go; the library takes it for every name, and not for addresses.
            ProxySettings::Url { no_proxy, .. } if no_proxy.split(',').any(|host| host.trim() == "*") => {
                client = client.no_proxy();
            }
            ProxySettings::Url { url, no_proxy } => {
                client = client.proxy(Proxy::all(url.clone())?.no_proxy(NoProxy::from_string(no_proxy)));
            }
        }
        Ok(client.build()?)
    }

    fn tls(&self, settings: &TlsSettings) -> Result<ClientConfig, TransportError> {
        let versions: &[_] = if settings.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let name = settings
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TransportError::ServerName(name.clone())));
        let verifier = Verifier::new(self.trust(settings)?, name.transpose()?, self.provider.clone());
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.client {
            None => config.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = client_certificate(files)?;
                config.with_client_auth_cert(chain, key).map_err(|err| TransportError::File {
                    key: "key_file",
                    path: files.key_file.clone(),
                    problem: format!("it does not fit cert_file: {err}"),
                })?
            }
        };
        // Pins name one certificate each, so those clients are for one cluster, or for its old and new certificate.
        let servers = if settings.pins.is_empty() { self.clusters } else { settings.pins.len() };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_PER_SERVER * servers);
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

fn authorities(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TransportError> {
    let certificates = pem_certificates("ca_file", path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|err| TransportError::File {
            key: "ca_file",
            path: path.to_owned(),
            problem: format!("it holds a certificate that cannot be used: {err}"),
        })?;
    }
    Ok((roots, certificates))
}

fn client_certificate(
    files: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TransportError> {
    let chain = pem_certificates("cert_file", &files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|err| TransportError::File {
        key: "key_file",
        path: files.key_file.clone(),
        problem: format!("no private key (PEM, not encrypted) can be read: {err}"),
    })?;
    Ok((chain, key))
}

fn pem_certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let problem = |problem: String| TransportError::File { key, path: path.to_owned(), problem };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| problem(format!("no certificates (PEM) can be read: {err}")))?;
    if certificates.is_empty() {
        return Err(problem("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(certificates)
}

/// What the certificate files look like now.
fn fingerprints(settings: &TlsSettings) -> Vec<Option<Fingerprint>> {
    let client = settings.client.iter().flat_map(|client| [&client.cert_file, &client.key_file]);
    settings.ca_file.iter().chain(client).map(|path| Fingerprint::of(path)).collect()
}
