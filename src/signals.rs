//! SIGTERM, SIGINT and SIGHUP, on a thread of their own: whatever else hangs, a signal is heard.
//!
//! The first SIGTERM or SIGINT asks the program to end, and gives it [`GRACE`]; the second ends it. SIGHUP asks for a
//! reload; one that comes while the program starts is kept until somebody reloads.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{limits, logging::writer};

/// How long the end may take, whatever hangs. Service managers and orchestrators wait longer.
pub const GRACE: Duration = Duration::from_millis(4800);

/// How long an end waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_millis(100);

const STACK: usize = 128 * 1024;

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
    /// Listens from here on. Without `reload` SIGHUP keeps its default, which is to end the program.
    ///
    /// # Errors
    ///
    /// When the system refuses to install a handler or to start a thread.
    pub fn listen(reload: bool) -> io::Result<Self> {
        let signals = Self { reload: Arc::default(), shutdown: CancellationToken::new() };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (installed, wait) = oneshot::channel();
        let theirs = signals.clone();
        limits::start_thread("signals", STACK, move || {
            runtime.block_on(async {
                let handlers = Handlers::install(reload);
                match handlers {
                    Ok(handlers) => {
                        let _ = installed.send(Ok(()));
                        handlers.follow(&theirs).await;
                    }
                    Err(err) => drop(installed.send(Err(err))),
                }
            });
        })
        .map_err(io::Error::other)?;
        wait.blocking_recv().unwrap_or_else(|_| Err(io::Error::other("the thread for signals ended")))?;
        Ok(signals)
    }
}

struct Handlers {
    hangup: Option<Signal>,
    interrupt: Signal,
    terminate: Signal,
}

impl Handlers {
    fn install(reload: bool) -> io::Result<Self> {
        Ok(Self {
            hangup: if reload { Some(signal(SignalKind::hangup())?) } else { None },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn follow(mut self, signals: &Signals) {
        let (name, _) = self.end(signals).await;
        tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
        signals.shutdown.cancel();
        tokio::select! {
            (name, code) = self.end(signals) => {
                tracing::warn!(signal = name, "second signal: ending at once");
                writer::flush(LAST_WORDS);
                std::process::exit(code);
            }
            () = sleep(GRACE) => {
                tracing::warn!("the end took too long: ending at once");
                writer::flush(LAST_WORDS);
                std::process::exit(0);
            }
        }
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
