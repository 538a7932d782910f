//! The names that Go gives to versions, cipher suites and curves, and their counterparts in rustls.

use std::time::Duration;

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        SupportedKxGroup,
        aws_lc_rs::{ALL_CIPHER_SUITES, kx_group},
    },
    version::{TLS12, TLS13},
};

pub fn version(name: &str) -> Result<&'static SupportedProtocolVersion, String> {
    match name {
        "TLS12" => Ok(&TLS12),
        "TLS13" => Ok(&TLS13),
        "TLS10" | "TLS11" => Err(format!("{name} is not supported, for it is not secure; write TLS12 or TLS13")),
        _ => Err(format!("unknown TLS version: {name}; write TLS12 or TLS13")),
    }
}

pub fn suite(name: &str) -> Result<SupportedCipherSuite, String> {
    // Go and rustls have different names for suites of TLS 1.3 only.
    let is_meant = |suite: &&SupportedCipherSuite| {
        suite.suite().as_str().is_some_and(|suite| suite.replace("TLS13_", "TLS_") == name)
    };
    ALL_CIPHER_SUITES.iter().find(is_meant).copied().ok_or_else(|| {
        if name.contains("_CBC_") || name.starts_with("TLS_RSA_") {
            format!(
                "{name} is not supported, for suites with CBC or without forward secrecy are not secure; remove it, or \
                 write TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
            )
        } else {
            format!("unknown cipher: {name}")
        }
    })
}

pub fn curve(name: &str) -> Result<&'static dyn SupportedKxGroup, String> {
    match name {
        "CurveP256" => Ok(kx_group::SECP256R1),
        "CurveP384" => Ok(kx_group::SECP384R1),
        "X25519" => Ok(kx_group::X25519),
        "X25519MLKEM768" => Ok(kx_group::X25519MLKEM768),
        "CurveP521" => Err("CurveP521 is not supported; write CurveP384, CurveP256 or X25519".to_owned()),
        _ => Err(format!("unknown curve: {name}; write CurveP256, CurveP384 or X25519")),
    }
}

/// Parses a duration as Go writes it: `1s`, `1.5s`, `1m30s`, `0`.
pub fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (if text == "0" { "0s" } else { text }, 0.0);
    loop {
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let (number, after) = rest.split_at(rest.find(|letter| !is_number(letter))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        if after.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(go_duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("1s", Some(1000));
        check("1.5s", Some(1500));
        check("1m30s", Some(90_000));
        check("250ms", Some(250));
        check("2h", Some(7_200_000));
        check("0", Some(0));
        for bad in ["", "1", "s", "-1s", "1d", "1 s", "1..5s", "1s2"] {
            check(bad, None);
        }
    }
}
