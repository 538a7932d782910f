//! The state of a running cluster: its description, clock, certificate, sessions and socket.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::Identity,
    counts::Counts,
    spec::{ClusterSpec, derive_hex},
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Shared by a cluster and its connections.
pub struct Shared {
    pub counts: watch::Sender<Counts>,
    /// Notified after [`State::listen`].
    pub listening: Notify,
    state: Mutex<State>,
}

pub struct State {
    pub addr: SocketAddr,
    /// When `spec` was applied, on the cluster's clock.
    pub applied: DateTime<Utc>,
    /// How far the cluster's clock is ahead of the system's.
    pub clock_offset: Duration,
    /// Cancelled, and replaced, to close all connections accepted so far.
    connections: CancellationToken,
    pub identity: Arc<Identity>,
    /// Requests so far by path, for [`ClusterSpec::replay`].
    pub replayed: HashMap<String, usize>,
    /// Bearer token and time of login.
    pub sessions: HashMap<String, DateTime<Utc>>,
    /// `None`: closed, or binding failed.
    pub socket: Option<Socket>,
    pub spec: Arc<ClusterSpec>,
}

pub enum Socket {
    /// Bound, but not listening: connections are refused. Other programs cannot take the port, except with `SO_REUSEADDR`.
    Bound(TcpSocket),
    Listening(TcpListener),
}

/// Binds a port without listening on it.
pub fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise the port is unavailable for a while after its connections were closed.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

// === impl Shared ===

impl Shared {
    pub fn new(spec: ClusterSpec, socket: TcpSocket) -> io::Result<Self> {
        let applied = DateTime::from(SystemTime::now());
        let state = State {
            addr: socket.local_addr()?,
            applied,
            clock_offset: Duration::ZERO,
            connections: CancellationToken::new(),
            identity: Arc::new(Identity::load(&spec, applied)?),
            replayed: HashMap::new(),
            sessions: HashMap::new(),
            socket: Some(Socket::Bound(socket)),
            spec: Arc::new(spec),
        };
        Ok(Self { counts: watch::Sender::default(), listening: Notify::new(), state: Mutex::new(state) })
    }

    /// Never held across an await, and the state is valid even after a panic.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next connection, while the cluster is down as well. The token is cancelled when the connection must be
    /// closed. After an error such as too many open files, the next call may succeed.
    pub async fn accept(&self) -> io::Result<(TcpStream, CancellationToken)> {
        loop {
            let accepted = poll_fn(|cx| {
                let state = self.lock();
                match &state.socket {
                    Some(Socket::Listening(listener)) => {
                        listener.poll_accept(cx).map_ok(|(stream, _)| (stream, state.connections.clone()))
                    }
                    _ => Poll::Pending,
                }
            });
            tokio::select! {
                accepted = accepted => return accepted,
                // The task must be woken by the new socket.
                () = self.listening.notified() => {}
            }
        }
    }
}

// === impl State ===

impl State {
    /// The time on the cluster's clock.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from(SystemTime::now() + self.clock_offset)
    }

    /// Listens on the port. Needs a tokio runtime. An error means that another program has taken the port.
    pub fn listen(&mut self) -> io::Result<()> {
        if !matches!(self.socket, Some(Socket::Listening(_))) {
            let socket = match self.socket.take() {
                Some(Socket::Bound(socket)) => socket,
                _ => bind(self.addr)?,
            };
            self.socket = Some(Socket::Listening(socket.listen(BACKLOG)?));
        }
        Ok(())
    }

    /// Refuses connections, but keeps the port.
    pub fn stop_listening(&mut self) {
        if let Some(Socket::Listening(_)) = self.socket {
            // The listener must be closed before its port can be bound again.
            self.socket = None;
            self.socket = bind(self.addr).ok().map(Socket::Bound);
        }
    }

    pub fn close_connections(&mut self) {
        std::mem::take(&mut self.connections).cancel();
    }

    /// Returns a bearer token. It is unique, but not secret.
    pub fn open_session(&mut self) -> String {
        let now = self.now();
        let token = format!("session-v1:{}", derive_hex("session", &format!("{}\0{now:?}", self.sessions.len())));
        self.sessions.insert(token.clone(), now);
        token
    }

    pub fn has_session(&self, bearer_token: &str) -> bool {
        let lifetime = TimeDelta::hours(self.spec.auth.session_hours.into());
        self.sessions.get(bearer_token).is_some_and(|login| self.now() - *login < lifetime)
    }
}
