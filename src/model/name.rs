use std::{fmt, sync::Arc};

use super::is_hidden;

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
    /// White space that nobody sees.
    #[error("a cluster's name cannot begin or end with a space")]
    Space,
    /// Characters that nobody sees, or that change how others are shown.
    #[error("a cluster's name cannot hold invisible characters or accents of their own; type it anew")]
    Invisible,
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
        } else if name.trim() != name {
            Err(ClusterNameError::Space)
        } else if name.chars().any(is_ambiguous) {
            Err(ClusterNameError::Invisible)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names that look the same must be the same: nothing hidden, and accents as part of their letter (the composed form of
/// Unicode).
fn is_ambiguous(character: char) -> bool {
    is_hidden(character) || matches!(character, '\u{300}'..='\u{36f}')
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_the_same() {
        let check = |name: &str, expect: Option<ClusterNameError>| {
            assert_eq!(ClusterName::new(name).err(), expect, "{name:?}");
        };
        check("prod east", None);
        check("K\u{f6}ln", None);
        check("\u{6771}\u{4eac}", None);
        check("Ko\u{308}ln", Some(ClusterNameError::Invisible));
        check("prod\u{200b}", Some(ClusterNameError::Invisible));
        check("\u{202e}dorp", Some(ClusterNameError::Invisible));
        check("prod ", Some(ClusterNameError::Space));
        check("\u{a0}prod", Some(ClusterNameError::Space));
        check(" ", Some(ClusterNameError::Empty));
        check("a\tb", Some(ClusterNameError::ControlCharacter));
        check(&"x".repeat(129), Some(ClusterNameError::TooLong));
    }
}
