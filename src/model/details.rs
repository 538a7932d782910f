use std::time::Instant;

use super::{ClockTime, Identity, Timestamp};

/// Data from endpoints that are requested less often than the status. A part that could not be read is absent and does
/// not fail the poll.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    pub account: Account,
    pub identity: Identity,
    /// `None` with a local key store, or when not known.
    pub kms: Option<KmsServer>,
}

/// The KMS configuration of a cluster, from `GET /v2/encryption/key-store`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KmsServer {
    /// When the key store was configured.
    pub configured: Option<Timestamp>,
    host: Box<str>,
    key_id: Box<str>,
    pub port: Option<u16>,
}

/// The account that the exporter uses on a cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// From `GET /v1/session/who-am-i`.
    pub privileges: Option<Privileges>,
    /// The account's enabled access tokens, from `GET /v1/auth/access-tokens/`. `None` if they
    /// are not known: the account may not list them, or a login is used.
    pub tokens: Option<Vec<AccessToken>>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Privileges {
    /// Whether the account has [`Self::NEEDED`].
    pub can_read: bool,
    /// All privileges except [`Self::NEEDED`].
    pub excess: Vec<Box<str>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessToken {
    /// `None` if the token does not expire.
    pub expires: Option<Timestamp>,
    id: Box<str>,
}

/// The result of a TLS handshake between the exporter and the KMS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KmsProbe {
    /// The address is outside the networks that may be contacted.
    NotAllowed,
    /// `notAfter` of the certificate that the KMS presented.
    Shown(Timestamp),
    /// The handshake did not get as far as the certificate.
    Unreachable,
}

/// The cluster's clock, from the `Date` header of a response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerClock {
    /// Halfway between request and response, on the exporter's monotonic clock.
    pub at: Instant,
    /// The cluster's time at that moment, in whole seconds.
    pub date: Timestamp,
}

// === impl KmsServer ===

impl KmsServer {
    /// Host and key identifier become label values. A host that is neither a host name nor an IP address is replaced by
    /// an empty string, as is a key identifier that is not printable ASCII or is longer than 128 characters.
    pub fn new(host: &str, port: Option<u16>, key_id: &str, configured: Option<Timestamp>) -> Self {
        // An IPv6 address in brackets, as in a URL.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.filter(|host| host.contains(':')).unwrap_or(host);
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let is_host = host.len() <= 253 && host.bytes().all(in_host);
        let is_key = key_id.len() <= 128 && key_id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        Self {
            configured,
            host: if is_host { host.to_ascii_lowercase().into() } else { Box::default() },
            key_id: if is_key { key_id.into() } else { Box::default() },
            port,
        }
    }

    /// Host name or IP address in lower case; empty if not known.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Identifier of the master key in the KMS; empty if not known.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `HOST:PORT` for display, with an IPv6 address in brackets.
    pub fn address(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

// === impl Privileges ===

impl Privileges {
    /// The only privilege that the exporter needs.
    pub const NEEDED: &'static str = "PRIVILEGE_ENCRYPTION_READ";

    /// Ignores strings that do not look like the name of a privilege.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let is_name = |name: &&str| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte))
        };
        let mut privileges = Self::default();
        for name in names.filter(is_name) {
            if name == Self::NEEDED { privileges.can_read = true } else { privileges.excess.push(name.into()) }
        }
        privileges
    }
}

// === impl AccessToken ===

impl AccessToken {
    /// `None` unless `id` consists of 1 to 64 ASCII letters and digits, because it becomes a label value.
    pub fn new(id: &str, expires: Option<Timestamp>) -> Option<Self> {
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| Self { expires, id: id.into() })
    }

    /// Identifier of the token, which is not secret.
    pub fn id(&self) -> &str {
        &self.id
    }
}

// === impl KmsProbe ===

impl KmsProbe {
    /// `None` if the KMS was not contacted.
    pub fn reachable(self) -> Option<bool> {
        match self {
            Self::NotAllowed => None,
            Self::Shown(_) => Some(true),
            Self::Unreachable => Some(false),
        }
    }
}

// === impl ServerClock ===

impl ServerClock {
    /// Cluster time minus exporter time, in seconds. `Date` has whole seconds, so half a second is added and the result is
    /// accurate to 0.5 seconds.
    pub fn skew(&self, now: &ClockTime) -> f64 {
        let ours = now.unix_seconds() - now.mono.saturating_duration_since(self.at).as_secs_f64();
        self.date.unix_seconds() + 0.5 - ours
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;

    #[test]
    fn labels_are_checked() {
        let check = |host: &str, key_id: &str, expect: (&str, &str)| {
            let server = KmsServer::new(host, Some(5696), key_id, None);
            assert_eq!((server.host(), server.key_id()), expect, "{host:?} {key_id:?}");
        };
        check("kms.example.com", "8f2c-\"key\"", ("kms.example.com", "8f2c-\"key\""));
        check("KMS", "", ("kms", ""));
        check("2001:db8::1", "a b", ("2001:db8::1", "a b"));
        check("[2001:DB8::1]", "", ("2001:db8::1", ""));
        check("[kms]", "", ("", ""));
        check("kms/../x", "é", ("", ""));
        check(&"a".repeat(254), &"a".repeat(129), ("", ""));
        check("a b", "line\nbreak", ("", ""));
        let address = |host, port| KmsServer::new(host, port, "", None).address();
        assert_eq!([address("a", Some(1)), address("::1", Some(1)), address("a", None)], ["a:1", "[::1]:1", "a"]);
    }

    #[test]
    fn privileges_are_the_needed_one_and_the_others() {
        let check = |names: &[&str], can_read: bool, excess: &[&str]| {
            let privileges = Privileges::new(names.iter().copied());
            let got: Vec<&str> = privileges.excess.iter().map(|name| &**name).collect();
            assert_eq!((privileges.can_read, &*got), (can_read, excess), "{names:?}");
        };
        check(&[], false, &[]);
        check(&["PRIVILEGE_ENCRYPTION_READ"], true, &[]);
        check(&["PRIVILEGE_FS_READ", "PRIVILEGE_ENCRYPTION_READ", "<b>", ""], true, &["PRIVILEGE_FS_READ"]);
    }

    #[test]
    fn token_ids_are_checked() {
        let expires = Timestamp::new(DateTime::UNIX_EPOCH);
        for (id, good) in [("1234567890123456789012", true), ("", false), ("a b", false), (&*"1".repeat(65), false)] {
            assert_eq!(AccessToken::new(id, expires).is_some(), good, "{id}");
        }
    }

    #[test]
    fn clocks_are_compared_at_the_same_instant() {
        let origin = Instant::now();
        let now = ClockTime {
            mono: origin + Duration::from_secs(3),
            wall: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(103),
        };
        let check = |date: i64, expect: f64| {
            let date = Timestamp::new(DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(date)).unwrap();
            assert_eq!(ServerClock { at: origin, date }.skew(&now), expect);
        };
        check(100, 0.5);
        check(99, -0.5);
        check(400, 300.5);
        check(0, -99.5);
    }
}
