use chrono::{DateTime, Utc};

use super::ForeignText;

/// An instant in the years 1970 to 9999, UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(DateTime<Utc>);

/// One of the dates in the answer, named as the API names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DateField {
    /// When the certificate of the key management server's authority expires.
    CaCertExpiry,
    /// When the client certificate that the cluster presents expires.
    ClientCertExpiry,
    /// When the current master key became active.
    LastKeyRotationTime,
    /// When the cluster itself last refreshed its status.
    LastStatusUpdateTime,
}

/// A certificate of the connection to the key management server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KmsCertificate {
    /// Of the authority that the cluster trusts.
    Ca,
    /// What the cluster shows.
    Client,
    /// What the server shows, which the cluster does not tell: see [`super::KmsProbe`].
    Server,
}

/// What the answer said of one date.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Date {
    /// It can be read.
    At(Timestamp),
    /// Null, empty or absent: the API does not distinguish them.
    #[default]
    NotReported,
    /// Something is there that is no date.
    Unreadable(ForeignText),
}

/// The four dates of one answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dates([Date; 4]);

// === impl Timestamp ===

impl Timestamp {
    /// `None` before 1970 and after 9999: no cluster means such a date, and RFC 3339 ends there.
    pub fn new(at: DateTime<Utc>) -> Option<Self> {
        const END_OF_9999: i64 = 253_402_300_800;
        (0..END_OF_9999).contains(&at.timestamp()).then_some(Self(at))
    }

    /// Seconds since 1970, the sub-second part kept as far as a double carries it (about 0.2 microseconds today).
    pub fn unix_seconds(self) -> f64 {
        // Exact: whole seconds up to the year 9999 need 38 of a double's 53 bits.
        self.0.timestamp() as f64 + f64::from(self.0.timestamp_subsec_nanos()) / 1e9
    }

    /// The instant.
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }
}

// === impl KmsCertificate ===

impl KmsCertificate {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Ca, Self::Client, Self::Server];

    /// Those that the cluster tells.
    pub const TOLD: [Self; 2] = [Self::Ca, Self::Client];

    /// The value of the label `certificate`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ca => "kms_ca",
            Self::Client => "kms_client",
            Self::Server => "kms_server",
        }
    }
}

// === impl DateField ===

impl DateField {
    /// All four, in the order in which their series are served.
    pub const ALL: [Self; 4] =
        [Self::CaCertExpiry, Self::ClientCertExpiry, Self::LastKeyRotationTime, Self::LastStatusUpdateTime];

    /// The API's name of the field, and the value of the label `field`.
    pub fn label(self) -> &'static str {
        match self {
            Self::CaCertExpiry => "ca_cert_expiry",
            Self::ClientCertExpiry => "client_cert_expiry",
            Self::LastKeyRotationTime => "last_key_rotation_time",
            Self::LastStatusUpdateTime => "last_status_update_time",
        }
    }
}

// === impl Date ===

impl Date {
    /// The instant, if the date could be read.
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::NotReported | Self::Unreadable(_) => None,
        }
    }
}

// === impl Dates ===

impl Dates {
    /// The four dates, each from `read`.
    pub fn from_fn(mut read: impl FnMut(DateField) -> Date) -> Self {
        Self(DateField::ALL.map(&mut read))
    }

    /// One of them.
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
