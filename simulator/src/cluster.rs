//! The handle of one running cluster.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::certificate::Identity;
use super::connection;
use super::counts::Counts;
use super::listener::Listener;
use super::persist;
use super::spec::ClusterSpec;
use super::state::State;

/// A running simulated cluster. Dropping it stops it and closes its connections.
pub struct SimCluster {
    name: String,
    state: Arc<State>,
    runtime: Handle,
    accepting: AbortHandle,
}

impl SimCluster {
    /// Starts a cluster on the current tokio runtime and returns when it listens (or, with
    /// `faults.down`, has its port and refuses connections).
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or a certificate, key or authority in PEM is unusable.
    // Asynchronous although nothing is awaited: it needs a runtime, and says so by its type.
    pub async fn start(spec: ClusterSpec) -> io::Result<SimCluster> {
        let last = persist::load_port(&spec).filter(|_| spec.port == 0);
        // Another program may have it by now.
        let listener = last.and_then(|port| Listener::bind(SocketAddr::new(spec.host, port)).ok());
        let listener = listener.map_or_else(|| Listener::bind(SocketAddr::new(spec.host, spec.port)), Ok)?;
        persist::save_port(&spec, listener.addr().port())?;
        let (name, down) = (spec.name.clone(), spec.faults.down);
        let state = Arc::new(State::new(spec, listener)?);
        if !down {
            state.listener.listen()?;
        }
        let accepting = tokio::spawn(connection::accept_all(Arc::clone(&state))).abort_handle();
        let cluster = SimCluster { name, state, runtime: Handle::current(), accepting };
        tracing::info!(cluster = cluster.name, url = cluster.url(), "simulated cluster started");
        Ok(cluster)
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.state.listener.addr()
    }

    /// `https://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr())
    }

    /// SHA-256 of the present certificate of the REST API, as `AA:BB:…`.
    pub fn fingerprint(&self) -> String {
        self.state.identity().fingerprint.clone()
    }

    /// The present certificate chain of the REST API in PEM, leaf first.
    pub fn certificate_pem(&self) -> String {
        self.state.identity().pem.clone()
    }

    /// The description in force.
    pub fn spec(&self) -> ClusterSpec {
        self.state.applied().spec.clone()
    }

    /// Puts another description in force, from the next request on. Relative times count from now.
    ///
    /// Open connections stay, except when the cluster goes down or its TLS settings change. When
    /// this returns with `faults.down`, connections are refused; without, they are accepted on the
    /// same port again. Name, host and port of a running cluster do not change. What cannot be
    /// done (an unusable certificate, a port that is taken meanwhile) is logged.
    pub fn set(&self, spec: ClusterSpec) {
        let down = spec.faults.down;
        let before = self.state.apply(spec);
        let applied = self.state.applied();
        if before.spec.tls_settings() != applied.spec.tls_settings() {
            self.replace_identity(Identity::of(&applied.spec, self.state.now()));
        }
        if down {
            self.state.listener.stop();
            return;
        }
        // Listening registers the socket with the runtime, also when called from outside of it.
        let _context = self.runtime.enter();
        if let Err(error) = self.state.listener.listen() {
            tracing::warn!(cluster = self.name, err = %error, "simulated cluster cannot listen again");
        }
    }

    /// Like [`set`](Self::set), starting from the description in force.
    pub fn update(&self, change: impl FnOnce(&mut ClusterSpec)) {
        let mut spec = self.spec();
        change(&mut spec);
        self.set(spec);
    }

    /// Gives new connections a new self-signed certificate with a new key, and closes the old
    /// connections.
    pub fn swap_certificate(&self) {
        self.replace_identity(Identity::replacement(&self.spec(), self.state.now()));
    }

    /// Moves the cluster's clock forward: sessions and access tokens age, and
    /// `last_status_update_time` follows. The `Date` header does not.
    pub fn advance_clock(&self, by: Duration) {
        self.state.advance(by);
    }

    /// Forgets every session, as if they had all expired.
    pub fn end_sessions(&self) {
        self.state.sessions.clear();
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.state.counter.now()
    }

    /// What happened so far, to wait for more: `watch.wait_for(|counts| counts.requests > 2)`.
    pub fn watch_counts(&self) -> watch::Receiver<Counts> {
        self.state.counter.watch()
    }

    fn replace_identity(&self, identity: io::Result<Identity>) {
        match identity {
            Ok(identity) => self.state.replace_identity(identity),
            Err(error) => {
                tracing::warn!(cluster = self.name, err = %error, "simulated cluster keeps its certificate");
            }
        }
    }
}

impl fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCluster").field("name", &self.name).field("addr", &self.addr()).finish_non_exhaustive()
    }
}

impl Drop for SimCluster {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.listener.close();
    }
}
