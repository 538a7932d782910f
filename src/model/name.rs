use std::{fmt, sync::Arc};

use super::is_hidden;

/// Name of a cluster in the configuration, and the value of the label `cluster`. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterName(Arc<str>);

/// Why a cluster name is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClusterNameError {
    #[error("a cluster name cannot contain control characters or line breaks")]
    ControlCharacter,
    /// Prometheus treats an empty label as absent.
    #[error("a cluster name cannot be empty")]
    Empty,
    #[error("a cluster name cannot start or end with a space")]
    Space,
    #[error("a cluster name cannot contain invisible characters or combining accents; retype it")]
    Invisible,
    #[error("a cluster name can have at most 128 bytes")]
    TooLong,
}

// === impl ClusterName ===

impl ClusterName {
    /// # Errors
    ///
    /// When the name is empty, too long, or not what it looks like.
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

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Two names that look alike must be equal: no hidden characters, and accented letters only in composed form (NFC).
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
