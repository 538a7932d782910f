//! The description of simulated clusters: the format of the fleet file, and what only tests can set.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fleet::FleetError, replay::Replay, time};

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    pub clusters: Vec<ClusterSpec>,
}

/// A simulated cluster. The default is a healthy Core 7 cluster with a local key store.
///
/// The fields of type [`Value`] are sent as they are, so null, numbers and invalid text are possible. Only relative times such
/// as `+25d`, `-3h`, `+90m` or `-10s` are replaced. They are relative to the moment when the description was applied, so the
/// time that is sent does not change.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSpec {
    /// Keys that are omitted from the status.
    pub absent: Vec<StatusField>,
    pub auth: AuthSpec,
    /// Replaces the JSON of the two status endpoints, and is the body of `faults.http_status`. Sent as HTML if it begins with
    /// `<`, otherwise as JSON.
    pub body: Option<String>,
    /// Expiry of the KMS CA certificate; null with a local key store.
    pub ca_cert_expiry: Value,
    /// Expiry of the certificate of the REST API: relative to its creation, or RFC 3339. Otherwise the default is used.
    pub certificate_expiry: String,
    /// Whether the self-signed certificate of the REST API is a CA certificate. Some TLS libraries refuse such a certificate
    /// as a server certificate.
    pub certificate_is_ca: bool,
    /// Certificate chain and private key (PKCS #8), in PEM, that replace the self-signed certificate of the REST API.
    #[serde(skip)]
    pub certificate_pem: Option<String>,
    /// CA certificates in PEM. If set, clients need a certificate of one of these CAs.
    #[serde(skip)]
    pub client_ca_pem: Option<String>,
    /// Expiry of the KMS client certificate; null with a local key store.
    pub client_cert_expiry: Value,
    /// The UUID in `/v1/node/state`. Default: derived from the name.
    pub cluster_id: Option<String>,
    pub faults: Faults,
    /// Where port, certificate and credentials are saved. With `None`, they are not saved.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
    /// Digits of the fraction of relative times, 0 to 9.
    pub fraction_digits: u8,
    /// The address to listen on. `127.0.0.2` is for `qq` as root, which uses a privileged source port for connections to
    /// `127.0.0.1` (SDK `qumulo/lib/request.py`).
    pub host: IpAddr,
    /// Where the master key is: `Local` or `KMS`.
    #[serde(rename = "type")]
    pub key_store_type: Value,
    pub kms: KmsSpec,
    /// When the current master key was created; null if the cluster is not encrypted.
    pub last_key_rotation_time: Value,
    /// When the cluster last refreshed its status; null with a local key store. Relative to each response: `-5m` is always five
    /// minutes ago.
    pub last_status_update_time: Value,
    /// Required in the fleet file, and unique.
    pub name: String,
    /// The port to listen on; 0 for a free one. A real cluster has its REST API on port 8000.
    pub port: u16,
    pub profile: Profile,
    /// Recorded responses, which replace most of this description.
    #[serde(skip)]
    pub replay: Option<Replay>,
    /// Such as `Encrypted` or `KMS Available`.
    pub status: Value,
    /// The version in `/v1/version`, such as `7.2.3.1`. Default: derived from the profile.
    pub version: Option<String>,
}

/// A release, as far as its encryption API differs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum Profile {
    /// `GET /v1/encryption/status` only; version 2 responds with 404.
    #[serde(rename = "core-6.0")]
    Core60,
    /// Version 2 of the status in its unreleased form (`ENCRYPTION_TYPE_LOCAL` and a `value`), which only the releases 6.2.1
    /// and 6.2.1.2 of the SDK support.
    #[serde(rename = "core-6.2.1")]
    Core621,
    /// The first release with the current version 2 (SDK 6.2.2).
    #[serde(rename = "core-6.2.2")]
    Core622,
    /// Current releases, with the same encryption API as 6.2.2.
    #[default]
    #[serde(rename = "core-7.x")]
    Core7,
}

/// A key of the status, for [`ClusterSpec::absent`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusField {
    CaCertExpiry,
    ClientCertExpiry,
    LastKeyRotationTime,
    LastStatusUpdateTime,
    Status,
    Type,
}

/// The KMS in `/v2/encryption/key-store` of a cluster whose `type` is `KMS`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct KmsSpec {
    pub config_creation_time: Value,
    pub hostname: String,
    /// The identifier of the master key in the KMS.
    pub key_id: String,
    pub port: u16,
}

