//! A string that cannot be printed, and is overwritten when it is no longer needed.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

/// A token or a password. It has no `Display`, its `Debug` hides it, and [`Secret::expose`] is easy to search for.
///
/// What is made of it on the way into a request is overwritten, too. Beyond are buffers of hyper, rustls and the system.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<Box<str>>);

// === impl Secret ===

impl Secret {
    /// Takes a secret in.
    pub fn new(secret: &str) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// Takes a secret out of a string, which is overwritten.
    pub fn take(mut text: String) -> Self {
        let secret = Self::new(&text);
        text.zeroize();
        secret
    }

    /// The value of a header that begins with this scheme.
    ///
    /// # Errors
    ///
    /// When it holds what no header can.
    pub fn header(&self, scheme: &str) -> Result<HeaderValue, hyper::header::InvalidHeaderValue> {
        let text = [scheme, " ", self.expose()].concat();
        let mut value = HeaderValue::from_maybe_shared(Self::bytes(text.into_bytes()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Bytes that are overwritten with the last use of them.
    pub fn bytes(bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Zeroizing::new(bytes))
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

/// Whether a text holds a secret of a known form: a token as Qumulo makes them, or a PEM block of a private key.
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
