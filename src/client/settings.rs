use std::{path::Path, time::Duration};

use url::Url;

use super::{kms_probe::Networks, no_proxy::NoProxy, pin::Pin};
use crate::{file::ConfiguredPath, secret::Secret};

/// The settings of one cluster, built and checked by the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientSettings {
    pub credential: Credential,
    /// The networks in which the cluster's KMS may be contacted; `None`: it is not.
    pub kms_probe: Option<Networks>,
    pub transport: TransportSettings,
    /// The time limit of one poll, login and retries included.
    pub timeout: Duration,
    /// `https://host:port`, with or without a path; no user, query or fragment; `http` for loopback only.
    pub url: Url,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// A session login (`POST /v1/session/login`).
    Login {
        password: SecretSource,
        /// A local user of the cluster.
        username: String,
    },
    /// An access token.
    Token(SecretSource),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SecretSource {
    /// A file, read again when it changes. The only source that a configuration can name.
    File(ConfiguredPath),
    /// Of the environment's proxy, or of the simulated clusters of `demo`.
    Fixed(Secret),
}

/// Clusters with equal values share one connector.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TransportSettings {
    /// The time limit of connecting, TLS handshake included.
    pub connect_timeout: Duration,
    pub proxy: ProxySettings,
    /// `None` for plain HTTP, which goes to loopback addresses only.
    pub tls: Option<TlsSettings>,
}

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

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ProxyAccount {
    pub password: SecretSource,
    pub username: String,
}

/// `tls_config`: how the cluster's certificate is verified, and the client certificate.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TlsSettings {
    /// Replaces the system's CA certificates.
    pub ca_file: Option<ConfiguredPath>,
    pub client: Option<ClientCertificate>,
    pub insecure_skip_verify: bool,
    /// Otherwise TLS 1.2, too.
    pub only_tls13: bool,
    /// Leaf certificates to accept. Replaces all other checks.
    pub pins: Vec<Pin>,
    /// Replaces the URL's host in the verification.
    pub server_name: Option<String>,
}

/// A client certificate, PEM.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub cert_file: ConfiguredPath,
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
    /// Where the user and the password are configured.
    pub fn origin(&self) -> &'static str {
        match self.password {
            SecretSource::File(_) => "proxy_authorization",
            SecretSource::Fixed(_) => "HTTPS_PROXY",
        }
    }
}

/// All files of a cluster, in whose paths the configuration replaces `{name}`.
pub fn files_mut<'a>(
    credential: Option<&'a mut Credential>,
    proxy: Option<&'a mut ProxySettings>,
    tls: &'a mut TlsSettings,
) -> impl Iterator<Item = &'a mut ConfiguredPath> {
    let credential = credential.map(|credential| match credential {
        Credential::Login { password: secret, .. } | Credential::Token(secret) => secret,
    });
    let proxy = proxy.and_then(|proxy| match proxy {
        ProxySettings::Url { account, .. } => account.as_mut().map(|account| &mut account.password),
        ProxySettings::Direct => None,
    });
    let secrets = credential.into_iter().chain(proxy).filter_map(|secret| match secret {
        SecretSource::File(file) => Some(file),
        SecretSource::Fixed(_) => None,
    });
    let client = tls.client.iter_mut().flat_map(|client| [&mut client.cert_file, &mut client.key_file]);
    secrets.chain(tls.ca_file.iter_mut()).chain(client)
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

    /// The proxy for `target`, and the account on it. None for plain HTTP: that is for loopback addresses, and a proxy would
    /// send the token elsewhere.
    pub fn proxy_for(&self, target: &Url) -> Option<(&Url, Option<&ProxyAccount>)> {
        match &self.proxy {
            ProxySettings::Url { account, no_proxy, url } if self.tls.is_some() && !no_proxy.matches(target) => {
                Some((url, account.as_ref()))
            }
            ProxySettings::Url { .. } | ProxySettings::Direct => None,
        }
    }
}
