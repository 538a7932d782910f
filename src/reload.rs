//! Asking the running program to read its configuration again, from wherever the request comes.

use tokio::sync::{mpsc, oneshot};

/// What came of a reload, for each file, as text for a person: what changed, or every error. Without secrets.
pub type Outcome = Result<String, String>;

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trigger(mpsc::Sender<oneshot::Sender<Outcome>>);

/// The requests, for the one who reloads.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<oneshot::Sender<Outcome>>);

/// As many as there can be requests by default.
const WAITING: usize = 64;

/// A trigger and its other end.
pub fn channel() -> (Trigger, ReloadRequests) {
    // One reload answers all requests that wait.
    let (sender, receiver) = mpsc::channel(WAITING);
    (Trigger(sender), ReloadRequests(receiver))
}

// === impl Trigger ===

impl Trigger {
    /// Reloads, and waits for the outcome.
    pub async fn reload(&self) -> Outcome {
        let (sender, receiver) = oneshot::channel();
        let ending = || "the program is ending".to_owned();
        self.0.send(sender).await.map_err(|_| ending())?;
        receiver.await.map_err(|_| ending())?
    }
}

// === impl ReloadRequests ===

impl ReloadRequests {
    /// Waits for requests: where the outcome of one reload goes, for all that have come so far. Never ends when nobody can ask
    /// any more. Can be dropped at any time.
    pub async fn next(&mut self) -> Vec<oneshot::Sender<Outcome>> {
        let Some(first) = self.0.recv().await else { return std::future::pending().await };
        let mut requests = vec![first];
        while let Ok(more) = self.0.try_recv() {
            requests.push(more);
        }
        requests
    }
}
