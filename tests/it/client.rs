//! Results and failures of a poll.

use std::time::{Duration, Instant};

use qumulo_encryption_exporter::model::{ApiVersion, FailureReason, KeyStore, PollFailure};
use qumulo_simulator::{ClusterSpec, EndpointFault, Profile};
use serde_json::json;
use tokio::io::{AsyncWriteExt, BufReader};

use crate::{
    lab::{Lab, PATIENT},
    raw_server::{RawServer, head, healthy, reply},
};

/// Timeout of polls that are expected to time out.
const SHORT: Duration = Duration::from_millis(300);

/// The result of a poll and the number of requests to each endpoint.
async fn check(change: impl FnOnce(&mut ClusterSpec), expect: (ApiVersion, KeyStore, &str), requests: [u64; 2]) {
    let lab = Lab::new(change).await;
    let result = lab.poll().await.unwrap();
    assert_eq!((result.api, result.key_store, result.status.label()), expect);
    let (id, version) =
        (result.details.identity.cluster_id.clone().unwrap(), result.details.identity.version.clone().unwrap());
    let spec = lab.cluster.spec();
    assert_eq!((id.as_str(), version.as_str()), (spec.cluster_id().as_str(), spec.version()));
    let counts = lab.cluster.counts();
    assert_eq!([counts.status_v1, counts.status_v2], requests);
    assert_eq!((counts.connections, counts.identity), (1, 2), "all on one connection");
}

/// Polls, and checks the reason of the failure and a part of its message.
async fn check_failure(change: impl FnOnce(&mut ClusterSpec), reason: FailureReason, words: &str) -> PollFailure {
    let mut lab = Lab::new(change).await;
    if reason == FailureReason::Timeout {
        lab.settings.timeout = SHORT;
    }
    let failure = lab.poll().await.unwrap_err();
    assert!(failure.reason == reason && failure.message.contains(words), "{reason:?} {words:?}: {failure:?}");
    failure
}

/// The same for a server that sends these bytes.
async fn check_raw(answer: &'static str, reason: FailureReason, words: &str) {
    let server = RawServer::serve(async move |stream, _| {
        let mut stream = BufReader::new(stream);
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let failure = server.probe().poll().await.unwrap_err();
    assert!(failure.reason == reason && failure.message.contains(words), "{words:?}: {failure:?}");
}

#[tokio::test]
async fn every_release_of_qumulo_core_is_polled() {
    let spec = |profile, kms: bool| {
        move |spec: &mut ClusterSpec| {
            spec.profile = profile;
            if kms {
                (spec.key_store_type, spec.status) = (json!("KMS"), json!("KMS Available"));
            }
        }
    };
    let (local, kms) = (KeyStore::Local, KeyStore::Kms);
    check(spec(Profile::Core60, false), (ApiVersion::V1, local, "encrypted"), [1, 1]).await;
    check(spec(Profile::Core621, false), (ApiVersion::V1, local, "encrypted"), [1, 1]).await;
    check(spec(Profile::Core621, true), (ApiVersion::V1, kms, "encrypted"), [1, 1]).await;
    check(spec(Profile::Core622, true), (ApiVersion::V2, kms, "kms_available"), [0, 1]).await;
    check(spec(Profile::Core7, false), (ApiVersion::V2, local, "encrypted"), [0, 1]).await;
    check(spec(Profile::Core7, true), (ApiVersion::V2, kms, "kms_available"), [0, 1]).await;
    check(|spec| spec.faults.chunked = true, (ApiVersion::V2, local, "encrypted"), [0, 1]).await;
    check(|spec| spec.faults.oversize = Some(200_000), (ApiVersion::V2, local, "encrypted"), [0, 1]).await;
}

#[tokio::test]
async fn names_without_an_address_are_dns_failures() {
    // A label of 64 bytes is invalid, so no resolver sends a query. TLS would reject it even earlier.
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("http://{}.invalid:8000", "x".repeat(64)).parse().unwrap();
    lab.settings.transport.tls = None;
    let failure = lab.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Dns, "{failure:?}");
    assert!(failure.message.starts_with("cannot resolve xxx"), "{failure:?}");
}

#[tokio::test]
async fn connections_that_fail() {
    use FailureReason::{Connect, Malformed};
    check_failure(|spec| spec.faults.down = true, Connect, "cannot connect to 127.0.0.1:").await;
    check_failure(|spec| spec.faults.reset = true, Connect, "connection lost to ").await;
    check_failure(|spec| spec.faults.drop = true, Connect, "connection lost to ").await;
    check_raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\": \"Enc", Connect, "connection lost to ").await;
    check_raw("SSH-2.0-OpenSSH_9.2\r\n", Malformed, "does not speak HTTP").await;
}

#[tokio::test]
async fn the_time_limit_holds_wherever_a_cluster_stops() {
    use FailureReason::Timeout;
    check_failure(|spec| spec.faults.hang = true, Timeout, "no complete response from 127.0.0.1:").await;
    check_failure(|spec| spec.faults.stall_body = true, Timeout, "within 300ms").await;
    check_failure(|spec| spec.faults.hang_handshake = true, Timeout, "within 300ms").await;
    check_failure(|spec| spec.faults.trickle = Some(Duration::from_millis(50)), Timeout, "within 300ms").await;
    check_failure(|spec| spec.faults.latency = Some(PATIENT), Timeout, "within 300ms").await;
    let mut lab = Lab::new(|spec| spec.faults.hang_handshake = true).await;
    lab.settings.transport.connect_timeout = SHORT;
    let failure = lab.poll().await.unwrap_err();
    assert!(failure.reason == Timeout && failure.message.starts_with("no connection to 127.0.0.1:"), "{failure:?}");
}

