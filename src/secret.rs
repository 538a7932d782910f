//! A string that cannot be printed.

use std::{fmt, path::Path};

/// A token or a password. It has no `Display`, its `Debug` hides it, and [`Secret::expose`] is easy to search for.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Box<str>);

// === impl Secret ===

impl Secret {
    /// Takes a secret in.
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the request that needs it, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `bytes` hold the secret, so that a text from outside is not repeated when it does.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        !self.0.is_empty() && bytes.windows(self.0.len()).any(|window| window == self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Whether what should be a path is probably the secret itself: a token as Qumulo makes them, a PEM block, or a text of no
/// folder that could be one and names no file.
pub fn looks_secret(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let marked = ["access-v1:", "session-v1:", "-----BEGIN"].iter().any(|mark| text.contains(mark));
    // A word without an ending, as passwords and keys are; file names that people choose are shorter or have one.
    let word = !name.contains('.')
        && (name.len() >= 20 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
    marked || (word && !path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(<secret>)");
    }

    #[test]
    fn a_secret_in_the_place_of_a_path_is_recognised() {
        let check = |text: &str, expect: bool| assert_eq!(looks_secret(Path::new(text)), expect, "{text:?}");
        check("/etc/exporter/access-v1:AAAA", true);
        check("session-v1:x.y", true);
        check("-----BEGIN PRIVATE KEY-----", true);
        check("/etc/exporter/kJ8s7dD92hWWqPz01mZx3", true);
        check("/etc/exporter/p4ssw0rd!", true);
        check("/etc/exporter/prod-east.token", false);
        check("/run/secrets/token", false);
        check("lab-password", false);
    }

    #[test]
    fn secret_is_found_in_foreign_text() {
        let check = |secret: &str, text: &str, expect: bool| {
            assert_eq!(Secret::new(secret).is_in(text.as_bytes()), expect, "{secret:?} in {text:?}");
        };
        check("hunter2", "password hunter2 refused", true);
        check("hunter2", "hunter", false);
        check("", "anything", false);
    }
}
