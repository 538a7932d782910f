//! No secret is shown, whatever a server responds. Every poll in the other tests is checked, too.

use std::{
    fs,
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::{Credential, SecretSource},
    model::{ClusterMetadata, ClusterName, FailureReason},
    poll::{self, Poller},
    secret::Secret,
    store::Store,
};
use tempfile::TempDir;

use crate::{
    lab::{Lab, until},
    leak,
    raw_server::{RawServer, Request, reply},
};

/// Secrets that look like a value of the API, which is the worst case.
const TOKEN: &str = "hunter2_token";
const PASSWORD: &str = "hunter2_password";

/// The credential in the request.
fn sent(request: &Request) -> String {
    let json = serde_json::from_str::<serde_json::Value>(&request.body).unwrap_or_default();
    let password = json["password"].as_str().unwrap_or_default();
    format!("{}{password}", request.authorization.trim_start_matches("Bearer "))
}

fn login(folder: &TempDir) -> Credential {
    let path = folder.path().join("password");
    fs::write(&path, PASSWORD).unwrap();
    Credential::Login { password: SecretSource::File(path.into()), username: "monitor".to_owned() }
}

fn error(status: &str, secret: &str) -> String {
    reply(
        status,
        &format!("{{\"error_class\": \"{secret}\", \"description\": \"{secret}\", \"stack\": [\"{secret}\"]}}"),
    )
}

/// Polls a server that echoes the credential: once with a token, once with a password. Every poll checks that no secret is shown.
async fn check(answer: fn(&str) -> String, expect: [FailureReason; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let token = Credential::Token(SecretSource::Fixed(Secret::new(TOKEN)));
    for (credential, reason) in [token, login(&folder)].into_iter().zip(expect) {
        let server = RawServer::http(move |request| Some(answer(&sent(request)))).await;
        let failure = server.probe_with(credential).poll().await.unwrap_err();
        assert_eq!(failure.reason, reason, "{failure:?}");
    }
}

#[tokio::test]
async fn servers_that_repeat_the_credential() {
    use FailureReason::{Authentication, HttpError, Malformed, Permission, RateLimited, Unsupported};
    check(|secret| reply("200 OK", &format!("{{\"status\": \"{secret}\"}}")), [Malformed; 2]).await;
    check(|secret| reply("200 OK", secret), [Malformed; 2]).await;
    check(|secret| error("401 Unauthorized", secret), [Authentication; 2]).await;
    check(|secret| error("403 Forbidden", secret), [Permission, Authentication]).await;
    check(|secret| error("404 Not Found", secret), [Unsupported; 2]).await;
    check(|secret| error("429 Too Many Requests", secret), [RateLimited; 2]).await;
    check(|secret| error("500 Internal Server Error", secret), [HttpError; 2]).await;
    check(|secret| reply(&format!("500 {secret}"), ""), [HttpError; 2]).await;
    check(|secret| format!("HTTP/1.1 302 Found\r\nLocation: /{secret}\r\nContent-Length: 0\r\n\r\n"), [HttpError; 2])
        .await;
    check(|secret| format!("HTTP/1.1 429 No\r\nRetry-After: {secret}\r\nContent-Length: 0\r\n\r\n"), [RateLimited; 2])
        .await;
    check(|secret| format!("HTTP/1.1 {secret}\r\n\r\n"), [Malformed; 2]).await;
    check(|secret| format!("HTTP/1.1 200 OK\r\n{secret}\r\n\r\n"), [Malformed; 2]).await;
    check(|secret| format!("HTTP/1.1 200 OK\r\nContent-Length: {secret}\r\n\r\n"), [Malformed; 2]).await;
}

#[tokio::test]
async fn a_session_token_in_a_response_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let server = RawServer::http(|request| match request.head.starts_with("POST ") {
        true => Some(reply("200 OK", "{\"bearer_token\": \"hunter2_session\"}")),
        false => Some(reply("200 OK", &format!("{{\"status\": \"{}\"}}", sent(request)))),
    })
    .await;
    let failure = server.probe_with(login(&folder)).poll().await.unwrap_err();
    assert!(failure.message.contains("contains the credential"), "{failure:?}");
}

/// Each letter as a JSON escape.
fn escaped(secret: &str) -> String {
    secret.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()
}

