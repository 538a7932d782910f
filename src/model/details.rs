use std::time::Instant;

use super::{ClockTime, Identity, Timestamp};

/// What a cluster's further endpoints said, which are asked rarely. Each part is absent when it is not known, which costs
/// no status.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    /// The exporter's own account.
    pub account: Account,
    /// Which cluster it is.
    pub identity: Identity,
    /// The key management server in use.
    pub kms: Option<KmsServer>,
}

/// The key management server of a cluster, from `GET /v2/encryption/key-store`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KmsServer {
    /// When this configuration was made.
    pub configured: Option<Timestamp>,
    host: Box<str>,
    key_id: Box<str>,
    /// Its port.
    pub port: Option<u16>,
}

/// What the exporter's account may do, and until when.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// From `GET /v1/session/who-am-i`.
    pub privileges: Option<Privileges>,
    /// The access tokens that are enabled, from `GET /v1/auth/access-tokens/`, where the cluster shows them.
    pub tokens: Option<Vec<AccessToken>>,
}

/// The privileges of an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Privileges {
    /// Whether the one that the exporter needs is among them.
    pub can_read: bool,
    /// The others.
    pub excess: Vec<Box<str>>,
}

/// An access token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessToken {
    /// `None` if it never does.
    pub expires: Option<Timestamp>,
    id: Box<str>,
}

/// What a look at the key management server itself gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KmsProbe {
    /// Its address is none that may be contacted.
    NotAllowed,
    /// It showed a certificate that expires then.
    Shown(Timestamp),
    /// It showed none.
    Unreachable,
}

/// What a cluster's clock showed, in the header `Date`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerClock {
    /// On this machine's monotonic clock: the middle between the request and its answer.
    pub at: Instant,
    /// The cluster's time then, in whole seconds.
    pub date: Timestamp,
}

// === impl KmsServer ===

impl KmsServer {
    /// Host and key become labels: what is not a host name or an address, and what is not printable ASCII of 128 characters
    /// at most, is empty.
    pub fn new(host: &str, port: Option<u16>, key_id: &str, configured: Option<Timestamp>) -> Self {
        // As in a URL.
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

    /// Its host name or address, in lower case; empty if that is not known.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The identifier of the master key there; empty if that is not known.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Host and port, for people.
    pub fn address(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

// === impl Privileges ===

impl Privileges {
    /// What the exporter needs, and nothing else.
    pub const NEEDED: &'static str = "PRIVILEGE_ENCRYPTION_READ";

    /// Of the names that a cluster told. What does not look like one is not kept.
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
    /// `None` unless `id` can be a label: letters and digits, 64 at most.
    pub fn new(id: &str, expires: Option<Timestamp>) -> Option<Self> {
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| Self { expires, id: id.into() })
    }

    /// Its identifier, which is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }
}

// === impl ServerClock ===

impl ServerClock {
    /// By how many seconds the cluster's clock is ahead of this machine's, both seen from `now`. The header has whole
    /// seconds, so the answer is right to half of one.
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
