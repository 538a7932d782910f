//! Minimal servers for behaviour that the simulated cluster does not have: literal HTTP responses, and TLS handshakes without HTTP.

use std::sync::Arc;

use qumulo_encryption_exporter::{
    client::{Credential, SecretSource, TransportPool},
    secret::Secret,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    lab::{Probe, settings},
    leak,
};

/// A running server. Dropping it stops it.
pub struct RawServer {
    pub port: u16,
    _accepting: AbortOnDropHandle<()>,
}

pub struct Request {
    /// The value of `Authorization`; empty if absent.
    pub authorization: String,
    pub body: String,
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    /// Number of the request on its connection, from 0.
    pub number: usize,
}

impl RawServer {
    /// Responds to requests; `None` closes the connection.
    pub async fn http(answer: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::serve(move |stream, connection| converse(stream, connection, answer.clone())).await
    }

    /// A client with a token, over plain HTTP.
    pub fn probe(&self) -> Probe {
        self.probe_with(Credential::Token(SecretSource::Fixed(Secret::new(leak::TOKEN))))
    }

    /// A client with any credential, over plain HTTP.
    pub fn probe_with(&self, credential: Credential) -> Probe {
        let settings = settings(&format!("http://localhost:{}", self.port), credential);
        Probe::new(&settings, &Arc::<TransportPool>::default()).unwrap()
    }

    /// Closes the connection after the TLS handshake.
    pub async fn tls(config: ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(move |stream, _| {
            let accept = acceptor.accept(stream);
            async move { drop(accept.await) }
        })
        .await
    }

    /// Sends the same response to every request over TLS, then closes the connection without close_notify.
    pub async fn https(config: ServerConfig, answer: &'static str) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(move |stream, _| {
            let accept = acceptor.accept(stream);
            async move {
                let Ok(stream) = accept.await else { return };
                let mut stream = BufReader::new(stream);
                if !head(&mut stream).await.is_empty() {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.flush().await;
                }
            }
        })
        .await
    }

    /// Passes each connection and its number to `serve`.
    pub async fn serve<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, number));
            }
        };
        Self { port, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }
}

/// A response with `Content-Length`.
pub fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The status of a healthy cluster.
pub fn healthy() -> String {
    reply("200 OK", r#"{"type": "Local", "status": "Encrypted"}"#)
}

/// Reads up to the end of the headers; empty if the connection is closed.
pub async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
            return String::new();
        }
    }
    head
}

/// The value of a header, ignoring the case of its name; empty if absent.
pub fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

/// Responds to the requests of one connection until either side closes it.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    answer: Arc<impl Fn(&Request) -> Option<String>>,
) {
    let mut stream = BufReader::new(stream);
    for number in 0.. {
        let head = head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let mut body = vec![0; header(&head, "Content-Length").parse().unwrap_or_default()];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let (authorization, body) = (header(&head, "Authorization"), String::from_utf8(body).unwrap());
        let Some(answer) = answer(&Request { authorization, body, connection, head, number }) else { return };
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
