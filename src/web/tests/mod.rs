//! The listener over real sockets on port 0.

mod client;
mod drain;
mod http;
mod limits;
mod policy;
mod time;

use std::{future::pending, net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, body::Incoming};
use tokio::{net::TcpStream, sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::web::{
    handler::Handler,
    listen::{ListenAddress, bind},
    policy::{ListenerPolicy, fixed},
    respond,
    server::{Limits, serve},
    tests::client::Client,
};

/// More than the kernel buffers for a client that does not read.
const LARGE: usize = 64 * 1024 * 1024;

/// Has a path for each behaviour that a test needs.
#[derive(Default)]
struct TestHandler {
    /// `/wait` has begun.
    entered: Notify,
    /// `/wait` may respond.
    release: Notify,
}

struct Server {
    port: u16,
    handler: Arc<TestHandler>,
    shutdown: CancellationToken,
    /// Returns the number of aborted connections.
    task: JoinHandle<usize>,
}

// === impl TestHandler ===

impl Handler for TestHandler {
    async fn handle(&self, request: Request<Incoming>) -> Response<Bytes> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/echo") => match request.into_body().collect().await {
                Ok(body) => respond::text(StatusCode::OK, body.to_bytes()),
                Err(_) => respond::text(StatusCode::BAD_REQUEST, "incomplete\n"),
            },
            ("OPTIONS", "/echo") => respond::options("POST, OPTIONS"),
            (_, "/echo") => respond::method_not_allowed("POST, OPTIONS"),
            ("GET" | "HEAD", "/hang") => pending().await,
            ("GET" | "HEAD", "/-/healthy") => respond::text(StatusCode::OK, "healthy\n"),
            ("GET" | "HEAD", "/large") => respond::text(StatusCode::OK, vec![b'x'; LARGE]),
            ("GET" | "HEAD", "/metrics") => respond::compressible(request.headers(), respond::TEXT, metrics()),
            ("GET" | "HEAD", "/panic") => panic!("a mistake in a handler"),
            ("GET" | "HEAD", "/wait") => {
                self.entered.notify_one();
                self.release.notified().await;
                respond::text(StatusCode::OK, "waited\n")
            }
            _ => respond::not_found(),
        }
    }

    fn is_health_check(&self, path: &str) -> bool {
        path == "/-/healthy"
    }
}

// === impl Server ===

impl Server {
    fn start(limits: Limits) -> Self {
        Self::with_policy(limits, ListenerPolicy::default())
    }

    fn with_policy(limits: Limits, policy: ListenerPolicy) -> Self {
        let listeners = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0)], "").unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let handler = Arc::new(TestHandler::default());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listeners, Arc::clone(&handler), fixed(policy), limits, shutdown.clone()));
        Self { port, handler, shutdown, task }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap())
    }

    /// Shuts down; returns how many connections were aborted.
    async fn stop(self) -> usize {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

fn metrics() -> String {
    "qumulo_encryption_up{cluster=\"prod-east\"} 1\n".repeat(100)
}
