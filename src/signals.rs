//! SIGTERM, SIGINT and SIGHUP.
//!
//! The first SIGTERM or SIGINT asks the program to end, and gives it [`GRACE`]; the second ends it. SIGHUP asks for a
//! reload; one that comes while the program starts is kept until somebody reloads.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{limits, logging::writer};

/// How long the end may take, whatever hangs. Service managers and orchestrators wait longer.
pub const GRACE: Duration = Duration::from_millis(4800);

/// How long an end waits for the log to be written.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

const GRACE_STACK: usize = 128 * 1024;

/// What signals ask for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Somebody sent SIGHUP, perhaps several times.
    pub reload: Arc<Notify>,
    /// Cancelled at the first SIGTERM or SIGINT.
    pub shutdown: CancellationToken,
}

// === impl Signals ===

impl Signals {
    /// Listens from here on; called inside the runtime. Without `reload` SIGHUP keeps its default, which is to end the program.
    ///
    /// # Errors
    ///
    /// When the system refuses to install a handler.
    pub fn listen(reload: bool) -> io::Result<Self> {
        let signals = Self { reload: Arc::default(), shutdown: CancellationToken::new() };
        let handlers = Handlers {
            hangup: if reload { Some(signal(SignalKind::hangup())?) } else { None },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        tokio::spawn(handlers.follow(signals.clone()));
        Ok(signals)
    }
}

struct Handlers {
    hangup: Option<Signal>,
    interrupt: Signal,
    terminate: Signal,
}

impl Handlers {
    async fn follow(mut self, signals: Signals) {
        let (name, _) = self.end(&signals).await;
        tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
        // On a thread of its own, so that it ends the process whatever hangs.
        let grace = limits::start_thread("grace", GRACE_STACK, || {
            thread::sleep(GRACE);
            tracing::error!("the shutdown took too long: ending at once");
            writer::flush(LOG_FLUSH_TIMEOUT);
            std::process::exit(1);
        });
        if let Err(err) = grace {
            tracing::warn!(%err, "the shutdown has no time limit");
        }
        signals.shutdown.cancel();
        let (name, code) = self.end(&signals).await;
        tracing::warn!(signal = name, "second signal: ending at once");
        writer::flush(LOG_FLUSH_TIMEOUT);
        std::process::exit(code);
    }

    /// The next signal that asks for the end, and the exit status that shells have for it.
    async fn end(&mut self, signals: &Signals) -> (&'static str, i32) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return ("SIGTERM", 128 + 15),
                _ = self.interrupt.recv() => return ("SIGINT", 128 + 2),
                () = next(self.hangup.as_mut()) => signals.reload.notify_one(),
            }
        }
    }
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
