//! Accept, serve, drain.

use std::sync::Arc;

use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::web::{
    accept::{Accepted, Acceptor},
    connection::{Gate, Place},
    crowd::{Crowd, Seat},
    handler::Handler,
    policy::Policies,
    request_clock::{RequestClock, TimeLimits},
    timed_io::TimedIo,
};

/// What a server takes upon itself at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections open at the same time, at least 1; for one more, the one that has been silent for longest goes.
    pub max_connections: usize,
    /// Requests that wait for their answers at the same time; more wait for `patience` and then get 503. 0 is no limit.
    pub max_requests: usize,
    /// How long a request waits for others to be answered: making an answer takes milliseconds.
    pub patience: Duration,
    /// How long one connection may take.
    pub time: TimeLimits,
    /// How long requests in flight may go on after the shutdown has begun.
    pub drain: Duration,
}

/// Serves until `shutdown`, then drains; returns how many connections had to be aborted.
///
/// Nothing that a client does ends it: failures to accept are logged and tried again, everything else stays within the
/// connection's own task. At shutdown the listening sockets are closed at once, idle connections too, and requests in
/// flight have [`Limits::drain`] to end.
pub async fn serve<H: Handler>(
    listeners: Vec<TcpListener>,
    handler: Arc<H>,
    policies: Arc<dyn Policies>,
    limits: Limits,
    shutdown: CancellationToken,
) -> usize {
    let mut acceptor = Acceptor::new(listeners);
    let crowd = Crowd::new(limits.max_connections);
    let gate = Gate::new(handler, policies, limits.max_requests, limits.patience);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = acceptor.accept() => {
                let clock = RequestClock::new(limits.time);
                let Some(seat) = crowd.enter(accepted.peer, &clock) else { continue };
                let id = seat.id();
                let task = connections.spawn(connection(accepted, seat, clock, gate.clone(), shutdown.clone()));
                Seat::can_be_ended(&crowd, id, task);
            }
        }
    }
    drop(acceptor);
    drain(connections, limits.drain).await
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_requests: 40,
            patience: Duration::from_secs(1),
            time: TimeLimits::default(),
            drain: Duration::from_secs(4),
        }
    }
}

// === helpers ===

/// One connection from its first byte to its end.
async fn connection<H: Handler>(
    accepted: Accepted,
    seat: Seat,
    clock: RequestClock,
    gate: Gate<H>,
    shutdown: CancellationToken,
) {
    let Accepted { stream, peer } = accepted;
    // Answers are written in one piece: there is nothing to gain from waiting for more. Failing to set it costs speed
    // only.
    let _ = stream.set_nodelay(true);
    let stream = TimedIo::new(stream, clock.clone());
    gate.serve_accepted(stream, Place { seat, clock, tls: false }, peer, shutdown).await;
}

async fn drain(mut connections: JoinSet<()>, limit: Duration) -> usize {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if timeout(limit, all_ended).await.is_ok() {
        return 0;
    }
    // Those that ended together with the time limit were not aborted.
    while let Some(ended) = connections.try_join_next() {
        log_panic(ended);
    }
    let aborted = connections.len();
    connections.shutdown().await;
    aborted
}

/// A handler's panic ends its connection and nothing else; it is still an error to be reported.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        error!(err = %failure, "a request handler panicked, please report this; the server goes on");
    }
}
