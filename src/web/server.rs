//! Accepts connections, serves them, and drains them at shutdown.

use std::{io, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Duration, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::web::{connection::RequestPipeline, handler::Handler, policy::ListenerPolicy, registry::ConnectionRegistry};

/// After a failure to accept, such as for lack of file descriptors: only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open connections, at least 1. For a further one, another connection is closed: see `registry`.
    pub max_connections: usize,
    /// Requests being handled at the same time; more wait for `patience` and then get 503. 0 is no limit.
    pub max_requests: usize,
    /// Bytes of responses that clients have not read yet, over all connections.
    pub max_unread: u32,
    /// How long a request waits while `max_requests` others are handled, which take milliseconds each.
    pub patience: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// From the end of a response, or of the handshake, to the end of the next request's head. Longer than the usual scrape
    /// intervals, so that a scraper keeps its connection.
    pub head: Duration,
    /// For reading a request's body and making the response. Longer than a reload may take.
    pub handler: Duration,
    /// How long a client may read nothing while a response is being sent.
    pub write: Duration,
    /// How long requests in flight may take after the shutdown has begun.
    pub drain: Duration,
}

impl Default for Limits {
    /// The memory that they allow clients to use is within the limit of 128 MiB in `deploy/`.
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_requests: 40,
            max_unread: 16 * 1024 * 1024,
            patience: Duration::from_secs(1),
            handshake: Duration::from_secs(30),
            head: Duration::from_secs(120),
            handler: Duration::from_secs(60),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(4),
        }
    }
}

/// Serves until `shutdown`, then closes the listening sockets and idle connections and lets requests in flight end.
/// Returns how many connections had to be aborted.
pub async fn serve<H: Handler>(
    listeners: Vec<TcpListener>,
    handler: Arc<H>,
    policy: watch::Receiver<Arc<ListenerPolicy>>,
    limits: Limits,
    shutdown: CancellationToken,
) -> usize {
    let registry = ConnectionRegistry::new(limits.max_connections, limits.max_unread);
    let pipeline = Arc::new(RequestPipeline::new(handler, policy, limits, shutdown.clone()));
    let connections = TaskTracker::new();
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, registry.clone(), pipeline.clone(), connections.clone()));
    }
    shutdown.cancelled().await;
    accepting.shutdown().await;
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_ok() {
        return 0;
    }
    let aborted = connections.len();
    registry.evict_all();
    connections.wait().await;
    aborted
}

async fn accept<H: Handler>(
    listener: TcpListener,
    registry: Arc<ConnectionRegistry>,
    pipeline: Arc<RequestPipeline<H>>,
    connections: TaskTracker,
) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let guard = registry.register(peer.ip()).await;
                let (evicted, pipeline) = (guard.evicted.clone(), pipeline.clone());
                connections.spawn(async move {
                    tokio::select! {
                        // First, so that no handshake is computed for an evicted connection.
                        biased;
                        () = evicted.cancelled() => {}
                        () = pipeline.connection(stream, peer, guard) => {}
                    }
                });
            }
            // The client closed the connection before it was accepted.
            Err(err) if matches!(err.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(err) => {
                warn!(%err, "cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
