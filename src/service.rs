//! The service manager: systemd's notification socket, watchdog and socket activation.
//!
//! This is sd_notify(3) and sd_listen_fds(3). Without systemd, the notifications do nothing.

use std::{convert::Infallible, io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::timeout;

/// Why `--web.systemd-socket` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "no socket activation file descriptors found; start the program through its systemd socket unit, or leave out \
         --web.systemd-socket"
    )]
    None,
    #[error("the socket that systemd passed is no TCP listener; write ListenStream= with a port in the socket unit")]
    Kind(#[source] io::Error),
}

/// The listening sockets that systemd passed, set to non-blocking.
///
/// # Errors
///
/// When there are none, or one that is not a TCP listener.
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

/// Sends READY=1: the program serves, or a reload has ended.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Sends RELOADING=1, which [`notify_ready`] ends.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Sends STOPPING=1: the shutdown has begun and waits for requests in flight.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Sends WATCHDOG=1 while the runtime's workers run a new task in time.
pub async fn keep_alive() -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // Half the limit, as sd_watchdog_enabled(3) recommends; the workers have as long for the task.
    let pause = (limit / 2).max(Duration::from_millis(1));
    loop {
        if timeout(pause, tokio::spawn(async {})).await.is_ok_and(|task| task.is_ok()) {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Failures are logged: the program works without its manager.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        tracing::warn!(%err, "cannot notify the service manager");
    }
}
