//! Accept, serve, drain.

use std::{io, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::web::{connection::RequestPipeline, handler::Handler, policy::ListenerPolicy, registry::ConnectionRegistry};

/// Out of descriptors or memory: only time helps, and trying at once would keep a core busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two log lines about failures to accept, which come in floods.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open connections, at least 1. For one more, the one that has kept the server waiting for longest is closed.
    pub max_connections: usize,
    /// Requests being handled at the same time; more wait for `patience` and then get 503. 0 is no limit.
    pub max_requests: usize,
    /// Bytes of responses that clients have not read yet, over all connections.
    pub max_unread: usize,
    /// How long a request waits while `max_requests` others are handled: each takes milliseconds.
    pub patience: Duration,
    pub time: TimeLimits,
    /// How long requests in flight may go on after the shutdown has begun.
    pub drain: Duration,
}

/// Absolute limits: bytes that trickle do not extend them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeLimits {
    pub handshake: Duration,
    /// Waiting for the whole head of a request, the time between two requests included. Longer than the usual scrape
    /// intervals, so that a scraper keeps its connection.
    pub head: Duration,
    /// Reading a request's body and making the response. Longer than a reload may take.
    pub handler: Duration,
    /// From the first moment that a client does not read until all of the response is sent.
    pub write: Duration,
}

impl Default for Limits {
    /// Together they fit the memory limit of 128 MiB in `deploy/`, whatever clients do.
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_requests: 40,
            max_unread: 16 * 1024 * 1024,
            patience: Duration::from_secs(1),
            time: TimeLimits::default(),
            drain: Duration::from_secs(4),
        }
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(30),
            head: Duration::from_secs(120),
            handler: Duration::from_secs(60),
            write: Duration::from_secs(30),
        }
    }
}

/// Serves until `shutdown`, then closes the listening sockets and idle connections and lets requests in flight end;
/// returns how many connections had to be aborted. Must be called inside a tokio runtime.
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
    registry.close_all();
    connections.wait().await;
    aborted
}

/// Accepts while there is room. Never ends by itself: failures to accept are logged and tried again. tokio's budget for a task
/// sees to it that a flood does not keep the connections that are there from being served.
async fn accept<H: Handler>(
    listener: TcpListener,
    registry: Arc<ConnectionRegistry>,
    pipeline: Arc<RequestPipeline<H>>,
    connections: TaskTracker,
) {
    let mut last_warning: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let guard = registry.admit(peer.ip()).await;
                connections.spawn(pipeline.clone().connection(stream, peer, guard));
            }
            Err(err) if is_clients_fault(&err) => {}
            Err(err) => {
                if last_warning.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
                    warn!(%err, "cannot accept connections, trying again");
                    last_warning = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection was gone before it was accepted.
fn is_clients_fault(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