/// The only user of a cluster. The defaults are public: nothing is protected.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSpec {
    /// Whether the generated configuration uses a session login instead of the access token.
    #[serde(skip)]
    pub login: bool,
    /// Whether the user may list its own access tokens without `PRIVILEGE_ACCESS_TOKENS_READ`. No public source says how real
    /// clusters behave.
    pub own_tokens_visible: bool,
    pub password: String,
    pub privileges: Vec<String>,
    /// How long a session lasts. Qumulo documents 10 hours.
    pub session_hours: u32,
    /// The access token. Default: derived from the name of the cluster.
    pub token: Option<String>,
    /// If false, requests with the access token get 401.
    pub token_enabled: bool,
    /// When the access token expires: a relative time, RFC 3339, or null for never. Any other text is sent as it is.
    pub token_expiry: Option<String>,
    pub username: String,
}

/// Faults of a cluster. They can be combined.
///
/// The encryption endpoints are `GET /v1/encryption/status`, `GET /v2/encryption/key-store/status` and
/// `GET /v2/encryption/key-store`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Encryption endpoints: `Transfer-Encoding: chunked` instead of `Content-Length`.
    pub chunked: bool,
    /// All responses: the `Date` header is wrong by this much, such as `+10m` or `-2h`.
    pub clock_skew: Option<String>,
    /// All responses: `Connection: close`, and the connection is closed.
    pub close: bool,
    /// `GET /v2/encryption/key-store`, `GET /v1/session/who-am-i` and `GET /v1/auth/access-tokens/`.
    pub details_fault: Option<EndpointFault>,
    /// The port is closed: connections are refused, open connections are closed.
    pub down: bool,
    /// Encryption endpoints: the connection is closed without a response.
    pub drop: bool,
    /// All requests: no response.
    pub hang: bool,
    /// Connections are accepted, but there is no TLS handshake.
    pub hang_handshake: bool,
    /// Encryption endpoints: this HTTP status, with the cluster's `body` or else a JSON error.
    pub http_status: Option<u16>,
    /// `GET /v1/version` and `GET /v1/node/state`.
    pub identity_fault: Option<EndpointFault>,
    /// All responses: a delay such as `200ms` or `5s`.
    #[serde(deserialize_with = "time::duration")]
    pub latency: Option<Duration>,
    /// Login: this HTTP status and a JSON error, for any password.
    pub login_status: Option<u16>,
    /// Encryption endpoints: the body is padded with spaces to this many bytes. It remains valid JSON, so only a size limit
    /// rejects it.
    pub oversize: Option<u64>,
    /// Encryption endpoints: a 302 redirect to this location.
    pub redirect: Option<String>,
    /// Encryption endpoints: the connection is reset (TCP RST) without a response.
    pub reset: bool,
    /// Encryption endpoints: this `Retry-After` header, on any response.
    pub retry_after: Option<String>,
    /// Encryption endpoints: half of the body is sent, and then nothing more.
    pub stall_body: bool,
    /// Encryption endpoints: the body is sent byte by byte, with this delay before each.
    #[serde(deserialize_with = "time::duration")]
    pub trickle: Option<Duration>,
    /// Encryption endpoints: half of the JSON, with the `Content-Length` of that half: valid HTTP, invalid JSON.
    pub truncate: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Value")]
pub enum EndpointFault {
    /// `hang`: no response.
    Hang,
    /// This HTTP status and a JSON error.
    Status(u16),
}

