//! Accepting connections from several sockets, and going on when that fails.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep},
};
use tracing::warn;

/// Out of descriptors or memory: only time helps, and trying at once would keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two log lines about failures to accept, which come in floods.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The listening sockets of one server; dropping it closes them.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<TcpListener>,
    /// Whose turn it is to be asked first, so that a busy socket does not starve the others.
    first: usize,
    last_warning: Option<Instant>,
    suppressed: u64,
}

/// A connection and its peer.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
}

// === impl Acceptor ===

impl Acceptor {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        Self { listeners, first: 0, last_warning: None, suppressed: 0 }
    }

    /// The next connection. Never fails and never stops trying. Cancel safe.
    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((stream, peer)) => return Accepted { stream, peer },
                Err(error) if is_the_peers_fault(&error) => {}
                Err(error) => {
                    self.warn(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let start = self.first;
        let (before, from) = self.listeners.split_at(start.min(self.listeners.len()));
        for (offset, listener) in from.iter().chain(before).enumerate() {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                self.first = (start + offset + 1) % self.listeners.len();
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    fn warn(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.last_warning.is_some_and(|last| now.duration_since(last) < WARN_INTERVAL) {
            self.suppressed += 1;
            return;
        }
        warn!(err = %error, suppressed = self.suppressed, "cannot accept connections, trying again");
        self.last_warning = Some(now);
        self.suppressed = 0;
    }
}

/// The connection was gone before we took it; the next one may be fine.
fn is_the_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::web::listen::{ListenAddress, bind};

    #[tokio::test]
    async fn busy_socket_does_not_starve_the_others() {
        let any_port = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0);
        let listeners = bind(&[any_port.clone(), any_port], "").unwrap();
        let [busy, quiet] = [0, 1].map(|index| listeners[index].local_addr().unwrap());
        let mut clients = Vec::new();
        for address in [busy, busy, busy, quiet] {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let mut acceptor = Acceptor::new(listeners);
        let first_two = [acceptor.accept().await, acceptor.accept().await];
        assert!(first_two.iter().any(|accepted| accepted.stream.local_addr().unwrap() == quiet));
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_are_rare() {
        let mut acceptor = Acceptor::new(Vec::new());
        let error = io::Error::other("too many open files");
        for expect in [0, 1, 2] {
            acceptor.warn(&error);
            assert_eq!(acceptor.suppressed, expect);
        }
        tokio::time::advance(WARN_INTERVAL).await;
        acceptor.warn(&error);
        assert_eq!(acceptor.suppressed, 0, "told and forgotten");
    }
}
