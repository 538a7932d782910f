//! Time limits, on a pipe in memory: with real sockets, paused time would run ahead of the kernel.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    time::{Duration, Instant, advance, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::web::{
    connection::{ConnectionContext, RequestPipeline},
    policy::{ListenerPolicy, fixed},
    registry::ConnectionRegistry,
    server::Limits,
    tests::{LARGE, TestHandler, client::Client},
};

const LIMITS: Limits = Limits {
    max_connections: 1,
    max_requests: 0,
    max_unread: 1024,
    patience: Duration::from_secs(1),
    handshake: Duration::from_secs(30),
    head: Duration::from_secs(120),
    handler: Duration::from_secs(60),
    write: Duration::from_secs(30),
    drain: Duration::from_secs(60),
};

/// A connection being served.
async fn connected() -> Client<DuplexStream> {
    let (client, server) = duplex(1024);
    let guard = ConnectionRegistry::new(1, LIMITS.max_unread).register(Ipv4Addr::LOCALHOST.into()).await;
    tokio::spawn(async move {
        let policy = fixed(ListenerPolicy::default());
        let pipeline = RequestPipeline::new(Arc::new(TestHandler::default()), policy, LIMITS, CancellationToken::new());
        let peer = (Ipv4Addr::LOCALHOST, 1).into();
        pipeline.serve(server, &ConnectionContext { expires: None, guard, peer, policy: Arc::default() }).await;
    });
    Client::new(client)
}

/// The connection ends `after` this long.
async fn check_ends(client: &mut Client<DuplexStream>, after: Duration) {
    let start = Instant::now();
    client.rest().await;
    assert!(start.elapsed().abs_diff(after) <= Duration::from_millis(2), "after {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn silent_client_and_half_a_head() {
    check_ends(&mut connected().await, LIMITS.head).await;
    let mut client = connected().await;
    client.send("GET /metrics HTTP/1.1\r\n").await;
    check_ends(&mut client, LIMITS.head).await;
}

#[tokio::test(start_paused = true)]
async fn trickled_head() {
    let mut client = connected().await;
    let start = Instant::now();
    client.send("GET /metrics HTTP/1.1\r\n").await;
    while client.stream.write_all(b"a: b\r\n").await.is_ok() && start.elapsed() < 2 * LIMITS.head {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(start.elapsed().as_secs(), LIMITS.head.as_secs() + 1, "noticed with the next line");
}

#[tokio::test(start_paused = true)]
async fn handler_that_hangs_or_waits_for_a_body() {
    for (method, path, headers) in [
        ("GET", "/hang", ""),
        ("POST", "/echo", "Content-Length: 5\r\n"),
        ("POST", "/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n"),
    ] {
        let mut client = connected().await;
        client.request(method, path, headers).await;
        let start = Instant::now();
        let mut response = client.head().await;
        if response.status == 100 {
            response = client.head().await;
        }
        assert_eq!(response.status, 503);
        assert!(start.elapsed().abs_diff(LIMITS.handler) <= Duration::from_millis(2), "after {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_not_read() {
    let mut client = connected().await;
    client.request("GET", "/large", "").await;
    client.head().await;
    let start = Instant::now();
    sleep(LIMITS.write + Duration::from_secs(1)).await;
    assert!(client.rest().await < LARGE);
    assert!(start.elapsed() < LIMITS.write + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn scrapes_keep_their_connection() {
    let mut client = connected().await;
    for _ in 0..10 {
        assert_eq!(client.get("/metrics").await.status, 200);
        advance(LIMITS.head - Duration::from_secs(1)).await;
    }
    assert_eq!(client.get("/metrics").await.status, 200);
    check_ends(&mut client, LIMITS.head).await;
}
