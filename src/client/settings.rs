use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use super::pin::Pin;
use crate::secret::Secret;

/// All that polling one cluster needs to know. Built by the configuration, checked there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What the cluster is asked with.
    pub credential: Credential,
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// A file, read again when it changes. The only source that a configuration can name.
    File(PathBuf),
    /// A secret made in this process, for the simulated clusters of the demonstration.
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
#[derive(Clone, Eq, Hash, PartialEq)]
pub enum ProxySettings {
    /// None, whatever the environment says.
    Direct,
    /// `HTTPS_PROXY`, `NO_PROXY` and their lower-case forms.
    FromEnvironment,
    /// This one.
    Url {
        /// Hosts that are reached without the proxy, separated by commas.
        no_proxy: String,
        /// It may hold a password.
        url: Url,
    },
}

/// How a cluster's certificate is verified, and the client certificate to show.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TlsSettings {
    /// Authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
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
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("Direct"),
            Self::FromEnvironment => f.write_str("FromEnvironment"),
            Self::Url { no_proxy, .. } => f.debug_struct("Url").field("no_proxy", no_proxy).finish_non_exhaustive(),
        }
    }
}
