use super::ForeignText;

/// The state of at-rest encryption, as `GET /v2/encryption/key-store/status` reports it in `status`.
///
/// The eight known values are the enumeration `encryption_api_v2_status_response` of Qumulo's REST API guide.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// The stored configuration of the key management server cannot be read.
    ConfigurationCorrupted,
    /// Encrypted with a local key store: healthy.
    Encrypted,
    /// The key management server refuses the cluster's client certificate.
    KmsAuthenticationError,
    /// The key management server is reached, and the key is there and active: healthy.
    KmsAvailable,
    /// No connection to the key management server.
    KmsCannotConnect,
    /// The key exists but is not in KMIP's state Active.
    KmsKeyInactive,
    /// The configured key does not exist, or is not visible to the cluster.
    KmsKeyNotFound,
    /// The cluster's data is not encrypted at rest.
    NotEncrypted,
    /// A text that this version does not know: a newer Qumulo Core.
    Unknown(ForeignText),
}

// === impl Status ===

impl Status {
    /// Every value of the label `status`, in the order in which the series are served.
    pub const LABELS: [&'static str; 9] = [
        "not_encrypted",
        "encrypted",
        "configuration_corrupted",
        "kms_available",
        "kms_authentication_error",
        "kms_cannot_connect",
        "kms_key_not_found",
        "kms_key_inactive",
        "unknown",
    ];

    /// The value of the label `status`: one of [`Self::LABELS`].
    pub fn label(&self) -> &'static str {
        match self {
            Self::ConfigurationCorrupted => "configuration_corrupted",
            Self::Encrypted => "encrypted",
            Self::KmsAuthenticationError => "kms_authentication_error",
            Self::KmsAvailable => "kms_available",
            Self::KmsCannotConnect => "kms_cannot_connect",
            Self::KmsKeyInactive => "kms_key_inactive",
            Self::KmsKeyNotFound => "kms_key_not_found",
            Self::NotEncrypted => "not_encrypted",
            Self::Unknown(_) => "unknown",
        }
    }

    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether it says that the key is there, or what is wrong with it. The others say nothing about the key.
    pub fn speaks_about_the_key(&self) -> bool {
        matches!(
            self,
            Self::Encrypted | Self::KmsAvailable | Self::NotEncrypted | Self::KmsKeyNotFound | Self::KmsKeyInactive
        )
    }
}
