//! Files with tokens and passwords.
#![no_main]

use qumulo_encryption_exporter::client::fuzzing::{parse_password, parse_token};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(token) = parse_token(text) {
        assert!(token.header("Bearer").is_ok(), "a token fits into a header");
    }
    let password = parse_password(text);
    assert!(password.is_err() || password.is_ok_and(|password| !password.expose().is_empty()));
});
