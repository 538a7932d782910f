//! One request over one connection, and what is left of the connection afterwards.
//!
//! Between two requests a connection is a socket and the state of TLS. Its buffers are hyper's, some 25 KiB, which a
//! connection that hyper keeps would hold for ever; here they live for one request. That is why this is not left to a
//! client with a pool.

use std::{future::Future, pin::pin, time::Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Body,
    client::conn::http1,
    header::{ACCEPT, HOST, USER_AGENT},
    http::{request, response::Parts},
};
use hyper_util::rt::TokioIo;
use url::{Position, Url};

use super::connect::Stream;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How we call ourselves.
const AGENT: &str = concat!("qumulo-encryption-exporter/", env!("CARGO_PKG_VERSION"));

/// What came back.
#[derive(Debug)]
pub struct Received {
    /// When its head was there.
    pub at: Instant,
    /// As far as it came.
    pub body: Vec<u8>,
    /// Why the body is not whole.
    pub cut: Option<Cut>,
    /// Status and headers.
    pub head: Parts,
}

/// Why a body is not whole.
#[derive(Debug)]
pub enum Cut {
    /// The connection ended.
    Broken(hyper::Error),
    /// It is longer than the limit.
    TooLarge,
}

/// A request for what `url` names, to be sent over a connection to its host.
pub fn request(method: Method, url: &Url) -> request::Builder {
    let request = Request::builder().method(method).uri(&url[Position::BeforePath..Position::AfterQuery]);
    let host = &url[Position::BeforeHost..Position::AfterPort];
    request.header(HOST, host).header(ACCEPT, "*/*").header(USER_AGENT, AGENT)
}

/// Sends `request` and reads a body of at most `limit` bytes. With it comes the connection, if it can carry another request.
///
/// # Errors
///
/// Without the head of an answer.
pub async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(Received, Option<Box<dyn Stream>>), hyper::Error> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let (head, mut incoming) = sender.send_request(request).await?.into_parts();
        let mut received = Received { at: Instant::now(), body: Vec::new(), cut: None, head };
        while let Some(frame) = incoming.frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) if received.body.len() + data.len() <= limit => received.body.extend_from_slice(&data),
                Ok(Ok(_)) => received.cut = Some(Cut::TooLarge),
                // Trailers say nothing.
                Ok(Err(_)) => {}
                Err(err) => received.cut = Some(Cut::Broken(err)),
            }
            if received.cut.is_some() {
                return Ok((received, false));
            }
        }
        let reusable = sender.ready().await.is_ok();
        Ok((received, reusable))
    };
    drive(connection, answer).await
}

/// Runs `exchange` and the connection that it needs. The exchange owns the sender, with which the connection ends, and says
/// whether the stream is of further use. It is none if something came that nobody asked for.
///
/// # Errors
///
/// Those of the exchange.
pub async fn drive<T, E, B>(
    connection: http1::Connection<TokioIo<Box<dyn Stream>>, B>,
    exchange: impl Future<Output = Result<(T, bool), E>>,
) -> Result<(T, Option<Box<dyn Stream>>), E>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut connection, mut exchange) = (pin!(connection.without_shutdown()), pin!(exchange));
    let (value, parts) = tokio::select! {
        biased;
        outcome = &mut exchange => match outcome? {
            (value, true) => (value, connection.await),
            (value, false) => return Ok((value, None)),
        },
        parts = &mut connection => match exchange.await? {
            (value, true) => (value, parts),
            (value, false) => return Ok((value, None)),
        },
    };
    let whole = parts.ok().filter(|parts| parts.read_buf.is_empty());
    Ok((value, whole.map(|parts| parts.io.into_inner())))
}
