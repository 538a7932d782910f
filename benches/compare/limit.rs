//! The lower limit for a server with hyper: a fixed body, which is compressed once.

use std::{convert::Infallible, io::Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The first argument of a process that runs this server.
pub const ARGUMENT: &str = "serve-fixed-body";

/// Serves the content of a file until the process is killed.
pub fn serve(port: &str, file: &str) {
    let plain = Bytes::from(std::fs::read(file).unwrap());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&plain).unwrap();
    let gzip = Bytes::from(encoder.finish().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (plain, gzip) = (plain.clone(), gzip.clone());
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(&request, &plain, &gzip);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

fn answer(request: &Request<Incoming>, plain: &Bytes, gzip: &Bytes) -> Response<Full<Bytes>> {
    if !request.headers().contains_key(ACCEPT_ENCODING) {
        return Response::new(Full::new(plain.clone()));
    }
    let mut answer = Response::new(Full::new(gzip.clone()));
    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer
}
