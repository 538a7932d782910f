//! Requests to reload the configuration, from SIGHUP, HTTP or the timer.

use tokio::sync::{mpsc, oneshot};

/// The result of a reload as text for users: what changed, or all errors. Contains no secrets.
pub type Outcome = Result<String, String>;

/// Requests reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trigger(mpsc::Sender<oneshot::Sender<Outcome>>);

#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<oneshot::Sender<Outcome>>);

/// At least the default of `--web.max-requests`.
const WAITING: usize = 64;

pub fn channel() -> (Trigger, ReloadRequests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Trigger(sender), ReloadRequests(receiver))
}

// === impl Trigger ===

impl Trigger {
    /// Requests a reload and waits for its result.
    pub async fn reload(&self) -> Outcome {
        let (sender, receiver) = oneshot::channel();
        let ending = || "the program is ending".to_owned();
        self.0.send(sender).await.map_err(|_| ending())?;
        receiver.await.map_err(|_| ending())?
    }
}

// === impl ReloadRequests ===

impl ReloadRequests {
    /// Waits for a request and returns all pending ones, which one reload serves. Each element receives the result. Pending
    /// forever once all triggers are dropped. Cancel-safe.
    pub async fn next(&mut self) -> Vec<oneshot::Sender<Outcome>> {
        let Some(first) = self.0.recv().await else { return std::future::pending().await };
        let mut requests = vec![first];
        while let Ok(more) = self.0.try_recv() {
            requests.push(more);
        }
        requests
    }
}