#[tokio::test]
async fn a_secret_in_json_escapes_is_not_shown() {
    use FailureReason::{Authentication, HttpError, Malformed};
    check(|secret| reply("200 OK", &format!("{{\"status\": \"{}\"}}", escaped(secret))), [Malformed; 2]).await;
    check(|secret| reply("200 OK", &format!("{{\"status\": \"\\u0068{}\"}}", &secret[1..])), [Malformed; 2]).await;
    check(|secret| error("500 Oh", &escaped(secret)), [HttpError; 2]).await;
    check(|secret| error("401 No", &escaped(secret)), [Authentication; 2]).await;
}

/// The status is requested with the session token; the response contains the password in every field that is shown.
#[tokio::test]
async fn every_response_is_searched_for_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let shown = format!(
        "{{\"type\": \"KMS\", \"status\": \"{PASSWORD}\", \"kms_store\": {{\"hostname\": \"{PASSWORD}\", \"key_id\": \"{}\"}}}}",
        escaped(PASSWORD)
    );
    let server = RawServer::http(move |request| match request.head.starts_with("POST ") {
        true => Some(reply("200 OK", "{\"bearer_token\": \"another-session\"}")),
        false => Some(reply("200 OK", &shown)),
    })
    .await;
    let failure = server.probe_with(login(&folder)).poll().await.unwrap_err();
    assert!(failure.message.contains("contains the credential"), "{failure:?}");
    // In a response about details, the password discards only these details.
    let details = RawServer::http(|request| match request.head.split(' ').nth(1).unwrap_or_default() {
        "/v1/session/login" => Some(reply("200 OK", "{\"bearer_token\": \"another-session\"}")),
        "/v2/encryption/key-store/status" => {
            Some(reply("200 OK", "{\"type\": \"KMS\", \"status\": \"KMS Available\"}"))
        }
        _ => {
            let (host, key) = (PASSWORD, escaped(PASSWORD));
            Some(reply("200 OK", &format!("{{\"kms_store\": {{\"hostname\": \"{host}\", \"key_id\": \"{key}\"}}}}")))
        }
    })
    .await;
    let mut probe = details.probe_with(login(&folder));
    for minute in 0..2 {
        let now = Instant::now() + Duration::from_secs(60 * minute);
        assert_eq!(probe.poll_at(now).await.unwrap().details.kms, None, "the second time with the same session");
    }
}

/// A rejection must delay the next attempt, even if the response contains a weak password.
#[tokio::test]
async fn a_rejection_that_contains_the_password_is_still_a_rejection() {
    let mut lab = Lab::new(|_| {}).await;
    lab.log_in();
    lab.write("password", "password");
    let failure = lab.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Authentication, "{failure:?}");
    lab.write("password", "session");
    lab.cluster.update(|spec| spec.auth.password = "session".to_owned());
    lab.poll().await.unwrap();
}

#[tokio::test]
async fn no_secret_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let server = RawServer::http(|request| Some(error("500 Internal Server Error", &sent(request)))).await;
    let lab = Lab::new(|spec| spec.auth.token_enabled = false).await;
    let echo = server.probe_with(login(&folder)).settings;
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let settings = [("logged-echo", &echo), ("logged-refusal", &lab.settings)].map(|(name, client)| {
        let hour = Duration::from_secs(3600);
        let name = ClusterName::new(name).unwrap();
        poll::ClusterSettings {
            client: client.clone(),
            interval: hour,
            metadata: ClusterMetadata::default(),
            name,
            stale_after: hour,
        }
    });
    leak::check(&settings);
    poller.apply(settings.into(), &lab.pool);
    until(|| ["logged-echo", "logged-refusal"].iter().all(|name| !leak::logged(name).is_empty())).await;
    let line = leak::logged("logged-refusal").concat();
    assert!(line.contains("msg=\"poll failed\"") && line.contains("reason=authentication"), "{line}");
    leak::check(&(&poller, store.view(), &lab.pool));
    // The warning about a world-readable file names the file and does not show its content.
    assert!(leak::logged("world-readable").iter().any(|line| line.contains(lab.folder.path().to_str().unwrap())));
}

#[test]
fn the_search_finds_secrets() {
    for text in [leak::TOKEN, leak::PASSWORD, leak::PROXY_PASSWORD, "x aHVudGVyMg== x", "session-v1:0"] {
        assert!(leak::shows_secret(text), "{text}");
    }
    assert!(!leak::shows_secret("TLS with 127.0.0.1:8000 failed"));
}

/// Only the kernel's random source, as SECURITY.md states: every build uses `.cargo/config.toml`.
#[test]
fn random_numbers_have_one_source() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"));
}
