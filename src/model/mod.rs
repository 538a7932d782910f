//! The encryption status of a cluster as validated, typed values.
//!
//! No serde, no IO, no clock. The client produces these types; store, metrics and report consume them.

use std::sync::Arc;

/// Defines an enum whose variants are the values of a label, with `ALL` and `LABELS` in the order in which the series are
/// written.
macro_rules! label_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            pub const ALL: [Self; Self::LABELS.len()] = [$(Self::$variant),*];

            pub const LABELS: [&'static str; [$($label),*].len()] = [$($label),*];

            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

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

/// The result of a successful poll.
#[derive(Clone, Debug, PartialEq)]
pub struct PollResult {
    pub api: ApiVersion,
    /// `None` if the response has no usable `Date` header.
    pub clock: Option<ServerClock>,
    pub dates: Dates,
    /// Shared with earlier results, because it is requested less often than the status.
    pub details: Arc<Details>,
    pub key_store: KeyStore,
    /// `None` unless `probe_kms` is set and a KMS is in use.
    pub kms_probe: Option<KmsProbe>,
    pub status: Status,
}

// === impl PollResult ===

impl PollResult {
    /// `notAfter` of a KMS certificate, if known.
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

    /// A result with a local key store, without dates and details.
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
