//! What a server serves.

use std::future::Future;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming};

/// Marks, in the extensions of a request, that it came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// What the requests of a server are answered with.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request. Implementations that have everything in memory simply never await.
    ///
    /// A HEAD request is to be answered like a GET: the server leaves the body out and keeps its length.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;

    /// Told of every answer to a request, those of the server itself (too many requests) included: for counting.
    fn answered(&self, path: &str, status: StatusCode) {
        let _ = (path, status);
    }

    /// Told of every TLS handshake that failed.
    fn handshake_failed(&self) {}

    /// Whether `path` is for everybody, without password and rate limit.
    fn is_open(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Whether requests for `path` are under the limit of concurrent requests. Health checks are not to be: an overload
    /// is no reason for an orchestrator to kill the process.
    fn is_limited(&self, path: &str) -> bool {
        let _ = path;
        true
    }
}
