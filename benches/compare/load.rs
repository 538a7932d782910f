//! HTTP requests over plain sockets with keep-alive, so that the client needs less CPU time than the server.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: usize = 8;

/// Sends `requests` scrapes over eight concurrent connections.
pub async fn run(port: u16, gzip: bool, requests: usize) {
    let clients = (0..CONNECTIONS).map(|_| tokio::spawn(client(port, "/metrics", gzip, requests / CONNECTIONS)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// The body of one scrape.
pub async fn body(port: u16, gzip: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    ask(&mut stream, "/metrics", gzip).await
}

/// Sends requests one after the other, so that the server renders each response.
pub async fn client(port: u16, path: &str, gzip: bool, requests: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    for _ in 0..requests {
        ask(&mut stream, path, gzip).await;
    }
}

async fn ask(stream: &mut TcpStream, path: &str, gzip: bool) -> Vec<u8> {
    let accept = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(16 * 1024);
    loop {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the server closed the connection");
        if let Some(body) = complete_body(&answer) {
            return body;
        }
    }
}

/// The body if the response is complete.
fn complete_body(answer: &[u8]) -> Option<Vec<u8>> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let length = text.split("content-length: ").nth(1).map(|rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    match length {
        Some(length) if answer.len() - head >= length => Some(answer[head..].to_vec()),
        Some(_) => None,
        // Go sends larger bodies in chunks.
        None => answer.ends_with(b"0\r\n\r\n").then(|| decode_chunks(&answer[head..])),
    }
}

/// Decodes a chunked body.
fn decode_chunks(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        let content = &chunks[end + 2..];
        body.extend_from_slice(&content[..length]);
        chunks = &content[length + 2..];
    }
    body
}
