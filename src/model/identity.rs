/// Identity of a cluster. A part that could not be read is `None` and does not fail the poll.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// From `GET /v1/node/state`.
    pub cluster_id: Option<ClusterId>,
    /// From `GET /v1/version`.
    pub version: Option<CoreVersion>,
}

/// UUID of a cluster in lower case. Validated, because it is a label value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterId(Box<str>);

/// Version of Qumulo Core, such as `7.2.3.1`. Validated, because it is a label value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CoreVersion(Box<str>);

label_enum! {
    /// Version of the endpoint that returned the status.
    pub enum ApiVersion {
        /// `GET /v1/encryption/status`, Core 3.1.5 to 6.2.1, which do not support a KMS.
        V1 = "v1",
        /// `GET /v2/encryption/key-store/status`, Core 6.2.2 and later.
        V2 = "v2",
    }
}

// === impl ClusterId ===

impl ClusterId {
    /// `None` unless `text` is a UUID with hyphens (RFC 9562, section 4).
    pub fn parse(text: &str) -> Option<Self> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let hexadecimal = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        (lengths == [8, 4, 4, 4, 12] && hexadecimal).then(|| Self(text.to_ascii_lowercase().into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl CoreVersion ===

impl CoreVersion {
    /// `None` unless `text` consists of one to six numbers separated by dots.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        (text.split('.').count() <= 6 && text.split('.').all(number)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uuids_are_cluster_ids() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(ClusterId::parse(text).as_ref().map(ClusterId::as_str), expect, "{text:?}");
        };
        check("f8a2c1d4-0b3e-4c5d-9e8f-001122334455", Some("f8a2c1d4-0b3e-4c5d-9e8f-001122334455"));
        check("F8A2C1D4-0B3E-4C5D-9E8F-001122334455", Some("f8a2c1d4-0b3e-4c5d-9e8f-001122334455"));
        check("", None);
        check("f8a2c1d40b3e4c5d9e8f001122334455", None);
        check("g8a2c1d4-0b3e-4c5d-9e8f-001122334455", None);
        check("f8a2c1d4-0b3e-4c5d-9e8f-00112233445é", None);
    }

    #[test]
    fn only_numbers_and_dots_are_versions() {
        let check = |text: &str, expect: bool| assert_eq!(CoreVersion::parse(text).is_some(), expect, "{text:?}");
        check("7.2.3.1", true);
        check("6", true);
        check("", false);
        check("7..2", false);
        check("7.2.", false);
        check("7.2-beta", false);
        check("1.2.3.4.5.6.7", false);
        check("1234567.1", false);
    }
}
