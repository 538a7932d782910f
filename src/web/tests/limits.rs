//! Limits of requests and connections.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::web::{
    listen::{ListenAddress, bind},
    policy::Fixed,
    server::{Limits, serve},
    tests::{LARGE, Server, Site, client::Client},
};

#[tokio::test]
async fn answer_not_yet_read_counts_as_in_flight() {
    let server = Server::start(Limits { max_requests: 1, ..Limits::default() });
    let mut slow = server.connect().await;
    slow.ask("GET", "/large", "").await;
    assert_eq!(slow.head().await.status, 200);

    let mut other = server.connect().await;
    let refused = other.get("/metrics").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "Limit of concurrent requests reached (1), try again later.\n");
    assert_eq!(other.get("/-/healthy").await.status, 200, "health checks are not limited");

    let mut left = LARGE;
    while left > 0 {
        slow.stream.readable().await.unwrap();
        left -= slow.stream.try_read(&mut vec![0; 1024 * 1024]).unwrap_or(0);
    }
    assert_eq!(other.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn client_that_leaves_gives_its_permit_back() {
    let server = Server::start(Limits { max_requests: 1, ..Limits::default() });
    for _ in 0..3 {
        let mut slow = server.connect().await;
        slow.ask("GET", "/large", "").await;
        // Not refused: the permit of the client before is back as soon as the server knows that it left.
        let mut status = slow.head().await.status;
        while status == 503 {
            slow = server.connect().await;
            slow.ask("GET", "/large", "").await;
            status = slow.head().await.status;
        }
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn zero_is_no_limit_of_requests() {
    let server = Server::start(Limits { max_requests: 0, ..Limits::default() });
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.ask("GET", "/wait", "").await;
        server.site.entered.notified().await;
        clients.push(client);
    }
    for mut client in clients {
        server.site.release.notify_one();
        assert_eq!(client.reply().await.status, 200);
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = Server::start(Limits { max_connections: 1, ..Limits::default() });
    let mut first = server.connect().await;
    assert_eq!(first.get("/metrics").await.status, 200);

    let mut second = server.connect().await;
    second.ask("GET", "/metrics", "").await;
    for _ in 0..10 {
        assert_eq!(first.get("/metrics").await.status, 200);
    }
    assert!(second.stream.try_read(&mut [0]).is_err(), "nothing came meanwhile");
    drop(first);
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test]
async fn all_sockets_share_the_limit_of_connections() {
    let any_port = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0);
    let listeners = bind(&[any_port.clone(), any_port], "").unwrap();
    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let shutdown = CancellationToken::new();
    let site = Arc::new(Site::default());
    let task = tokio::spawn(serve(listeners, site, Arc::new(Fixed::default()), limits, shutdown.clone()));
    for port in ports.into_iter().cycle().take(6) {
        let mut client = Client::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
        assert_eq!(client.get("/-/healthy").await.status, 200);
    }
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), 0);
}
