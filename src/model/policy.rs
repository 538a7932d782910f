use std::{sync::Arc, time::Duration};

use super::Labels;

const DAY: Duration = Duration::from_secs(86_400);

/// What the operator writes about a cluster, beside how it is asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterMetadata {
    /// Whether the dates of its REST API's certificate are not verified: with a pin, or without verification.
    pub dates_unverified: bool,
    /// For joins.
    pub labels: Labels,
    /// For the judgement.
    pub policy: Policy,
    /// Where the cluster is asked, for people; empty in tests that ask nobody.
    pub url: Arc<str>,
}

/// What is well and what is not: the limits of the judgement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Certificates with less left are critical; `None` is no such limit.
    pub certificate_critical: Option<Duration>,
    /// Certificates with less left are worth a warning; `None` is no such limit.
    pub certificate_warning: Option<Duration>,
    /// Keys that are older are worth a warning; `None` is no such limit.
    pub key_max_age: Option<Duration>,
    /// What the operator wrote down. Without it, a cluster that is not encrypted is worth a warning.
    pub require: Option<Require>,
}

/// What a cluster has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Require {
    /// Anything, also not encrypted.
    Any,
    /// Encrypted at rest.
    Encrypted,
    /// Encrypted, with the key in a key management server.
    Kms,
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
    /// The values of the label `require`.
    pub const LABELS: [&'static str; 3] = ["any", "encrypted", "kms"];

    /// The value of the label `require`, and of the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Encrypted => "encrypted",
            Self::Kms => "kms",
        }
    }

    /// The one with this label.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Any, Self::Encrypted, Self::Kms].into_iter().find(|require| require.label() == label)
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
