use super::ForeignText;

/// Defines [`Status`]: label and text of each known value.
macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident $label:literal $text:literal;)*) => {
        /// State of encryption at rest: `status` in `GET /v2/encryption/key-store/status`.
        ///
        /// The known values are those of `encryption_api_v2_status_response` in Qumulo's REST API guide.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Status {
            $($(#[$doc])* $variant,)*
            /// A string that this version does not know, probably of a newer Qumulo Core.
            Unknown(ForeignText),
        }

        impl Status {
            /// The known values.
            pub const KNOWN: [Self; Self::LABELS.len() - 1] = [$(Self::$variant),*];

            /// All values of the label `status`, in the order in which the series are written.
            pub const LABELS: [&'static str; [$($label),*].len() + 1] = [$($label,)* "unknown"];

            /// The value of the label `status`.
            pub fn label(&self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                    Self::Unknown(_) => "unknown",
                }
            }

            /// The text as Qumulo's guide spells it, without a full stop; of an unknown status, as the cluster sent it.
            pub fn text(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown(text) => text.as_str(),
                }
            }
        }
    };
}

statuses! {
    NotEncrypted "not_encrypted" "Not Encrypted";
    /// Healthy, with a local key store.
    Encrypted "encrypted" "Encrypted";
    /// The cluster cannot read its stored KMS configuration.
    ConfigurationCorrupted "configuration_corrupted" "Configuration Corrupted";
    /// Healthy: the KMS can be reached, and the key exists and is active.
    KmsAvailable "kms_available" "KMS Available";
    /// The KMS rejects the KMS client certificate.
    KmsAuthenticationError "kms_authentication_error" "KMS Authentication Error";
    KmsCannotConnect "kms_cannot_connect" "Cannot connect to KMS server";
    /// The configured key does not exist, or the cluster may not see it.
    KmsKeyNotFound "kms_key_not_found" "KMS Key Not Found";
    /// The key exists, but its KMIP state is not Active.
    KmsKeyInactive "kms_key_inactive" "KMS Key Inactive";
}

// === impl Status ===

impl Status {
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
