/// Where the master key is stored: `type` in `GET /v2/encryption/key-store/status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStore {
    /// On the nodes' boot drives.
    Local,
    /// In an external key management server.
    Kms,
    /// `type` is missing, not a string, or not recognised.
    Unknown,
}

// === impl KeyStore ===

impl KeyStore {
    /// All values of the label `encryption_type`, in the order in which the series are written.
    pub const LABELS: [&'static str; 3] = ["local", "kms", "unknown"];

    /// The value of the label `encryption_type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kms => "kms",
            Self::Unknown => "unknown",
        }
    }
}
