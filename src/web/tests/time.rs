//! Time limits. Most on a pipe in memory: with real sockets, paused time would run ahead of the kernel.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    time::{Duration, Instant, advance, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::web::{
    connection::{Gate, Place},
    crowd::Crowd,
    policy::Fixed,
    request_clock::{RequestClock, TimeLimits},
    server::Limits,
    tests::{LARGE, Server, Site, client::Client},
    timed_io::TimedIo,
};

const LIMITS: TimeLimits = TimeLimits { idle: Duration::from_secs(300), request: Duration::from_secs(30) };

/// A connection being served.
fn connected() -> Client<DuplexStream> {
    let (client, server) = duplex(1024);
    let clock = RequestClock::new(LIMITS);
    let stream = TimedIo::new(server, clock.clone());
    tokio::spawn(async move {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let gate = Gate::new(Arc::new(Site::default()), Arc::new(Fixed::default()), 40, Duration::ZERO);
        let seat = Crowd::new(1).enter(peer, &clock).unwrap();
        gate.serve(stream, Place { seat, clock, tls: false }, peer, CancellationToken::new()).await;
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
async fn silent_client() {
    check_ends(&mut connected(), LIMITS.request).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_head() {
    let mut client = connected();
    client.send("GET /metrics HTTP/1.1\r\n").await;
    check_ends(&mut client, LIMITS.request).await;
}

#[tokio::test(start_paused = true)]
async fn trickled_head() {
    let mut client = connected();
    let start = Instant::now();
    client.send("GET /metrics HTTP/1.1\r\n").await;
    while client.stream.write_all(b"a: b\r\n").await.is_ok() && start.elapsed() < LIMITS.idle {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(start.elapsed().as_secs(), LIMITS.request.as_secs() + 1, "noticed with the next line");
}

#[tokio::test(start_paused = true)]
async fn body_that_never_comes() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut client = connected();
        client.ask("POST", "/echo", &format!("Content-Length: 5\r\n{expect}")).await;
        check_ends(&mut client, LIMITS.request).await;
    }
}

#[tokio::test(start_paused = true)]
async fn handler_that_hangs() {
    let mut client = connected();
    client.ask("GET", "/hang", "").await;
    check_ends(&mut client, LIMITS.request).await;
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_not_read() {
    let mut client = connected();
    client.ask("GET", "/large", "").await;
    client.head().await;
    let start = Instant::now();
    sleep(LIMITS.request + Duration::from_secs(1)).await;
    assert!(client.rest().await < LARGE);
    assert!(start.elapsed() < LIMITS.request + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn scrapes_keep_their_connection() {
    let mut client = connected();
    for _ in 0..10 {
        assert_eq!(client.get("/metrics").await.status, 200);
        advance(LIMITS.idle - Duration::from_secs(1)).await;
    }
    assert_eq!(client.get("/metrics").await.status, 200);
    check_ends(&mut client, LIMITS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn second_request_has_the_time_of_a_request() {
    let mut client = connected();
    assert_eq!(client.get("/metrics").await.status, 200);
    advance(Duration::from_secs(100)).await;
    client.send("G").await;
    check_ends(&mut client, LIMITS.request).await;
}

#[tokio::test]
async fn slow_reader_on_a_socket() {
    let time = TimeLimits { request: Duration::from_millis(50), ..LIMITS };
    let server = Server::start(Limits { time, drain: Duration::from_secs(60), ..Limits::default() });
    let mut client = server.connect().await;
    client.ask("GET", "/large", "").await;
    client.head().await;
    assert_eq!(server.stop().await, 0, "the time limit ended it, not the drain's");
    assert!(client.rest().await < LARGE);
}
