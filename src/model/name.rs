use std::{fmt, sync::Arc};

/// The name of a cluster in the configuration, and the value of the label `cluster`. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterName(Arc<str>);

/// Why a text cannot name a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClusterNameError {
    /// A control character would break logs and terminals.
    #[error("a cluster's name cannot hold control characters or line breaks")]
    ControlCharacter,
    /// Prometheus treats an empty label as no label.
    #[error("a cluster's name cannot be empty")]
    Empty,
    /// More than 128 bytes.
    #[error("a cluster's name can have 128 bytes at most")]
    TooLong,
}

// === impl ClusterName ===

impl ClusterName {
    /// A name that can be a label value.
    pub fn new(name: &str) -> Result<Self, ClusterNameError> {
        if name.trim().is_empty() {
            Err(ClusterNameError::Empty)
        } else if name.len() > 128 {
            Err(ClusterNameError::TooLong)
        } else if name.chars().any(char::is_control) {
            Err(ClusterNameError::ControlCharacter)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
