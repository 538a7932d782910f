//! Requests and answers.

use std::io::Read;

use flate2::read::GzDecoder;
use tokio::io::AsyncWriteExt;

use crate::web::{
    server::Limits,
    tests::{Server, metrics},
};

#[tokio::test]
async fn connection_is_kept() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        let reply = client.get("/metrics").await;
        assert_eq!((reply.status, reply.text()), (200, &*metrics()));
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
        assert_eq!(reply.header("content-encoding"), None);
    }
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn requests_in_one_packet_are_all_answered() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.send(&"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n".repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(client.reply().await.text(), "healthy\n");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.ask("HEAD", "/metrics", "").await;
    let reply = client.head().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), Some(&*metrics().len().to_string()));
    assert_eq!(client.get("/-/healthy").await.text(), "healthy\n", "nothing of a body is in the way");
}

#[tokio::test]
async fn unknown_path_and_wrong_method() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    assert_eq!(client.get("/nowhere").await.status, 404);
    for (method, path, allow) in [("POST", "/metrics", "GET, HEAD, OPTIONS"), ("GET", "/echo", "POST, OPTIONS")] {
        client.ask(method, path, "").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{method} {path}");
        client.ask("OPTIONS", path, "").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("allow")), (204, Some(allow)), "{path}");
    }
}

#[tokio::test]
async fn gzip_when_asked_for() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.ask("GET", "/metrics", "Accept-Encoding: deflate\r\nAccept-Encoding: gzip;q=0.5\r\n").await;
        let reply = client.reply().await;
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
        let mut plain = String::new();
        GzDecoder::new(&*reply.body).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, metrics());
    }
}

#[tokio::test]
async fn post_body_reaches_the_handler() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn half_closed_client_gets_its_answer() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.ask("GET", "/wait", "").await;
    client.stream.shutdown().await.unwrap();
    server.site.entered.notified().await;
    server.site.release.notify_one();
    assert_eq!(client.reply().await.text(), "waited\n");
    assert_eq!(client.rest().await, 0);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let server = Server::start(Limits::default());
    let endless = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    for (request, status) in [("NONSENSE\r\n\r\n", 400), ("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400), (&endless, 431)]
    {
        let mut client = server.connect().await;
        client.send(request).await;
        assert_eq!(client.head().await.status, status);
    }
}

#[tokio::test]
async fn panic_ends_its_connection_only() {
    let server = Server::start(Limits { max_requests: 1, max_connections: 2, ..Limits::default() });
    let mut bystander = server.connect().await;
    assert_eq!(bystander.get("/metrics").await.status, 200);
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.ask("GET", "/panic", "").await;
        assert_eq!(client.rest().await, 0);
    }
    assert_eq!(bystander.get("/metrics").await.status, 200);
    assert_eq!(server.stop().await, 0);
}