#[tokio::test]
async fn error_responses() {
    use FailureReason::{Authentication, HttpError, Permission, RateLimited, Unsupported};
    let check_code = async |code, after: &str, reason, words: &str, pause: Option<u64>| {
        let change = |spec: &mut ClusterSpec| {
            (spec.faults.http_status, spec.faults.retry_after) = (Some(code), Some(after.to_owned()));
        };
        let failure = check_failure(change, reason, words).await;
        assert_eq!(failure.retry_after, pause.map(Duration::from_secs), "{code}");
    };
    check_failure(|spec| spec.auth.token_enabled = false, Authentication, "401, http_unauthorized_error").await;
    check_failure(|spec| spec.auth.privileges.clear(), Permission, "PRIVILEGE_ENCRYPTION_READ (403").await;
    check_code(404, "9", Unsupported, "neither /v2/encryption/key-store/status nor /v1/encryption/status", None).await;
    check_code(429, "120", RateLimited, "limits the rate of requests (429", Some(120)).await;
    check_code(429, "soon", RateLimited, "limits the rate of requests", None).await;
    check_code(429, "100000", RateLimited, "limits the rate of requests", Some(3600)).await;
    check_code(503, "60", HttpError, "HTTP 503, http_service_unavailable_error", Some(60)).await;
    check_code(500, "60", HttpError, "HTTP 500, http_internal_server_error", None).await;
    let html = |spec: &mut ClusterSpec| {
        (spec.faults.http_status, spec.body) = (Some(503), Some("<html>starting</html>".to_owned()));
    };
    check_failure(html, HttpError, "the cluster responds to /v2/encryption/key-store/status with HTTP 503").await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Lab::new(|_| {}).await;
    let location = Some(format!("{}/v2/encryption/key-store/status", target.cluster.url()));
    let failure = check_failure(
        |spec| spec.faults.redirect = location,
        FailureReason::HttpError,
        "redirects /v2/encryption/key-store/status (302)",
    );
    assert!(failure.await.message.contains("does not follow"));
    assert_eq!(target.cluster.counts().connections, 0);
}

#[tokio::test]
async fn malformed_responses() {
    let check_body = async |body: &str, words: &str| {
        check_failure(|spec| spec.body = Some(body.to_owned()), FailureReason::Malformed, words).await;
    };
    check_body("<html>Qumulo</html>", "/v2/encryption/key-store/status: the response is not JSON").await;
    check_body("[]", "not an object").await;
    check_body("{}", "no string `status`").await;
    check_body("{\"status\": 7}", "no string `status`").await;
    check_body("", "the response is not JSON").await;
    check_failure(|spec| spec.faults.truncate = true, FailureReason::Malformed, "not JSON (line 1").await;
    check_failure(|spec| spec.faults.oversize = Some(300_000), FailureReason::Malformed, "larger than 256 KiB").await;
    let endless = |spec: &mut ClusterSpec| (spec.faults.oversize, spec.faults.chunked) = (Some(u64::MAX), true);
    check_failure(endless, FailureReason::Malformed, "larger than 256 KiB").await;
}

/// Polls with this fault, and again `later` without it: whether the identity is then known, and the number of requests for it.
async fn check_identity(fault: EndpointFault, later: Duration, known: bool, requests: u64) {
    let mut lab = Lab::new(|spec| spec.faults.identity_fault = Some(fault)).await;
    lab.settings.timeout = Duration::from_secs(4);
    let mut probe = lab.probe();
    let start = Instant::now();
    let result = probe.poll().await.unwrap();
    assert!(start.elapsed() < lab.settings.timeout, "{fault:?}: {:?}", start.elapsed());
    assert_eq!(result.details.identity, Default::default(), "{fault:?}");
    lab.cluster.update(|spec| spec.faults.identity_fault = None);
    let identity = probe.poll_at(Instant::now() + later).await.unwrap().details.identity.clone();
    assert_eq!((identity.cluster_id.is_some(), identity.version.is_some()), (known, known), "{fault:?}");
    assert_eq!(lab.cluster.counts().identity, requests, "{fault:?}");
}

#[tokio::test]
async fn a_missing_identity_does_not_fail_the_poll_and_is_requested_again_soon() {
    let (soon, later) = (Duration::from_secs(1), Duration::from_secs(61));
    tokio::join!(
        check_identity(EndpointFault::Hang, soon, false, 1),
        check_identity(EndpointFault::Hang, later, true, 3),
        check_identity(EndpointFault::Status(500), soon, false, 2),
        check_identity(EndpointFault::Status(500), later, true, 4),
        check_identity(EndpointFault::Status(403), later, true, 4),
    );
}

#[tokio::test]
async fn parts_of_the_identity_are_independent() {
    let server = RawServer::http(|request| {
        let known = request.head.starts_with("GET /v1/version ");
        Some(if known { reply("200 OK", "{\"revision_id\": \"Qumulo Core 7.1\"}") } else { healthy() })
    })
    .await;
    let result = server.probe().poll().await.unwrap();
    let identity = &result.details.identity;
    assert_eq!((identity.version.as_ref().unwrap().as_str(), &identity.cluster_id), ("7.1", &None));
}
