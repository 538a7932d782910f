//! A minimal HTTP client that can also send invalid requests.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) struct Client<S> {
    pub(super) stream: S,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

// === impl Client ===

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends a request without a body; `headers` are whole lines.
    pub(super) async fn request(&mut self, method: &str, path: &str, headers: &str) {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")).await;
    }

    pub(super) async fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, "").await;
        self.response().await
    }

    pub(super) async fn response(&mut self) -> Response {
        let mut response = self.head().await;
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        response.body = vec![0; length];
        self.stream.read_exact(&mut response.body).await.unwrap();
        response
    }

    /// Reads only the head of a response.
    pub(super) async fn head(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: Vec::new() }
    }

    /// Reads until the connection ends, with or without an error. Returns the number of bytes.
    pub(super) async fn rest(&mut self) -> usize {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        rest.len()
    }
}

// === impl Response ===

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
