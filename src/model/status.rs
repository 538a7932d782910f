use super::ForeignText;

/// State of encryption at rest: `status` in `GET /v2/encryption/key-store/status`.
///
/// The known values are those of `encryption_api_v2_status_response` in Qumulo's REST API guide.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// The cluster cannot read its stored KMS configuration.
    ConfigurationCorrupted,
    /// Healthy, with a local key store.
    Encrypted,
    /// The KMS rejects the KMS client certificate.
    KmsAuthenticationError,
    /// Healthy: the KMS can be reached, and the key exists and is active.
    KmsAvailable,
    KmsCannotConnect,
    /// The key exists, but its KMIP state is not Active.
    KmsKeyInactive,
    /// The configured key does not exist, or the cluster may not see it.
    KmsKeyNotFound,
    NotEncrypted,
    /// A string that this version does not know, probably of a newer Qumulo Core.
    Unknown(ForeignText),
}

// === impl Status ===

impl Status {
    /// All values of the label `status`, in the order in which the series are written.
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

    /// The value of the label `status`.
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

    /// Whether this status reveals the state of the key. `KmsCannotConnect`, for example, does not.
    pub fn reveals_key_state(&self) -> bool {
        matches!(
            self,
            Self::Encrypted | Self::KmsAvailable | Self::NotEncrypted | Self::KmsKeyNotFound | Self::KmsKeyInactive
        )
    }
}
