//! Requests and responses.

use std::io::Read;

use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::web::{
    server::Limits,
    tests::{Server, metrics},
};

#[tokio::test]
async fn connection_is_kept() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        let response = client.get("/metrics").await;
        assert_eq!((response.status, response.text()), (200, &*metrics()));
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        assert_eq!(response.header("content-encoding"), None);
        assert!(response.header("date").unwrap().ends_with(" GMT"));
    }
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.request("HEAD", "/metrics", "").await;
    let response = client.head().await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-length"), Some(&*metrics().len().to_string()));
    assert_eq!(client.get("/-/healthy").await.text(), "healthy\n", "nothing of a body is in the way");
}

#[tokio::test]
async fn gzip_when_asked_for() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.request("GET", "/metrics", "Accept-Encoding: deflate\r\nAccept-Encoding: gzip;q=0.5\r\n").await;
        let response = client.response().await;
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        let mut plain = String::new();
        GzDecoder::new(&*response.body).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, metrics());
    }
}

#[tokio::test]
async fn half_closed_client_gets_its_answer() {
    let server = Server::start(Limits::default());
    let mut client = server.connect().await;
    client.request("GET", "/wait", "").await;
    client.stream.shutdown().await.unwrap();
    server.handler.entered.notified().await;
    server.handler.release.notify_one();
    assert_eq!(client.response().await.text(), "waited\n");
    assert_eq!(client.rest().await, 0);
}

#[tokio::test]
async fn panic_ends_its_connection_only() {
    let server = Server::start(Limits { max_requests: 1, max_connections: 2, ..Limits::default() });
    let mut bystander = server.connect().await;
    assert_eq!(bystander.get("/metrics").await.status, 200);
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.request("GET", "/panic", "").await;
        assert_eq!(client.rest().await, 0);
    }
    assert_eq!(bystander.get("/metrics").await.status, 200);
    assert_eq!(server.stop().await, 0);
}

/// Request smuggling: a proxy in front may see the end of a body in another place. An ambiguous request is refused, or is the
/// last one of its connection.
#[tokio::test]
async fn no_request_can_be_hidden_in_another() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    let (length, after) = (HIDDEN.len(), format!("0\r\n\r\n{HIDDEN}"));
    let server = Server::start(Limits::default());
    // The first line, further headers, the rest; the status codes, of which 404 is the response to the hidden request.
    for (first, headers, rest, answers) in [
        ("POST /echo HTTP/1.1", format!("Content-Length: {length}"), HIDDEN, &["200"][..]),
        (
            "POST /echo HTTP/1.1",
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked", length + 5),
            &*after,
            &["200"],
        ),
        (
            "POST /echo HTTP/1.1",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {}", length + 5),
            &*after,
            &["200"],
        ),
        ("POST /echo HTTP/1.1", format!("Content-Length: 0\r\nContent-Length: {length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", format!("Content-Length: {length}, {length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", format!("Content-Length: +{length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Content-Length: -1".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Content-Length: 0x20".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Content-Length:".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Content-Length: 99999999999999999999".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", format!("Content-Length : {length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", format!("X: folded\r\n Content-Length: {length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", format!("X: a\rContent-Length: {length}"), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "X: a\0b".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding : chunked".to_owned(), &*after, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: xchunked".to_owned(), &*after, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: \u{b}chunked".to_owned(), &*after, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: identity".to_owned(), HIDDEN, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked, identity".to_owned(), &*after, &["400"]),
        (
            "POST /echo HTTP/1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
            &*after,
            &["400"],
        ),
        ("POST /echo HTTP/1.0", "Connection: keep-alive\r\nTransfer-Encoding: chunked".to_owned(), &*after, &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), &*after, &["200", "404"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "1;a\nX\r\n0\r\n\r\n", &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "0x0\r\n\r\n", &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "-1\r\n\r\n", &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "10000000000000000\r\n", &["400"]),
        ("POST /echo HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "1\r\nXX0\r\n\r\n", &["400"]),
        // A body that the handler does not read.
        ("GET /-/healthy HTTP/1.1", format!("Content-Length: {length}"), HIDDEN, &["200"]),
        ("HEAD /-/healthy HTTP/1.1", format!("Content-Length: {length}"), HIDDEN, &["200"]),
        ("GET /nowhere HTTP/1.1", format!("Content-Length: {length}"), HIDDEN, &["404"]),
        ("GET /-/healthy HTTP/1.1", "Content-Length: 100000".to_owned(), &HIDDEN.repeat(2000), &["200"]),
        ("GET /-/healthy HTTP/1.1", "Transfer-Encoding: chunked".to_owned(), "999999\r\nGET", &["200"]),
        // No tunnel, no other protocol.
        ("CONNECT test:80 HTTP/1.1", String::new(), HIDDEN, &["404", "404"]),
        ("GET /-/healthy HTTP/1.1", "Connection: upgrade\r\nUpgrade: h2c".to_owned(), HIDDEN, &["200", "404"]),
        ("GET /-/healthy HTTP/1.1", format!("A: {}", "a".repeat(20_000)), HIDDEN, &["431"]),
        ("GET /-/healthy HTTP/1.1", "bad header".to_owned(), HIDDEN, &["400"]),
        ("PRI * HTTP/2.0", String::new(), "SM\r\n\r\n", &["400"]),
        ("GET /-/healthy", String::new(), HIDDEN, &["400"]),
        ("GET /-/healthy HTTP/1.2", String::new(), HIDDEN, &["400"]),
    ] {
        let mut client = server.connect().await;
        let headers = if headers.is_empty() { headers } else { format!("{headers}\r\n") };
        // The connection may be closed before everything is sent.
        let text = format!("{first}\r\nHost: test\r\n{headers}\r\n{rest}");
        let _ = client.stream.write_all(text.as_bytes()).await;
        let _ = client.stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let got: Vec<_> = answer
            .split("HTTP/1.")
            .skip(1)
            .filter_map(|response| response.get(2..5))
            .filter(|status| status.parse::<u16>().is_ok())
            .collect();
        assert_eq!(got, answers, "{text:?} got {answer:?}");
    }
}
