//! Values that follow from a name, the same in every run: a restarted cluster keeps its identity.

use aws_lc_rs::digest;

/// SHA-256 of `bytes` as a certificate fingerprint is usually shown: `AA:BB:…`.
pub(super) fn fingerprint(bytes: &[u8]) -> String {
    sha256(bytes).as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// 64 hexadecimal digits that follow from `purpose` and `name`.
pub(super) fn hex(purpose: &str, name: &str) -> String {
    let digest = sha256(format!("{purpose}\0{name}").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID of the form of version 5 that follows from `name`.
pub(super) fn uuid(name: &str) -> String {
    let digits = hex("uuid", name);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let [a, b, c, d, e] = [part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30)];
    format!("{a}-{b}-5{c}-8{d}-{e}")
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_values_are_stable_and_distinct() {
        assert_eq!(uuid("prod-east"), uuid("prod-east"));
        assert_ne!(uuid("prod-east"), uuid("prod-west"));
        assert_eq!(uuid("a").split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(hex("token", "a").len(), 64);
        assert!(fingerprint(b"").starts_with("E3:B0:C4:42:"));
    }
}
