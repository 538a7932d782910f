//! What a running cluster is at this moment, shared by its connections.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::certificate::Identity;
use super::counts::Counter;
use super::listener::Listener;
use super::sessions::Sessions;
use super::spec::ClusterSpec;

/// The state of one cluster.
pub(super) struct State {
    /// Its listening socket.
    pub(super) listener: Listener,
    /// What happened.
    pub(super) counter: Counter,
    /// How often each path was asked for, where a recording is played.
    replayed: Mutex<HashMap<String, usize>>,
    /// Who is logged in.
    pub(super) sessions: Sessions,
    applied: Mutex<Arc<Applied>>,
    identity: Mutex<Arc<Identity>>,
    clock_ahead: Mutex<Duration>,
}

/// A description in force.
pub(super) struct Applied {
    /// The description.
    pub(super) spec: ClusterSpec,
    /// Since when, on the cluster's clock. Relative times count from here.
    pub(super) at: DateTime<Utc>,
}

impl State {
    /// A cluster that does not listen yet.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made or read.
    pub(super) fn new(spec: ClusterSpec, listener: Listener) -> io::Result<State> {
        let at = wall_clock();
        Ok(State {
            listener,
            counter: Counter::default(),
            replayed: Mutex::default(),
            sessions: Sessions::default(),
            identity: Mutex::new(Arc::new(Identity::of(&spec, at)?)),
            applied: Mutex::new(Arc::new(Applied { spec, at })),
            clock_ahead: Mutex::default(),
        })
    }

    /// The cluster's clock: the real one plus what [`advance`](State::advance) added.
    pub(super) fn now(&self) -> DateTime<Utc> {
        wall_clock() + *lock(&self.clock_ahead)
    }

    /// Moves the cluster's clock forward.
    pub(super) fn advance(&self, by: Duration) {
        let mut ahead = lock(&self.clock_ahead);
        *ahead = ahead.saturating_add(by);
    }

    /// The description in force.
    pub(super) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&lock(&self.applied))
    }

    /// Puts another description in force and returns the one before.
    pub(super) fn apply(&self, spec: ClusterSpec) -> Arc<Applied> {
        let next = Arc::new(Applied { spec, at: self.now() });
        std::mem::replace(&mut *lock(&self.applied), next)
    }

    /// Counts a request for `path`; returns how many came before it.
    pub(super) fn count_replayed(&self, path: &str) -> usize {
        let mut replayed = lock(&self.replayed);
        let count = replayed.entry(path.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    /// The certificate that new connections get.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&lock(&self.identity))
    }

    /// Changes the certificate and closes the connections made with the one before.
    pub(super) fn replace_identity(&self, identity: Identity) {
        // In this order: a connection accepted in between has the new certificate already.
        *lock(&self.identity) = Arc::new(identity);
        self.listener.close_connections();
    }
}

fn wall_clock() -> DateTime<Utc> {
    DateTime::from(SystemTime::now())
}

/// Nothing panics while it holds one of these locks half-changed, so poison says nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
