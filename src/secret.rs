//! Secret strings: not printable, and overwritten when dropped.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

/// A token or a password. It has no `Display`, and `Debug` hides the value; [`Secret::expose`] is the only access.
///
/// Headers and bodies made from it are overwritten as well. Copies in buffers of hyper, rustls and the kernel are not.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<Box<str>>);

// === impl Secret ===

impl Secret {
    /// Copies `secret`, which is not overwritten.
    pub fn new(secret: &str) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// Copies the secret and overwrites `text`.
    pub fn take(mut text: String) -> Self {
        let secret = Self::new(&text);
        text.zeroize();
        secret
    }

    /// The value of an `Authorization` header: `SCHEME SECRET`.
    ///
    /// # Errors
    ///
    /// When the secret contains a character that is not allowed in a header.
    pub fn header(&self, scheme: &str) -> Result<HeaderValue, hyper::header::InvalidHeaderValue> {
        let text = [scheme, " ", self.expose()].concat();
        let mut value = HeaderValue::from_maybe_shared(Self::bytes(text.into_bytes()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Bytes that are overwritten when the last reference is dropped.
    pub fn bytes(bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Zeroizing::new(bytes))
    }

    /// The secret, to be used in a request only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `bytes` contain the secret. Used to reject responses that echo it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        !self.0.is_empty() && bytes.windows(self.0.len()).any(|window| window == self.0.as_bytes())
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Whether a text contains a Qumulo token or a PEM block.
pub fn looks_like_secret(text: &str) -> bool {
    ["access-v1:", "session-v1:", "-----BEGIN"].iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(<secret>)");
    }

    #[test]
    fn header_is_sensitive_and_refuses_what_it_cannot_carry() {
        let value = Secret::new("hunter2").header("Bearer").unwrap();
        assert_eq!(value.as_bytes(), b"Bearer hunter2");
        assert_eq!(format!("{value:?}"), "Sensitive");
        assert!(Secret::new("a\nb").header("Bearer").is_err());
    }

    #[test]
    fn secrets_of_a_known_form_are_recognised() {
        for text in ["/etc/exporter/access-v1:AAAA", "session-v1:x.y", "-----BEGIN PRIVATE KEY-----"] {
            assert!(looks_like_secret(text), "{text}");
        }
        assert!(!looks_like_secret("/etc/exporter/prod-east.token"));
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
