//! The listening socket: listening, or closed with its port kept, and the connections that it
//! accepted.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A socket that can stop listening and listen again.
pub(super) struct Listener {
    addr: SocketAddr,
    state: Mutex<ListenerState>,
    listening: Notify,
}

/// An accepted connection.
pub(super) struct Accepted {
    /// Its socket.
    pub(super) stream: TcpStream,
    /// Cancelled when the connection must be closed.
    pub(super) closed: CancellationToken,
}

struct ListenerState {
    socket: Socket,
    /// Cancelled, and replaced, to close every connection accepted so far.
    generation: CancellationToken,
}

enum Socket {
    Listening(TcpListener),
    /// Bound but not listening: connections are refused and nobody else gets the port.
    Bound(TcpSocket),
    /// Not even bound: for good, or because binding failed.
    Closed,
}

impl Listener {
    /// Binds the port; 0 binds a free one. Nothing listens before [`listen`](Listener::listen).
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Listener> {
        let socket = bound_socket(addr)?;
        Ok(Listener {
            addr: socket.local_addr()?,
            state: Mutex::new(ListenerState { socket: Socket::Bound(socket), generation: CancellationToken::new() }),
            listening: Notify::new(),
        })
    }

    /// The address, with the port that was given.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens. Needs the context of a tokio runtime.
    ///
    /// # Errors
    ///
    /// When somebody else took the port; it stays closed then.
    pub(super) fn listen(&self) -> io::Result<()> {
        let mut state = self.state();
        let socket = match std::mem::replace(&mut state.socket, Socket::Closed) {
            listening @ Socket::Listening(_) => {
                state.socket = listening;
                return Ok(());
            }
            Socket::Bound(socket) => socket,
            Socket::Closed => bound_socket(self.addr)?,
        };
        state.socket = Socket::Listening(socket.listen(BACKLOG)?);
        self.listening.notify_one();
        Ok(())
    }

    /// Stops listening before it returns, keeps the port, and closes every connection.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        if let Socket::Listening(_) = state.socket {
            // The listener has to be gone before its port can be bound again.
            state.socket = Socket::Closed;
            if let Ok(socket) = bound_socket(self.addr) {
                state.socket = Socket::Bound(socket);
            }
        }
        state.close_connections();
    }

    /// Closes the socket for good, and every connection.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.socket = Socket::Closed;
        state.close_connections();
    }

    /// Closes every connection accepted so far and goes on listening.
    pub(super) fn close_connections(&self) {
        self.state().close_connections();
    }

    /// The next connection. Waits while nothing listens.
    ///
    /// # Errors
    ///
    /// What `accept(2)` reports, such as too many open files; the next call may succeed.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        loop {
            tokio::select! {
                accepted = poll_fn(|cx| match &*self.state() {
                    ListenerState { socket: Socket::Listening(listener), generation } => {
                        listener.poll_accept(cx).map_ok(|(stream, _)| Accepted {
                            stream,
                            closed: generation.clone(),
                        })
                    }
                    _ => Poll::Pending,
                }) => return accepted,
                // The socket that was waited on is gone: wait on the new one.
                () = self.listening.notified() => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, ListenerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerState {
    fn close_connections(&mut self) {
        std::mem::take(&mut self.generation).cancel();
    }
}

fn bound_socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections closed by us a moment ago must not keep their port from us.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
