//! What a service manager is told, and what it hands over: systemd's notification socket, watchdog and sockets.
//!
//! All of it is sd_notify(3) and sd_listen_fds(3); without systemd everything here does nothing.

use std::{convert::Infallible, io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::timeout;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Service(());

/// No sockets where some were promised.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The manager has not passed any.
    #[error(
        "no socket activation file descriptors found; start the program through its systemd socket unit, or leave out \
         --web.systemd-socket"
    )]
    None,
    /// One is of another kind.
    #[error("the socket that systemd passed is no TCP listener; write ListenStream= with a port in the socket unit")]
    Kind(#[source] io::Error),
}

/// The listening sockets that systemd passed. They are non-blocking from here on.
///
/// # Errors
///
/// When there are none, or others than TCP listeners.
pub fn sockets() -> Result<Vec<TcpListener>, SocketError> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let socket = passed.take_tcp_listener(index).map_err(SocketError::Kind)?.ok_or(SocketError::None)?;
        socket.set_nonblocking(true).map_err(SocketError::Kind)?;
        sockets.push(socket);
    }
    if sockets.is_empty() { Err(SocketError::None) } else { Ok(sockets) }
}

// === impl Service ===

impl Service {
    /// Sends READY=1: the program serves, or a reload has ended.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Sends RELOADING=1; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// Sends STOPPING=1: the end has begun, and takes as long as requests in flight.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Sends WATCHDOG=1 as long as the runtime's workers run a new task in time.
    pub async fn keep_alive(&self) -> Infallible {
        let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
        // Twice in the limit, as sd_watchdog_enabled(3) recommends, and the workers have as long for the task.
        let pause = (limit / 2).max(Duration::from_millis(1));
        loop {
            if timeout(pause, tokio::spawn(async {})).await.is_ok_and(|task| task.is_ok()) {
                tell(&[NotifyState::Watchdog]);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// A manager that does not listen is no reason to end, but one to say so.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        tracing::warn!(%err, "cannot notify the service manager");
    }
}
