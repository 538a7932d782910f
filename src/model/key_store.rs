/// Where the master key is kept: `type` in `GET /v2/encryption/key-store/status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStore {
    /// On the nodes' boot drives.
    Local,
    /// In an external key management server.
    Kms,
    /// The answer did not say, or not in words that this version knows.
    Unknown,
}

// === impl KeyStore ===

impl KeyStore {
    /// Every value of the label `encryption_type`, in the order in which the series are served.
    pub const LABELS: [&'static str; 3] = ["local", "kms", "unknown"];

    /// The value of the label `encryption_type`: one of [`Self::LABELS`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kms => "kms",
            Self::Unknown => "unknown",
        }
    }
}
