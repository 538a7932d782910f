use chrono::{DateTime, Utc};

use super::ForeignText;

/// A UTC time in the years 1970 to 9999.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(DateTime<Utc>);

label_enum! {
    /// A date field of the status response, under the API's name.
    pub enum DateField {
        /// `notAfter` of the KMS CA certificate.
        CaCertExpiry = "ca_cert_expiry",
        /// `notAfter` of the KMS client certificate.
        ClientCertExpiry = "client_cert_expiry",
        /// When the current master key became active.
        LastKeyRotationTime = "last_key_rotation_time",
        /// When the cluster last refreshed this status.
        LastStatusUpdateTime = "last_status_update_time",
    }
}

label_enum! {
    /// A certificate used in the connection between the cluster and its KMS.
    pub enum KmsCertificate {
        /// The CA certificate with which the cluster verifies the KMS.
        Ca = "kms_ca",
        /// The certificate that the cluster presents to the KMS.
        Client = "kms_client",
        /// The certificate that the KMS presents. The cluster does not report it; see [`super::KmsProbe`].
        Server = "kms_server",
    }
}

/// The value of one date field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Date {
    At(Timestamp),
    /// Null, empty or absent; the API does not distinguish them.
    #[default]
    NotReported,
    /// Present, but not a date.
    Unreadable(ForeignText),
}

/// The four dates of one response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dates([Date; 4]);

// === impl Timestamp ===

impl Timestamp {
    /// `None` before 1970 and after 9999. No valid date of a cluster is outside this range, and RFC 3339 has four-digit
    /// years.
    pub fn new(at: DateTime<Utc>) -> Option<Self> {
        const END_OF_9999: i64 = 253_402_300_800;
        (0..END_OF_9999).contains(&at.timestamp()).then_some(Self(at))
    }

    /// Unix seconds, with the sub-second precision of an `f64` (about 0.2 microseconds today).
    pub fn unix_seconds(self) -> f64 {
        // Exact: whole seconds up to the year 9999 need 38 of the 53 bits.
        self.0.timestamp() as f64 + f64::from(self.0.timestamp_subsec_nanos()) / 1e9
    }

    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }
}

// === impl Date ===

impl Date {
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::NotReported | Self::Unreadable(_) => None,
        }
    }
}

// === impl Dates ===

impl Dates {
    pub fn from_fn(mut read: impl FnMut(DateField) -> Date) -> Self {
        Self(DateField::ALL.map(&mut read))
    }

    pub fn get(&self, field: DateField) -> &Date {
        let [ca, client, rotation, update] = &self.0;
        match field {
            DateField::CaCertExpiry => ca,
            DateField::ClientCertExpiry => client,
            DateField::LastKeyRotationTime => rotation,
            DateField::LastStatusUpdateTime => update,
        }
    }
}
