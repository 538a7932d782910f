//! One simulated cluster, described: every knob there is.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::derived;
use super::faults::Faults;
use super::replay::Replay;
use super::timespec;

/// A simulated cluster. The default is a healthy Core 7 cluster with a local key store.
///
/// Four times ([`ca_cert_expiry`](Self::ca_cert_expiry) and its neighbours) and
/// [`status`](Self::status) and [`key_store_type`](Self::key_store_type) take any value: null,
/// a number, garbage. Texts such as `+25d`, `-3h`, `+90m` or `-10s` are times relative to the
/// moment the description was applied, so they stay put; any other text is sent as it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSpec {
    /// What the fleet file calls the cluster. Required there, and unique.
    pub name: String,
    /// The address to listen on. `127.0.0.2` helps root users of `qq`, which binds a privileged
    /// source port towards `127.0.0.1` (SDK `qumulo/lib/request.py`).
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one. A real cluster has its REST API on 8000.
    pub port: u16,
    /// Which release's API is spoken.
    pub profile: Profile,
    /// The version number in `/v1/version`, such as `7.2.3.1`. Default: one of the profile.
    pub version: Option<String>,
    /// The UUID in `/v1/node/state`. Default: one that follows from the name.
    pub cluster_id: Option<String>,
    /// YAML key `type`: where the master key is, `Local` or `KMS`.
    #[serde(rename = "type")]
    pub key_store_type: Value,
    /// The status text, such as `Encrypted` or `KMS Available`.
    pub status: Value,
    /// Expiry of the certificate of the key manager's authority; null with a local key store.
    pub ca_cert_expiry: Value,
    /// Expiry of the certificate the cluster shows to the key manager; null with a local one.
    pub client_cert_expiry: Value,
    /// Since when the present key is active; null when not encrypted.
    pub last_key_rotation_time: Value,
    /// When the cluster last refreshed its status; null with a local key store. A relative text
    /// counts from the moment of each answer, so that `-5m` is always five minutes ago.
    pub last_status_update_time: Value,
    /// How many digits of fraction relative times get: 0 to 9, more count as 9.
    pub fraction_digits: u8,
    /// Keys left out of the status answers altogether.
    pub absent: Vec<StatusField>,
    /// Sent word for word in place of the JSON of the two status endpoints, and as the body of
    /// `faults.http_status`. Declared as HTML when it begins with `<`.
    pub body: Option<String>,
    /// The key manager in `/v2/encryption/key-store`.
    pub kms: KmsSpec,
    /// Who may ask for what.
    pub auth: AuthSpec,
    /// What goes wrong.
    pub faults: Faults,
    /// Whether the self-signed certificate of the REST API is marked as an authority. Some TLS
    /// libraries refuse such a certificate as a server's own.
    pub certificate_is_ca: bool,
    /// Expiry of that certificate: a relative time, counted from when it is made, or an RFC 3339
    /// time in UTC. Anything else is taken for the default.
    pub certificate_expiry: String,
    /// A certificate chain in PEM to use in place of a self-signed one. Not in YAML.
    #[serde(skip)]
    pub certificate_pem: Option<String>,
    /// The private key of [`certificate_pem`](Self::certificate_pem). Not in YAML.
    #[serde(skip)]
    pub key_pem: Option<String>,
    /// What the cluster answers, in place of everything above. Not in YAML.
    #[serde(skip)]
    pub replay: Option<Replay>,
    /// Authorities in PEM; clients then need a certificate signed by one of them. Not in YAML.
    #[serde(skip)]
    pub client_ca_pem: Option<String>,
    /// Where port and certificate are kept for the next start; `None` keeps nothing. Not in YAML.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// A release, as far as its encryption API differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Profile {
    /// `GET /v1/encryption/status` only; version 2 answers 404.
    #[serde(rename = "core-6.0")]
    Core60,
    /// Version 2 of the status in its unreleased shape (`ENCRYPTION_TYPE_LOCAL` and a `value`),
    /// which only the SDK's releases 6.2.1 and 6.2.1.2 know.
    #[serde(rename = "core-6.2.1")]
    Core621,
    /// The first release with version 2 as it is today (SDK 6.2.2).
    #[serde(rename = "core-6.2.2")]
    Core622,
    /// Today's releases; the same encryption API as 6.2.2.
    #[default]
    #[serde(rename = "core-7.x")]
    Core7,
}

/// A key of the status answers, for [`ClusterSpec::absent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusField {
    /// `type`
    Type,
    /// `status`
    Status,
    /// `ca_cert_expiry`
    CaCertExpiry,
    /// `client_cert_expiry`
    ClientCertExpiry,
    /// `last_key_rotation_time`
    LastKeyRotationTime,
    /// `last_status_update_time`
    LastStatusUpdateTime,
}

