//! One connection per poll.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use qumulo_encryption_exporter::model::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    lab::{Lab, login, until},
    leak,
    raw_server::{RawServer, Request, converse, healthy, reply},
};

#[tokio::test]
async fn each_poll_opens_and_closes_one_connection() {
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begin, end) = (begun.clone(), ended.clone());
    let server = RawServer::serve(move |stream, connection| {
        begin.fetch_add(1, Ordering::SeqCst);
        let end = end.clone();
        async move {
            converse(stream, connection, Arc::new(|_: &Request| Some(healthy()))).await;
            end.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut probe = server.probe();
    for polls in 1..=3 {
        probe.poll().await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), polls, "all requests of a poll on one connection");
        until(|| ended.load(Ordering::SeqCst) == polls).await;
    }
}

#[tokio::test]
async fn a_cluster_that_closes_the_connection_after_each_response_is_polled() {
    let lab = Lab::new(|spec| spec.faults.close = true).await;
    let mut probe = lab.probe();
    for _ in 0..3 {
        probe.poll().await.unwrap();
    }
    assert_eq!(lab.cluster.counts().connections, 7, "three requests for the status, four for details");
}

/// A surplus response must not be taken for the response to the next request.
#[tokio::test]
async fn a_surplus_response_is_discarded() {
    let forged = reply("200 OK", r#"{"type": "Local", "status": "Not Encrypted"}"#);
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let server = RawServer::http(move |request| {
        counter.fetch_max(request.connection + 1, Ordering::SeqCst);
        assert_eq!(request.number, 0, "a connection with a surplus response is not reused");
        Some(healthy() + &forged)
    })
    .await;
    let mut probe = server.probe();
    for _ in 0..3 {
        assert_eq!(probe.poll().await.unwrap().status, Status::Encrypted);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 6, "three requests for the status, three for details");
}

#[tokio::test]
async fn a_login_is_never_repeated() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counter = logins.clone();
    let server = RawServer::http(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        assert!(request.head.starts_with("POST /v1/session/login "), "{}", request.head);
        None
    })
    .await;
    server.probe_with(login(leak::PASSWORD)).poll().await.unwrap_err();
    assert_eq!(logins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_are_gets_with_the_token_where_it_is_needed() {
    let server = RawServer::http(|request| {
        let public = request.head.starts_with("GET /v1/version ") || request.head.starts_with("GET /v1/node/state ");
        let status = request.head.starts_with("GET /v2/encryption/key-store/status ");
        let expect = if public { String::new() } else { format!("Bearer {}", leak::TOKEN) };
        let right = (public || status) && request.authorization == expect && request.body.is_empty();
        Some(if right { healthy() } else { reply("400 Bad Request", "") })
    })
    .await;
    server.probe().poll().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_gets_one_request() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let counting = RawServer::serve(move |mut stream, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let failure = counting.probe().poll().await.unwrap_err();
    assert!(failure.message.contains("does not speak HTTP"), "{failure:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
