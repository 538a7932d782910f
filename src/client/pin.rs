use std::{fmt, str::FromStr};

/// The SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Pin([u8; 32]);

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a SHA-256 fingerprint is 64 hexadecimal digits, with or without colons, or the line printed by \
     `openssl x509 -in CERTIFICATE -noout -fingerprint -sha256`"
)]
pub struct PinError;

// === impl Pin ===

impl Pin {
    pub fn of(der: &[u8]) -> Self {
        let mut pin = [0; 32];
        pin.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref());
        Self(pin)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The text that OpenSSL prints first, in lower case since version 3.
        const NAME: &str = "sha256 fingerprint=";
        let text = text.trim();
        let named = text.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
        let text = text.get(if named { NAME.len() } else { 0 }..).unwrap_or_default();
        let digits: String = text.chars().filter(|digit| *digit != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PinError);
        }
        let mut pin = [0; 32];
        for (byte, at) in pin.iter_mut().zip((0..64).step_by(2)) {
            let pair = digits.get(at..at + 2).ok_or(PinError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| PinError)?;
        }
        Ok(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let pin = Pin::of(b"certificate");
        let printed = pin.to_string();
        let check = |text: &str, expect: Result<Pin, PinError>| assert_eq!(text.parse(), expect, "{text}");
        check(&printed, Ok(pin));
        check(&printed.to_lowercase().replace(':', ""), Ok(pin));
        check(&format!(" {printed}\n"), Ok(pin));
        check(&format!("sha256 Fingerprint={printed}\n"), Ok(pin));
        check(&format!("SHA256 Fingerprint={printed}"), Ok(pin));
        check(&format!("SHA1 Fingerprint={printed}"), Err(PinError));
        check(&format!("sha1 Fingerprint={}", &printed[..59]), Err(PinError));
        check("sha256 Fingerprint=", Err(PinError));
        check("AB:CD", Err(PinError));
        check("", Err(PinError));
        check(&printed.replace('0', "g").replacen(|digit: char| digit.is_ascii_hexdigit(), "z", 1), Err(PinError));
        check(&"é".repeat(32), Err(PinError));
    }
}