/// 64 hexadecimal digits that depend only on `purpose` and `name`, so that a restarted cluster keeps its identity.
pub fn derive_hex(purpose: &str, name: &str) -> String {
    let digest = digest(&SHA256, format!("{purpose}\0{name}").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl FleetSpec ===

impl FleetSpec {
    /// The fleet of `demo` as YAML with comments, to be copied and edited.
    pub const DEMO: &str = include_str!("demo.yml");

    /// Parses a fleet file. The error has line and column, except if a name is missing, or a name or an address is not unique.
    pub fn parse(yaml: &str) -> Result<Self, FleetError> {
        // Without an excerpt of the file, which can contain a token: the error is logged.
        let options = serde_saphyr::options! { with_snippet: false };
        let fleet = serde_saphyr::from_str_with_options(yaml, options);
        fleet.map_err(|err| FleetError::Invalid(err.to_string())).and_then(Self::check)
    }

    /// The fleet of `demo`: at least one cluster in each state.
    pub fn demo() -> Self {
        // A test parses it.
        Self::parse(Self::DEMO).unwrap_or_default()
    }

    /// Checks names and addresses.
    pub(crate) fn check(self) -> Result<Self, FleetError> {
        let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
        for (index, ClusterSpec { name, host, port, .. }) in self.clusters.iter().enumerate() {
            let message = if name.is_empty() {
                format!("cluster number {} has no `name`", index + 1)
            } else if !names.insert(name) {
                format!("two clusters have the name `{name}`; rename one of them")
            } else if *port != 0 && !addresses.insert((host, port)) {
                format!("cluster `{name}`: another cluster has the same host and port; choose another `port`")
            } else {
                continue;
            };
            return Err(FleetError::Invalid(message));
        }
        Ok(self)
    }
}

// === impl ClusterSpec ===

impl ClusterSpec {
    /// A healthy cluster.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub fn token(&self) -> String {
        let derived = || format!("access-v1:{:.38}==", derive_hex("token", &self.name));
        self.auth.token.clone().unwrap_or_else(derived)
    }

    /// The UUID in `/v1/node/state`. A derived one has the form of UUID version 5.
    pub fn cluster_id(&self) -> String {
        self.cluster_id.clone().unwrap_or_else(|| {
            let mut digits = derive_hex("uuid", &self.name);
            digits.truncate(30);
            for (at, text) in [(18, "-"), (15, "-8"), (12, "-5"), (8, "-")] {
                digits.insert_str(at, text);
            }
            digits
        })
    }

    /// The version in `/v1/version`.
    pub fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(match self.profile {
            Profile::Core60 => "6.0.2",
            Profile::Core621 => "6.2.1.2",
            Profile::Core622 => "6.2.2.2",
            Profile::Core7 => "7.2.3.1",
        })
    }

    /// When the access token expires. `applied`: when this description was applied.
    pub(crate) fn token_expiry(&self, applied: DateTime<Utc>) -> Option<DateTime<Utc>> {
        time::parse_time(self.auth.token_expiry.as_deref()?, applied)
    }

    /// If these change, a running cluster needs another certificate.
    pub(crate) fn tls_settings(&self) -> impl PartialEq + '_ {
        (&self.certificate_expiry, self.certificate_is_ca, &self.certificate_pem, &self.client_ca_pem)
    }
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            absent: Vec::new(),
            auth: AuthSpec::default(),
            body: None,
            ca_cert_expiry: Value::Null,
            certificate_expiry: "+825d".to_owned(),
            certificate_is_ca: false,
            certificate_pem: None,
            client_ca_pem: None,
            client_cert_expiry: Value::Null,
            cluster_id: None,
            faults: Faults::default(),
            folder: None,
            fraction_digits: 0,
            host: Ipv4Addr::LOCALHOST.into(),
            key_store_type: "Local".into(),
            kms: KmsSpec::default(),
            last_key_rotation_time: "-200d".into(),
            last_status_update_time: Value::Null,
            name: String::new(),
            port: 0,
            profile: Profile::default(),
            replay: None,
            status: "Encrypted".into(),
            version: None,
        }
    }
}

impl Default for KmsSpec {
    fn default() -> Self {
        Self {
            config_creation_time: "-200d".into(),
            hostname: "kms.example.com".to_owned(),
            key_id: "8f2c1f7e-qumulo-master".to_owned(),
            port: 5696,
        }
    }
}

impl Default for AuthSpec {
    fn default() -> Self {
        Self {
            login: false,
            own_tokens_visible: false,
            password: "secret".to_owned(),
            privileges: vec!["PRIVILEGE_ENCRYPTION_READ".to_owned()],
            session_hours: 10,
            token: None,
            token_enabled: true,
            token_expiry: None,
            username: "monitor".to_owned(),
        }
    }
}

impl TryFrom<Value> for EndpointFault {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if value == "hang" {
            return Ok(Self::Hang);
        }
        let invalid = |_| format!("{value} is neither `hang` nor an HTTP status (such as 500)");
        u16::deserialize(&value).map(Self::Status).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_values_are_stable_and_distinct() {
        let id = |name: &str| ClusterSpec::named(name).cluster_id();
        assert_eq!(id("prod-east"), id("prod-east"));
        assert_ne!(id("prod-east"), id("prod-west"));
        assert_eq!(id("a").split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(derive_hex("token", "a").len(), 64);
    }
}
