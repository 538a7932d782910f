//! The configuration file as it is written: what serde can check, and nothing else.
//!
//! The JSON Schemas in `deploy/` are made from these types, doc comments included. [`super::document`] checks a file against
//! its schema first, so reading one of these types cannot fail afterwards.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// Configuration of qumulo-encryption-exporter: the clusters to watch, and what holds for all of them.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "qumulo-encryption-exporter", extend("patternProperties" = {"^x-": {}})))]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Defaults for all clusters: everything that a cluster can have but its name, URL and labels.
    pub global: Option<RawShared>,
    /// The clusters to watch.
    pub clusters: Option<Vec<RawCluster>>,
    /// More files with a list `clusters`; * and ? stand for parts of a name. Looked at for changes like this one.
    pub cluster_files: Option<Vec<String>>,
}

/// More clusters of a qumulo-encryption-exporter configuration, in a file that `cluster_files` names.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "qumulo-encryption-exporter cluster file", extend("patternProperties" = {"^x-": {}})))]
#[serde(deny_unknown_fields)]
pub struct RawClusterFile {
    /// The clusters to watch.
    pub clusters: Option<Vec<RawCluster>>,
}

/// One cluster.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RawCluster {
    /// The value of the label `cluster`.
    #[cfg_attr(test, schemars(required, regex(pattern = super::schema::NAME), length(max = 128)))]
    pub name: Option<String>,
    /// The cluster's address, such as https://prod.example.com. The port is 8000 unless given.
    #[cfg_attr(test, schemars(required, regex(pattern = super::schema::CLUSTER_URL)))]
    pub url: Option<String>,
    /// Labels for joins: on `qumulo_encryption_cluster_info` and in /sd.
    pub labels: Option<BTreeMap<String, String>>,
    /// The rest, which `global` can hold as well.
    #[serde(flatten)]
    pub shared: RawShared,
}

/// What a cluster and `global` have in common.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RawShared {
    /// An access token. Either this or `login` is needed.
    pub authorization: Option<RawAuthorization>,
    /// A session login with user and password.
    pub login: Option<RawLogin>,
    /// How the cluster's certificate is verified. By default against the system's authorities.
    pub tls_config: Option<RawTls>,
    /// The proxy to use, such as http://proxy.example.com:3128.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::PROXY_URL)))]
    pub proxy_url: Option<String>,
    /// User and password for the proxy. Needs `proxy_url`.
    pub proxy_authorization: Option<RawLogin>,
    /// Hosts that are reached without the proxy, separated by commas. Needs `proxy_url`.
    pub no_proxy: Option<String>,
    /// Use HTTPS_PROXY and NO_PROXY of the environment. Not together with `proxy_url`.
    pub proxy_from_environment: Option<bool>,
    /// How often a cluster is asked; 1s to 1d. Default: 60s.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub poll_interval: Option<String>,
    /// Time limit of one poll, login included; at most the interval. Default: 10s, or the interval if that is shorter.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub poll_timeout: Option<String>,
    /// How long a last good status is still served; at least interval + timeout. Default: 5 times the interval.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub stale_after: Option<String>,
    /// What is well and what is not: for the status page, `status`, the alerts and the dashboards.
    pub policy: Option<RawPolicy>,
    /// Look at the certificate of the KMS that the cluster uses, every ten minutes and never more than that. Default: false.
    pub probe_kms: Option<bool>,
    /// The only networks in which a KMS is contacted, such as 10.20.0.0/16. Without them, all but those of loopback, link-local
    /// and metadata addresses.
    #[cfg_attr(test, schemars(length(min = 1), inner(regex(pattern = super::schema::NETWORK))))]
    pub probe_kms_networks: Option<Vec<String>>,
}

/// What is well and what is not. Each key that a cluster does not have is that of `global`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// What clusters have to be: any, encrypted or kms; what is written here and not met is critical. Without it, a cluster
    /// that is not encrypted is worth a warning.
    #[cfg_attr(test, schemars(regex(pattern = "^(any|encrypted|kms)$")))]
    pub require: Option<String>,
    /// Certificates of the KMS connection with less time left are worth a warning; 0s is no limit. Default: 30d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub certificate_warning: Option<String>,
    /// Certificates of the KMS connection with less time left are critical; 0s is no limit. Default: 7d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub certificate_critical: Option<String>,
    /// Master keys that are older are worth a warning; 0s is no limit. Default: 365d.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::DURATION)))]
    pub key_max_age: Option<String>,
}

/// An access token.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawAuthorization {
    /// Only Bearer.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(regex(pattern = "^[Bb][Ee][Aa][Rr][Ee][Rr]$")))]
    pub kind: Option<String>,
    /// A file with the token: bare, or the JSON file that qq writes. Read again when it changes.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub credentials_file: Option<PathBuf>,
    /// Refused: secrets belong into files.
    #[serde(default)]
    pub credentials: Inline,
}

/// A user and the file with the password.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawLogin {
    /// The user: for `login` a local one of the cluster.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub username: Option<String>,
    /// A file with the password. Read again when it changes.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    pub password_file: Option<PathBuf>,
    /// Refused: secrets belong into files.
    #[serde(default)]
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
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._:-]+$")))]
    pub server_name: Option<String>,
    /// TLS12 or TLS13. Default: TLS12.
    #[cfg_attr(test, schemars(regex(pattern = "^TLS1[23]$")))]
    pub min_version: Option<String>,
    /// SHA-256 fingerprints of the cluster's certificate, one or a list: 64 hexadecimal digits, or the whole line that
    /// `openssl x509 -fingerprint -sha256` prints. A match replaces all other checks.
    pub pin_sha256: Option<OneOrMore>,
    /// Accept any certificate. Anybody between exporter and cluster can then read the credential.
    pub insecure_skip_verify: Option<bool>,
}

/// One text, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    More(Vec<String>),
    One(String),
}

impl OneOrMore {
    /// Each with what follows the key in its path.
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

/// A key that is there, whatever its value: the value is thrown away while it is read.
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
