//! SIGTERM, SIGINT and SIGHUP.
//!
//! The first SIGTERM or SIGINT begins the shutdown, which may take [`GRACE`]; the second ends the process. SIGHUP requests a
//! reload; one that arrives during the start is kept until the reloader runs.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{limits, logging::writer};

/// The longest time from the first signal to the end of the process. Service managers and orchestrators wait longer.
pub const GRACE: Duration = Duration::from_millis(4800);

const GRACE_STACK: usize = 128 * 1024;

/// What signals request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Notified at SIGHUP.
    pub reload: Arc<Notify>,
    /// Cancelled at the first SIGTERM or SIGINT.
    pub shutdown: CancellationToken,
}

// === impl Signals ===

impl Signals {
    /// Installs the handlers; call it inside the runtime. Without `reload`, SIGHUP keeps its default, which ends the process.
    ///
    /// # Errors
    ///
    /// When the system refuses to install a handler.
    pub fn listen(reload: bool) -> io::Result<Self> {
        let signals = Self { reload: Arc::default(), shutdown: CancellationToken::new() };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(shut_down(terminate, interrupt, signals.shutdown.clone()));
        if reload {
            let (mut hangup, reload) = (signal(SignalKind::hangup())?, Arc::clone(&signals.reload));
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    reload.notify_one();
                }
            });
        }
        Ok(signals)
    }
}

async fn shut_down(mut terminate: Signal, mut interrupt: Signal, shutdown: CancellationToken) {
    let (name, _) = next(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
    // On a thread of its own, so that it ends the process even if the runtime hangs.
    let grace = limits::start_thread("grace", GRACE_STACK, || {
        thread::sleep(GRACE);
        tracing::error!("the shutdown took too long: ending at once");
        writer::flush();
        std::process::exit(1);
    });
    if let Err(err) = grace {
        tracing::warn!(%err, "the shutdown has no time limit");
    }
    shutdown.cancel();
    let (name, code) = next(&mut terminate, &mut interrupt).await;
    tracing::warn!(signal = name, "second signal: ending at once");
    writer::flush();
    std::process::exit(code);
}

/// Waits for a signal: its name, and the exit status that shells use for it.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}
