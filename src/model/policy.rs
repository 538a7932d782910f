use std::{sync::Arc, time::Duration};

use super::Labels;

const DAY: Duration = Duration::from_secs(86_400);

/// Settings of a cluster that do not affect polling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterMetadata {
    /// Whether the validity dates of the REST API certificate are not verified (`pin_sha256`, `insecure_skip_verify`).
    pub dates_unverified: bool,
    pub labels: Labels,
    pub policy: Policy,
    /// URL of the cluster, for display.
    pub url: Arc<str>,
}

/// Limits for the findings; `policy` in the configuration. `None` switches a limit off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Critical when a certificate has less time left than this.
    pub certificate_critical: Option<Duration>,
    /// Warning when a certificate has less time left than this.
    pub certificate_warning: Option<Duration>,
    /// Warning when the master key is older than this.
    pub key_max_age: Option<Duration>,
    /// If `None`, a cluster that is not encrypted is a warning.
    pub require: Option<Require>,
}

label_enum! {
    /// The required kind of encryption; a cluster that does not have it is critical.
    pub enum Require {
        /// No requirement: also not encrypted.
        Any = "any",
        /// Encrypted at rest, with any key store.
        Encrypted = "encrypted",
        /// Encrypted at rest, with the key in a KMS.
        Kms = "kms",
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            certificate_critical: Some(7 * DAY),
            certificate_warning: Some(30 * DAY),
            key_max_age: Some(365 * DAY),
            require: None,
        }
    }
}

// === impl Require ===

impl Require {
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|require| require.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_has_its_label() {
        let found = Require::LABELS.map(Require::from_label);
        assert_eq!(found, [Some(Require::Any), Some(Require::Encrypted), Some(Require::Kms)]);
        assert_eq!(found.map(|require| require.unwrap().label()), Require::LABELS);
        assert_eq!(Require::from_label("always"), None);
    }
}
