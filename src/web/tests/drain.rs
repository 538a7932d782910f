//! Shutdown.

use std::net::Ipv4Addr;

use tokio::{net::TcpStream, time::Duration};

use crate::web::{server::Limits, tests::Server};

#[tokio::test]
async fn idle_connections_close_and_requests_in_flight_finish() {
    let server = Server::start(Limits::default());
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/metrics").await.status, 200);
    let mut busy = server.connect().await;
    busy.request("GET", "/wait", "").await;
    server.handler.entered.notified().await;

    server.shutdown.cancel();
    assert_eq!((silent.rest().await, idle.rest().await), (0, 0));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.is_err(), "nobody listens any more");
    server.handler.release.notify_one();
    let response = busy.response().await;
    assert_eq!((response.text(), response.header("connection")), ("waited\n", Some("close")));
    assert_eq!(busy.rest().await, 0);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn hung_requests_are_aborted() {
    let server = Server::start(Limits { drain: Duration::ZERO, ..Limits::default() });
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/metrics").await.status, 200);
    let mut hung = server.connect().await;
    hung.request("GET", "/wait", "").await;
    server.handler.entered.notified().await;
    let mut unread = server.connect().await;
    unread.request("GET", "/large", "").await;
    unread.head().await;

    server.shutdown.cancel();
    assert_eq!(idle.rest().await, 0);
    assert_eq!(server.task.await.unwrap(), 2);
    assert_eq!(hung.rest().await, 0);
}
