//! The configuration file as it is written: what serde can check, and nothing else.
//!
//! The doc comments become the descriptions in `deploy/config.schema.json`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::duration::PromDuration;

/// Configuration of qumulo-encryption-exporter.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Defaults for all clusters.
    #[serde(default)]
    pub global: RawPace,
    /// The clusters to watch.
    #[serde(default)]
    pub clusters: Vec<RawCluster>,
}

/// How often clusters are asked.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawPace {
    /// How often a cluster is asked; 1s at least. Default: 60s.
    pub poll_interval: Option<PromDuration>,
    /// Time limit of one poll, login included; at most the interval. Default: 10s, or the interval if that is shorter.
    pub poll_timeout: Option<PromDuration>,
    /// How long a last good status is still served; at least interval + timeout. Default: 5 times the interval.
    pub stale_after: Option<PromDuration>,
}

/// One cluster.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawCluster {
    /// The value of the label `cluster`.
    pub name: String,
    /// The cluster's address, such as https://prod.example.com. The port is 8000 unless given.
    pub url: String,
    /// An access token. Either this or `login` is needed.
    pub authorization: Option<RawAuthorization>,
    /// A session login with user and password.
    pub login: Option<RawLogin>,
    /// How the cluster's certificate is verified. By default against the system's authorities.
    pub tls_config: Option<RawTls>,
    /// The proxy to use, such as http://proxy.example.com:3128.
    pub proxy_url: Option<String>,
    /// Hosts that are reached without the proxy, separated by commas. Needs `proxy_url`.
    pub no_proxy: Option<String>,
    /// Use HTTPS_PROXY and NO_PROXY of the environment. Not together with `proxy_url`.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// See `global`.
    pub poll_interval: Option<PromDuration>,
    /// See `global`.
    pub poll_timeout: Option<PromDuration>,
    /// See `global`.
    pub stale_after: Option<PromDuration>,
}

/// An access token.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawAuthorization {
    /// Only Bearer.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A file with the token: bare, or the JSON file that qq writes. Read again when it changes.
    pub credentials_file: Option<PathBuf>,
    /// Refused: secrets belong into files.
    #[serde(default)]
    #[cfg_attr(test, schemars(skip))]
    pub credentials: Inline,
}

/// A session login.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawLogin {
    /// A local user of the cluster.
    pub username: Option<String>,
    /// A file with the password. Read again when it changes.
    pub password_file: Option<PathBuf>,
    /// Refused: secrets belong into files.
    #[serde(default)]
    #[cfg_attr(test, schemars(skip))]
    pub password: Inline,
}

/// How a cluster's certificate is verified.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// Authorities to trust in place of the system's, PEM. May hold the cluster's own self-signed certificate.
    pub ca_file: Option<PathBuf>,
    /// A client certificate to show, PEM. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of the client certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// The name to verify in place of the URL's host.
    pub server_name: Option<String>,
    /// TLS12 or TLS13. Default: TLS12.
    pub min_version: Option<String>,
    /// SHA-256 fingerprints of the cluster's certificate, as `openssl x509 -fingerprint -sha256` prints them. A match
    /// replaces all other checks.
    #[serde(default)]
    pub pin_sha256: Vec<String>,
    /// Accept any certificate. Anybody between exporter and cluster can then read the credential.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// A key that is there, whatever its value: the value is thrown away while it is read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Inline(pub bool);

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}
