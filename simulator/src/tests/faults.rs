//! Faults.

use std::{io::ErrorKind, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{
    STATUS, client,
    client::{Client, Reply},
    cluster,
};
use crate::{EndpointFault, Faults};

/// How long a test waits for what must not happen. If it is too short, a test can miss a fault, but never fails.
const A_WHILE: Duration = Duration::from_millis(50);

/// The reply to a request for the status from a cluster with these faults.
async fn reply(faults: Faults, body: Option<&str>) -> std::io::Result<Reply> {
    let cluster = cluster(|spec| {
        spec.faults = faults;
        spec.body = body.map(String::from);
    })
    .await;
    client(&cluster).await.get(STATUS).await
}

#[tokio::test]
async fn http_statuses_come_with_json_or_the_body_given() {
    for (code, body, content_type) in [
        (503, Some("<html>busy</html>"), "text/html"),
        (429, None, "application/json"),
        (401, Some("{}"), "application/json"),
    ] {
        let faults = Faults { http_status: Some(code), retry_after: Some("120".into()), ..Faults::default() };
        let reply = reply(faults, body).await.unwrap();
        assert_eq!((reply.status, reply.header("Retry-After")), (code, Some("120")));
        assert_eq!(reply.header("Content-Type"), Some(content_type));
        match body {
            Some(body) => assert_eq!(reply.body, body),
            None => assert_eq!(reply.json()["error_class"], "http_too_many_requests_error"),
        }
    }
}

#[tokio::test]
async fn http_statuses_without_a_body_keep_the_connection() {
    for code in [204, 304] {
        let cluster = cluster(|spec| spec.faults.http_status = Some(code)).await;
        let mut client = client(&cluster).await;
        for _ in 0..2 {
            let reply = client.get(STATUS).await.unwrap();
            assert_eq!((reply.status, reply.header("Content-Length")), (code, None));
        }
    }
}

#[tokio::test]
async fn redirects() {
    let faults = Faults { redirect: Some("https://127.0.0.1:1/".into()), ..Faults::default() };
    let reply = reply(faults, None).await.unwrap();
    assert_eq!((reply.status, reply.header("Location")), (302, Some("https://127.0.0.1:1/")));
}

#[tokio::test]
async fn bodies_are_cut_filled_chunked_or_slow() {
    let body = r#"{"a": "0123456789"}"#;
    let half = Faults { truncate: true, ..Faults::default() };
    assert_eq!(reply(half, Some(body)).await.unwrap().body, r#"{"a": "01"#);
    let large = Faults { oversize: Some(100_000), ..Faults::default() };
    let large = reply(large, Some(body)).await.unwrap();
    assert_eq!((large.body.len(), &large.json()), (100_000, &json!({"a": "0123456789"})));
    let chunked = Faults { chunked: true, ..Faults::default() };
    let chunked = reply(chunked, Some(body)).await.unwrap();
    assert_eq!(chunked.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(chunked.body, format!("13\r\n{body}\r\n0\r\n\r\n"));
    let slow = Faults { trickle: Some(Duration::from_millis(1)), ..Faults::default() };
    assert_eq!(reply(slow, Some(body)).await.unwrap().body, body);
}

#[tokio::test]
async fn connections_are_closed_or_reset_without_an_answer() {
    let dropped = reply(Faults { drop: true, ..Faults::default() }, None).await.unwrap_err();
    assert_eq!(dropped.kind(), ErrorKind::UnexpectedEof);
    let reset = reply(Faults { reset: true, ..Faults::default() }, None).await.unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_is_closed_after_each_answer_when_asked() {
    let cluster = cluster(|spec| spec.faults.close = true).await;
    let mut client = client(&cluster).await;
    let reply = client.get("/v1/version").await.unwrap();
    assert_eq!((reply.status, reply.header("Connection")), (200, Some("close")));
    assert_eq!(client.closed().await, ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn hanging_requests_can_be_awaited_and_a_new_spec_frees_the_next_ones() {
    let cluster = cluster(|spec| spec.faults.hang = true).await;
    let mut watch = cluster.watch_counts();
    let mut stuck = client(&cluster).await;
    stuck.request("GET", STATUS, "").await.unwrap();
    watch.wait_for(|counts| counts.status_v2 == 1).await.unwrap();
    cluster.update(|spec| spec.faults.hang = false);
    assert_eq!(client(&cluster).await.get(STATUS).await.unwrap().status, 200);
    assert_eq!(cluster.counts().in_flight, 1);
    drop(stuck);
    watch.wait_for(|counts| counts.in_flight == 0).await.unwrap();
}

#[tokio::test]
async fn a_stalled_body_never_ends() {
    let cluster = cluster(|spec| spec.faults.stall_body = true).await;
    let mut client = client(&cluster).await;
    let mut watch = cluster.watch_counts();
    client.request("GET", STATUS, "").await.unwrap();
    watch.wait_for(|counts| counts.status_v2 == 1 && counts.in_flight == 0).await.unwrap();
    let stalled = timeout(A_WHILE, client.reply()).await;
    assert!(stalled.is_err(), "{stalled:?}");
}

#[tokio::test]
async fn a_handshake_can_hang() {
    let cluster = cluster(|spec| spec.faults.hang_handshake = true).await;
    let mut watch = cluster.watch_counts();
    let connected = timeout(A_WHILE, Client::connect(&cluster)).await;
    assert!(connected.is_err());
    watch.wait_for(|counts| counts.connections == 1).await.unwrap();
    assert_eq!(cluster.counts().handshakes, 0);
}

#[tokio::test]
async fn latency_delays_every_answer() {
    let latency = Duration::from_millis(30);
    let cluster = cluster(|spec| spec.faults.latency = Some(latency)).await;
    let mut client = client(&cluster).await;
    let before = tokio::time::Instant::now();
    client.get("/v1/version").await.unwrap();
    assert!(before.elapsed() >= latency);
}

#[tokio::test]
async fn some_faults_leave_the_rest_alone() {
    let cluster = cluster(|spec| {
        spec.faults.identity_fault = Some(EndpointFault::Status(500));
        spec.faults.login_status = Some(503);
    })
    .await;
    let mut client = client(&cluster).await;
    assert_eq!(client.get("/v1/version").await.unwrap().status, 500);
    assert_eq!(client.get("/v1/node/state").await.unwrap().status, 500);
    assert_eq!(client.log_in("monitor", "secret").await.status, 503);
    assert_eq!(client.get(STATUS).await.unwrap().status, 200);
}
