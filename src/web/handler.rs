//! The interface between the server and the code that answers requests.

use std::future::Future;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming};

/// A request extension: the request arrived over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// Answers the requests of a server.
pub trait Handler: Send + Sync + 'static {
    /// Returns the response to a request. HEAD is handled like GET: hyper omits the body and keeps its length.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<Bytes>> + Send;

    /// Called for every response, including those that the server makes itself (such as 401 and 429).
    fn on_response(&self, _path: &str, _status: StatusCode) {}

    fn on_handshake_failure(&self) {}

    /// Whether `path` is a health check. Health checks need no password and are never refused for a limit: an orchestrator must
    /// not restart an exporter because it is busy.
    fn is_health_check(&self, _path: &str) -> bool {
        false
    }
}
