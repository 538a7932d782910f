//! Types of the configuration file for serde.
//!
//! The JSON Schemas in `deploy/` are generated from these types, including their doc comments. [`super::document`] validates a
//! file against its schema first, so that deserializing these types does not fail.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// Configuration of qumulo-encryption-exporter: the clusters to monitor, and defaults for them.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "qumulo-encryption-exporter", extend("patternProperties" = {"^x-": {}})))]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Defaults for all clusters. Accepts all keys of a cluster except name, url and labels.
    pub global: Option<RawShared>,
    /// The clusters to monitor.
    pub clusters: Option<Vec<RawCluster>>,
    /// Further files with a list `clusters`. Names may contain the wildcards * and ?. Checked for changes like this file.
    pub cluster_files: Option<Vec<String>>,
}

/// Clusters of a qumulo-encryption-exporter configuration, in a file listed in `cluster_files`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "qumulo-encryption-exporter cluster file", extend("patternProperties" = {"^x-": {}})))]
#[serde(deny_unknown_fields)]
pub struct RawClusterFile {
    /// The clusters to monitor.
    pub clusters: Option<Vec<RawCluster>>,
}

/// A cluster to monitor.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RawCluster {
    /// Value of the label `cluster`.
    #[cfg_attr(test, schemars(required, regex(pattern = super::schema::NAME), length(max = 128)))]
    pub name: Option<String>,
    /// URL of the cluster, such as https://prod.example.com. The default port is 8000.
    #[cfg_attr(test, schemars(required, regex(pattern = super::schema::CLUSTER_URL)))]
    pub url: Option<String>,
    /// Labels for joins. They are added to `qumulo_encryption_cluster_info` and /sd.
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub shared: RawShared,
}

/// Keys of a cluster and of `global`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RawShared {
    /// Access token. Either this or `login` is required.
    pub authorization: Option<RawAuthorization>,
    /// Session login with user and password.
    pub login: Option<RawLogin>,
    /// How the cluster's certificate is verified. By default against the system's CA certificates.
    pub tls_config: Option<RawTls>,
    /// Proxy to use, such as http://proxy.example.com:3128.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::PROXY_URL)))]
    pub proxy_url: Option<String>,
    /// User and password for the proxy. Requires `proxy_url`.
    pub proxy_authorization: Option<RawLogin>,
    /// Hosts to connect to without the proxy, separated by commas. Requires `proxy_url`.
    pub no_proxy: Option<String>,
    /// Use HTTPS_PROXY and NO_PROXY from the environment. Cannot be combined with `proxy_url`.
    pub proxy_from_environment: Option<bool>,
    /// How often the cluster is polled; 1s to 1d. Default: 60s.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub poll_interval: Option<String>,
    /// Timeout of one poll, including login; at most poll_interval. Default: 10s, or poll_interval if that is shorter.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub poll_timeout: Option<String>,
    /// How long a status is served after the last successful poll; at least poll_interval + poll_timeout. Default: 5 times
    /// poll_interval.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub stale_after: Option<String>,
    /// Limits for the findings on the status page, in `status`, alerts and dashboards.
    pub policy: Option<RawPolicy>,
    /// Check the certificate of the KMS that the cluster uses, at most once in ten minutes. Default: false.
    pub probe_kms: Option<bool>,
    /// The only networks in which a KMS is contacted, such as 10.20.0.0/16. Default: all except loopback, link-local and cloud
    /// metadata addresses.
    #[cfg_attr(test, schemars(length(min = 1), inner(regex(pattern = super::schema::NETWORK))))]
    pub probe_kms_networks: Option<Vec<String>>,
}

/// Limits for the findings. A cluster inherits the keys that it does not set from `global`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// Required encryption: any, encrypted or kms. A cluster that does not meet it is critical. If not set, a cluster that is
    /// not encrypted is a warning.
    #[cfg_attr(test, schemars(regex(pattern = "^(any|encrypted|kms)$")))]
    pub require: Option<String>,
    /// Warning if a certificate or access token has less time left; 0s disables the limit. Default: 30d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub certificate_warning: Option<String>,
    /// Critical if a KMS certificate or the last access token has less time left; 0s disables the limit. Default: 7d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub certificate_critical: Option<String>,
    /// Warning if the master key is older; 0s disables the limit. Default: 365d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub key_max_age: Option<String>,
}

/// An access token.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawAuthorization {
    /// Must be Bearer.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(regex(pattern = "^[Bb][Ee][Aa][Rr][Ee][Rr]$")))]
    pub kind: Option<String>,
    /// File with the access token: the token alone, or the JSON file that qq writes. Read again when it changes.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub credentials_file: Option<PathBuf>,
    /// Not allowed: put secrets in files.
    #[serde(default)]
    pub credentials: Inline,
}

/// A user name and a password file.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawLogin {
    /// User name; for `login` a local user of the cluster.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub username: Option<String>,
    /// File with the password. Read again when it changes.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub password_file: Option<PathBuf>,
    /// Not allowed: put secrets in files.
    #[serde(default)]
    pub password: Inline,
}

/// How a cluster's certificate is verified.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// CA certificates to trust instead of the system's, PEM. May contain the cluster's self-signed certificate.
    pub ca_file: Option<PathBuf>,
    /// Client certificate to present, PEM. Requires `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Private key of the client certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// Name to verify instead of the URL's host.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._:-]+$")))]
    pub server_name: Option<String>,
    /// TLS12 or TLS13. Default: TLS12.
    #[cfg_attr(test, schemars(regex(pattern = "^TLS1[23]$")))]
    pub min_version: Option<String>,
    /// SHA-256 fingerprints of the cluster's certificate, one or a list: 64 hexadecimal digits, or the whole line that
    /// `openssl x509 -fingerprint -sha256` prints. A match replaces all other checks.
    pub pin_sha256: Option<OneOrMore>,
    /// Accept any certificate. Anyone between exporter and cluster can then read the credential.
    pub insecure_skip_verify: Option<bool>,
}

/// A string or a list of strings.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    More(Vec<String>),
    One(String),
}

impl OneOrMore {
    /// Pairs of the suffix of the key path (empty or `[index]`) and the string.
    pub fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let (one, more) = match self {
            Self::More(more) => (None, more.as_slice()),
            Self::One(one) => (Some((String::new(), one.as_str())), [].as_slice()),
        };
        one.into_iter().chain(more.iter().enumerate().map(|(index, text)| (format!("[{index}]"), text.as_str())))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for OneOrMore {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = super::schema::PIN;
        schemars::json_schema!({
            "type": ["array", "string"],
            "items": {"type": "string", "pattern": one},
            "minItems": 1,
            "pattern": one,
        })
    }
}

/// Whether a key is present. Its value is discarded while it is deserialized.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Inline(pub bool);

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Inline {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Refused".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "not": {} })
    }
}
