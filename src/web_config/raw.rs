//! The keys of the web configuration file, as the Prometheus exporter toolkit documents them (`docs/web-configuration.md`
//! there). `deploy/web-config.schema.json` is generated from these types, and files are validated against it before they are
//! deserialized. No `Debug`: they hold secrets.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The file. An empty one is valid.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Web configuration of qumulo-encryption-exporter"))]
#[cfg_attr(test, schemars(extend("$id" = "urn:qumulo-encryption-exporter:web-config")))]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub tls_server_config: Option<RawTls>,
    pub http_server_config: Option<RawHttp>,
    /// Users and bcrypt hashes.
    pub basic_auth_users: Option<BTreeMap<String, String>>,
    pub rate_limit: Option<RawRate>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// PEM; the file wins, as for the next two.
    #[cfg_attr(test, schemars(extend("x-secret" = true)))]
    pub cert: Option<String>,
    pub cert_file: Option<String>,
    #[cfg_attr(test, schemars(extend("x-secret" = true)))]
    pub key: Option<String>,
    pub key_file: Option<String>,
    #[cfg_attr(test, schemars(extend("x-secret" = true)))]
    pub client_ca: Option<String>,
    pub client_ca_file: Option<String>,
    pub client_auth_type: Option<String>,
    pub client_allowed_sans: Option<Vec<String>>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub cipher_suites: Option<Vec<String>>,
    /// Accepted, without effect, as in Go since 1.17.
    #[allow(dead_code)]
    pub prefer_server_cipher_suites: Option<bool>,
    pub curve_preferences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    /// Accepted, without effect: the listener speaks HTTP/1.1 only.
    #[allow(dead_code)]
    pub http2: Option<bool>,
    pub headers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawRate {
    /// As Go writes durations.
    pub interval: Option<String>,
    pub burst: Option<u32>,
}
