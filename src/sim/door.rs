//! The listening socket: open, or closed with its port kept, and the connections that came
//! through it.

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

/// Where connections come in.
pub(super) struct Door {
    addr: SocketAddr,
    inside: Mutex<Inside>,
    opened: Notify,
}

/// A connection that came in.
pub(super) struct Visitor {
    /// Its socket.
    pub(super) stream: TcpStream,
    /// Cancelled when the connection must be closed.
    pub(super) closed: CancellationToken,
}

struct Inside {
    gate: Gate,
    /// Cancelled, and replaced, to close every connection accepted so far.
    generation: CancellationToken,
}

enum Gate {
    Open(TcpListener),
    /// Bound but not listening: connections are refused and nobody else gets the port.
    Reserved(TcpSocket),
    /// Not even bound: for good, or because binding failed.
    Closed,
}

impl Door {
    /// Takes the port; 0 takes a free one. Nothing listens before [`open`](Door::open).
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub(super) fn reserve(addr: SocketAddr) -> io::Result<Door> {
        let socket = bind(addr)?;
        Ok(Door {
            addr: socket.local_addr()?,
            inside: Mutex::new(Inside { gate: Gate::Reserved(socket), generation: CancellationToken::new() }),
            opened: Notify::new(),
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
    /// When somebody else took the port; the door is closed then.
    pub(super) fn open(&self) -> io::Result<()> {
        let mut inside = self.inside();
        let socket = match std::mem::replace(&mut inside.gate, Gate::Closed) {
            open @ Gate::Open(_) => {
                inside.gate = open;
                return Ok(());
            }
            Gate::Reserved(socket) => socket,
            Gate::Closed => bind(self.addr)?,
        };
        inside.gate = Gate::Open(socket.listen(BACKLOG)?);
        self.opened.notify_one();
        Ok(())
    }

    /// Stops listening before it returns, keeps the port, and closes every connection.
    pub(super) fn shut(&self) {
        let mut inside = self.inside();
        if let Gate::Open(_) = inside.gate {
            // The listener has to be gone before its port can be bound again.
            inside.gate = Gate::Closed;
            if let Ok(socket) = bind(self.addr) {
                inside.gate = Gate::Reserved(socket);
            }
        }
        inside.close_connections();
    }

    /// Gives the port back and closes every connection.
    pub(super) fn demolish(&self) {
        let mut inside = self.inside();
        inside.gate = Gate::Closed;
        inside.close_connections();
    }

    /// Closes every connection accepted so far and goes on listening.
    pub(super) fn close_connections(&self) {
        self.inside().close_connections();
    }

    /// The next connection. Waits while the door is shut.
    ///
    /// # Errors
    ///
    /// What `accept(2)` reports, such as too many open files; the next call may succeed.
    pub(super) async fn accept(&self) -> io::Result<Visitor> {
        loop {
            tokio::select! {
                visitor = poll_fn(|cx| match &*self.inside() {
                    Inside { gate: Gate::Open(listener), generation } => {
                        listener.poll_accept(cx).map_ok(|(stream, _)| Visitor {
                            stream,
                            closed: generation.clone(),
                        })
                    }
                    _ => Poll::Pending,
                }) => return visitor,
                // The gate that was waited on is gone: wait on the new one.
                () = self.opened.notified() => {}
            }
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn close_connections(&mut self) {
        std::mem::take(&mut self.generation).cancel();
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections closed by us a moment ago must not keep their port from us.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
