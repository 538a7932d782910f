use std::{path::Path, time::Duration};

use url::Url;

use super::{kms_probe::Networks, no_proxy::NoProxy, pin::Pin};
use crate::{file::ConfiguredPath, secret::Secret};

/// All that polling one cluster needs to know. Built by the configuration, checked there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientSettings {
    /// What the cluster is asked with.
    pub credential: Credential,
    /// In which networks the cluster's key management server is looked at; `None` is nowhere.
    pub kms_probe: Option<Networks>,
    /// How the cluster is reached.
    pub transport: TransportSettings,
    /// The time limit of one poll, login and retries included.
    pub timeout: Duration,
    /// `https://host:port` and perhaps a path, without user, query and fragment; `http` to loopback only.
    pub url: Url,
}

/// What a cluster is asked with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// A session login (`POST /v1/session/login`).
    Login {
        /// The file with the password.
        password: SecretSource,
        /// The local user.
        username: String,
    },
    /// An access token.
    Token(SecretSource),
}

/// Where a secret comes from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SecretSource {
    /// A file, read again when it changes. The only source that a configuration can name.
    File(ConfiguredPath),
    /// Of the environment's proxy, or made in this process for the simulated clusters of the demonstration.
    Fixed(Secret),
}

/// What has to be equal for two clusters to share connections' state.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TransportSettings {
    /// The time limit of connecting, TLS handshake included.
    pub connect_timeout: Duration,
    /// Whether a proxy stands between.
    pub proxy: ProxySettings,
    /// `None` for plain HTTP, which goes to loopback addresses only.
    pub tls: Option<TlsSettings>,
}

/// Whether and which proxy is used.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ProxySettings {
    Direct,
    Url {
        account: Option<ProxyAccount>,
        no_proxy: NoProxy,
        /// `http` or `https`, without user and password.
        url: Url,
    },
}

/// An account on a proxy.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ProxyAccount {
    pub password: SecretSource,
    pub username: String,
}

/// How a cluster's certificate is verified, and the client certificate to show.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TlsSettings {
    /// Authorities to trust in place of the system's.
    pub ca_file: Option<ConfiguredPath>,
    /// Client certificate and key.
    pub client: Option<ClientCertificate>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// TLS 1.3 only; otherwise 1.2 or 1.3, which is what clusters serve.
    pub only_tls13: bool,
    /// Leaf certificates to accept, in place of every other check.
    pub pins: Vec<Pin>,
    /// The name to verify, in place of the URL's host.
    pub server_name: Option<String>,
}

/// A client certificate, PEM.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub cert_file: ConfiguredPath,
    /// The private key.
    pub key_file: ConfiguredPath,
}

// === impl Credential ===

impl Credential {
    /// The configuration's key for the file of the secret.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Login { .. } => "login.password_file",
            Self::Token(_) => "authorization.credentials_file",
        }
    }
}

// === impl ProxyAccount ===

impl ProxyAccount {
    /// Where the user and the password are written.
    pub fn origin(&self) -> &'static str {
        match self.password {
            SecretSource::File(_) => "proxy_authorization",
            SecretSource::Fixed(_) => "HTTPS_PROXY",
        }
    }
}

// === what a path with the name of a cluster in it becomes for each of them ===

impl Credential {
    pub fn file_mut(&mut self) -> Option<&mut ConfiguredPath> {
        match self {
            Self::Login { password: secret, .. } | Self::Token(secret) => secret.file_mut(),
        }
    }
}

impl ProxySettings {
    pub fn file_mut(&mut self) -> Option<&mut ConfiguredPath> {
        match self {
            Self::Url { account: Some(account), .. } => account.password.file_mut(),
            Self::Direct | Self::Url { .. } => None,
        }
    }
}

impl SecretSource {
    fn file_mut(&mut self) -> Option<&mut ConfiguredPath> {
        match self {
            Self::File(file) => Some(file),
            Self::Fixed(_) => None,
        }
    }
}

impl TlsSettings {
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut ConfiguredPath> {
        let client = self.client.iter_mut().flat_map(|client| [&mut client.cert_file, &mut client.key_file]);
        self.ca_file.iter_mut().chain(client)
    }
}

// === impl TransportSettings ===

impl TransportSettings {
    /// The files that connections depend on.
    pub fn files(&self) -> Vec<&Path> {
        let tls = self.tls.iter().flat_map(|tls| {
            let client = tls.client.iter().flat_map(|client| [&client.cert_file, &client.key_file]);
            tls.ca_file.iter().chain(client)
        });
        let password = match &self.proxy {
            ProxySettings::Url { account: Some(ProxyAccount { password: SecretSource::File(file), .. }), .. } => {
                Some(file)
            }
            ProxySettings::Url { .. } | ProxySettings::Direct => None,
        };
        tls.chain(password).map(ConfiguredPath::path).collect()
    }

    /// The proxy for `target`, and the account on it. Plain HTTP is for loopback addresses, and a proxy would carry the
    /// token elsewhere.
    pub fn proxy_for(&self, target: &Url) -> Option<(&Url, Option<&ProxyAccount>)> {
        match &self.proxy {
            ProxySettings::Url { account, no_proxy, url } if self.tls.is_some() && !no_proxy.matches(target) => {
                Some((url, account.as_ref()))
            }
            ProxySettings::Url { .. } | ProxySettings::Direct => None,
        }
    }
}
