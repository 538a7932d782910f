//! Doors for the fuzz targets, which are outside of this crate. Only they are built with `--cfg fuzzing`.

use super::{answer, decode, secret_file};
use crate::{
    model::{DateField, KeyStore, Timestamp},
    secret::Secret,
};

/// Everything that is made of an answer's body.
pub fn decode(body: &[u8]) {
    for key_store in [KeyStore::Kms, KeyStore::Local, KeyStore::Unknown] {
        if let Ok(decoded) = decode::status_v1(body, key_store) {
            check(&decoded);
        }
    }
    if let Ok(decode::V2Answer::Status(decoded)) = decode::status_v2(body) {
        check(&decoded);
    }
    let token = decode::bearer_token(body);
    assert!(token.is_err() || token.is_ok_and(|token| token.header("Bearer").is_ok()), "a token fits into a header");
    if let Some(server) = decode::kms_server(body) {
        printable(&server.address());
        printable(server.key_id());
    }
    if let Some((id, _)) = decode::who_am_i(body) {
        assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    }
    assert!(decode::access_tokens(body).len() <= 16);
    let (_, _) = (decode::cluster_id(body), decode::version(body));
    if let Some(class) = decode::error_class(body) {
        printable(&class);
    }
}

/// Dates, as answers and as HTTP write them.
pub fn dates(text: &str) {
    if let Some(at) = decode::timestamp(text) {
        in_range(at);
        assert_eq!(decode::timestamp(&at.utc().to_rfc3339()), Some(at), "what was decoded can be written and read");
    }
    let (date, pause) = (answer::http_date(text), answer::pause(text, Some("Sun, 06 Nov 1994 08:49:37 GMT")));
    assert!(pause.is_none_or(|pause| pause.as_secs() <= 3600));
    if let Some(at) = date.and_then(Timestamp::new) {
        in_range(at);
    }
}

/// Tokens and passwords, as their files hold them.
pub fn credential(text: &str) {
    if let Ok(token) = secret_file::parse_token(text) {
        assert!(token.header("Bearer").is_ok(), "a token fits into a header");
    }
    let password: Result<Secret, _> = secret_file::parse_password(text);
    assert!(password.is_err() || password.is_ok_and(|password| !password.expose().is_empty()));
}

fn check(decoded: &decode::DecodedStatus) {
    for field in DateField::ALL {
        if let Some(at) = decoded.dates.get(field).timestamp() {
            in_range(at);
        }
    }
    printable(decoded.status.label());
}

/// A series can carry it: in years of four digits, and a fraction of a second more than its whole seconds, or of two in a leap
/// second. The largest fractions round up in a double.
fn in_range(at: Timestamp) {
    let (whole, seconds) = (at.utc().timestamp(), at.unix_seconds());
    assert!((0..253_402_300_800).contains(&whole), "{whole}");
    assert!((0.0..=2.0).contains(&(seconds - whole as f64)), "{seconds}");
}

fn printable(text: &str) {
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
}
