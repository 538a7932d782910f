//! Asking the running program to read its configuration again, from wherever the request comes.

use tokio::sync::{mpsc, oneshot};

/// What came of a reload: what changed, or every error. Text for a person, without secrets.
pub type Outcome = Result<String, String>;

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trigger(mpsc::Sender<oneshot::Sender<Outcome>>);

/// The requests, for the one who reloads.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<oneshot::Sender<Outcome>>);

/// A trigger and its other end.
pub fn channel() -> (Trigger, ReloadRequests) {
    // One waits while one is served; more only wait at another place.
    let (sender, receiver) = mpsc::channel(1);
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
    /// The next request: where its outcome goes. Never comes when nobody can ask any more. Can be dropped at any time.
    pub async fn next(&mut self) -> oneshot::Sender<Outcome> {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}
