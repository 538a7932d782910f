//! Responses of clusters.
#![no_main]

use qumulo_encryption_exporter::{
    client::fuzzing::{
        DecodedStatus, V2Response, access_tokens, bearer_token, cluster_id, error_class, kms_server, status_v1,
        status_v2, version, who_am_i,
    },
    model::KeyStore,
};

fn check(decoded: &DecodedStatus) {
    printable(decoded.status.label());
}

fn printable(text: &str) {
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
}

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for key_store in [KeyStore::Kms, KeyStore::Local, KeyStore::Unknown] {
        if let Ok(decoded) = status_v1(body, key_store) {
            check(&decoded);
        }
    }
    if let Ok(V2Response::Status(decoded)) = status_v2(body) {
        check(&decoded);
    }
    let token = bearer_token(body);
    assert!(token.is_err() || token.is_ok_and(|token| token.header("Bearer").is_ok()), "a token fits into a header");
    if let Some(server) = kms_server(body) {
        printable(&server.address());
        printable(server.key_id());
    }
    if let Some((id, _)) = who_am_i(body) {
        assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    }
    assert!(access_tokens(body).len() <= 16);
    let (_, _) = (cluster_id(body), version(body));
    if let Some(class) = error_class(body) {
        printable(&class);
    }
});
