//! What a cluster's encryption status is: values that have been understood.
//!
//! No serde, no IO, no clock. Everything above (the client) produces these types, everything below
//! (store, metrics, pages) consumes them, and neither knows the other.

use std::sync::Arc;

mod clock_time;
mod dates;
mod details;
mod failure;
mod identity;
mod key_store;
mod labels;
mod name;
mod policy;
mod status;
mod text;

pub use clock_time::ClockTime;
pub use dates::{Date, DateField, Dates, KmsCertificate, Timestamp};
pub use details::{AccessToken, Account, Details, KmsProbe, KmsServer, Privileges, ServerClock};
pub use failure::{CredentialRejection, FailureReason, PollFailure};
pub use identity::{ApiVersion, ClusterId, CoreVersion, Identity};
pub use key_store::KeyStore;
pub use labels::{LabelError, Labels};
pub use name::{ClusterName, ClusterNameError};
pub use policy::{ClusterMetadata, Policy, Require};
pub use status::Status;
pub use text::{ForeignText, escape_hidden, is_hidden};

/// All that one successful poll tells of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct PollResult {
    /// Which generation of the REST API answered.
    pub api: ApiVersion,
    /// What the cluster's clock showed with this answer.
    pub clock: Option<ServerClock>,
    /// The four dates, each understood or not on its own.
    pub dates: Dates,
    /// What is asked rarely.
    pub details: Arc<Details>,
    /// Where the master key is kept.
    pub key_store: KeyStore,
    /// What the key management server shows, if the operator lets it be contacted.
    pub kms_probe: Option<KmsProbe>,
    /// The state of at-rest encryption.
    pub status: Status,
}

// === impl PollResult ===

impl PollResult {
    /// When a certificate of the connection to the key management server expires, as far as that is known.
    pub fn expiry(&self, certificate: KmsCertificate) -> Option<Timestamp> {
        match certificate {
            KmsCertificate::Ca => self.dates.get(DateField::CaCertExpiry).timestamp(),
            KmsCertificate::Client => self.dates.get(DateField::ClientCertExpiry).timestamp(),
            KmsCertificate::Server => match self.kms_probe {
                Some(KmsProbe::Shown(at)) => Some(at),
                Some(KmsProbe::NotAllowed | KmsProbe::Unreachable) | None => None,
            },
        }
    }

    /// A status of a local key store, and nothing else: for tests.
    #[cfg(test)]
    pub fn local(status: Status) -> Self {
        Self {
            api: ApiVersion::V2,
            clock: None,
            dates: Dates::default(),
            details: Arc::default(),
            key_store: KeyStore::Local,
            kms_probe: None,
            status,
        }
    }
}
