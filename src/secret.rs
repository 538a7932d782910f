//! A string that cannot be printed.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(<secret>)");
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