/// The external key manager of a cluster whose `type` is `KMS`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KmsSpec {
    /// Its host name.
    pub hostname: String,
    /// Its KMIP port.
    pub port: u16,
    /// The identifier of the master key there.
    pub key_id: String,
    /// When this configuration was made. Relative texts as elsewhere.
    pub config_creation_time: Value,
}

/// Accounts and rights. The defaults are for rehearsal: nothing here protects anything.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSpec {
    /// Whether clients are to log in, in place of sending the access token. Not in YAML.
    #[serde(skip)]
    pub login: bool,
    /// The only user that can log in.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The user's access token. Default: one that follows from the cluster's name.
    pub token: Option<String>,
    /// Whether the access token is enabled; a disabled one gets 401.
    pub token_enabled: bool,
    /// When the access token expires: relative, RFC 3339 in UTC, or null for never.
    pub token_expiry: Option<String>,
    /// The user's privileges.
    pub privileges: Vec<String>,
    /// Whether the user may list its own access tokens without `PRIVILEGE_ACCESS_TOKENS_READ`.
    /// No public source says which it is.
    pub own_tokens_visible: bool,
    /// How long a session lasts, in hours. Qumulo documents 10.
    pub session_hours: u32,
}

impl ClusterSpec {
    /// A healthy cluster of this name.
    pub fn named(name: impl Into<String>) -> ClusterSpec {
        ClusterSpec { name: name.into(), ..ClusterSpec::default() }
    }

    /// The access token that is accepted.
    pub fn token(&self) -> String {
        self.auth.token.clone().unwrap_or_else(|| {
            let digits = derived::hex("token", &self.name);
            format!("access-v1:{}==", digits.get(..38).unwrap_or_default())
        })
    }

    /// The UUID in `/v1/node/state`.
    pub fn cluster_id(&self) -> String {
        self.cluster_id.clone().unwrap_or_else(|| derived::uuid(&self.name))
    }

    /// The version number in `/v1/version`.
    pub fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(match self.profile {
            Profile::Core60 => "6.0.2",
            Profile::Core621 => "6.2.1.2",
            Profile::Core622 => "6.2.2.2",
            Profile::Core7 => "7.2.3.1",
        })
    }

    /// When the access token expires, given when the description was applied.
    pub(super) fn token_expires_at(&self, applied: DateTime<Utc>) -> Option<DateTime<Utc>> {
        timespec::parse_time(self.auth.token_expiry.as_deref()?, applied)
    }

    /// What the TLS of a running cluster follows from: when it differs, so must the certificate.
    pub(super) fn tls_settings(&self) -> impl PartialEq + '_ {
        let pem = (&self.certificate_pem, &self.key_pem, &self.client_ca_pem);
        (pem, self.certificate_is_ca, &self.certificate_expiry)
    }
}

impl StatusField {
    /// The key itself.
    pub(super) fn key(self) -> &'static str {
        match self {
            StatusField::Type => "type",
            StatusField::Status => "status",
            StatusField::CaCertExpiry => "ca_cert_expiry",
            StatusField::ClientCertExpiry => "client_cert_expiry",
            StatusField::LastKeyRotationTime => "last_key_rotation_time",
            StatusField::LastStatusUpdateTime => "last_status_update_time",
        }
    }
}

impl Default for ClusterSpec {
    fn default() -> ClusterSpec {
        ClusterSpec {
            name: String::new(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            profile: Profile::default(),
            version: None,
            cluster_id: None,
            key_store_type: Value::from("Local"),
            status: Value::from("Encrypted"),
            ca_cert_expiry: Value::Null,
            client_cert_expiry: Value::Null,
            last_key_rotation_time: Value::from("-200d"),
            last_status_update_time: Value::Null,
            fraction_digits: 0,
            absent: Vec::new(),
            body: None,
            kms: KmsSpec::default(),
            auth: AuthSpec::default(),
            faults: Faults::default(),
            certificate_is_ca: false,
            certificate_expiry: String::from("+825d"),
            certificate_pem: None,
            key_pem: None,
            client_ca_pem: None,
            replay: None,
            folder: None,
        }
    }
}

impl Default for KmsSpec {
    fn default() -> KmsSpec {
        KmsSpec {
            hostname: String::from("kms.example.com"),
            port: 5696,
            key_id: String::from("8f2c1f7e-qumulo-master"),
            config_creation_time: Value::from("-200d"),
        }
    }
}

impl Default for AuthSpec {
    fn default() -> AuthSpec {
        AuthSpec {
            login: false,
            username: String::from("monitor"),
            password: String::from("secret"),
            token: None,
            token_enabled: true,
            token_expiry: None,
            privileges: vec![String::from("PRIVILEGE_ENCRYPTION_READ")],
            own_tokens_visible: false,
            session_hours: 10,
        }
    }
}
