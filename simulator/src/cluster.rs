//! A running cluster.

use std::{fs, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use crate::{
    certificate::Identity,
    connection,
    counts::Counts,
    folder,
    spec::ClusterSpec,
    state::{self, Shared, State},
};

/// A running simulated cluster. Dropping it stops it and closes its connections.
pub struct SimCluster {
    accepting: AbortHandle,
    name: String,
    runtime: Handle,
    shared: Arc<Shared>,
}

impl SimCluster {
    /// Starts a cluster on the current tokio runtime. Fails if it cannot listen, if a certificate or key in PEM is invalid, or
    /// if its folder is not writable.
    // `async`, because it needs a runtime.
    pub async fn start(spec: ClusterSpec) -> io::Result<Self> {
        let bind = |port| state::bind(SocketAddr::new(spec.host, port));
        let port_file = folder::file(&spec, "port");
        let saved = port_file.as_ref().filter(|_| spec.port == 0).and_then(|file| fs::read_to_string(file).ok());
        let socket = match saved.and_then(|port| bind(port.trim().parse().ok()?).ok()) {
            Some(socket) => socket,
            // Also if another program has taken the port of the previous start.
            None => bind(spec.port).map_err(|err| {
                let ClusterSpec { host, port, .. } = &spec;
                let message = format!("port {port} of {host}: {err}; choose another `port` or `host`");
                io::Error::new(err.kind(), message)
            })?,
        };
        if let Some(file) = port_file {
            folder::write(&file, &format!("{}\n", socket.local_addr()?.port()))?;
        }
        let (name, down) = (spec.name.clone(), spec.faults.down);
        let shared = Arc::new(Shared::new(spec, socket)?);
        if !down {
            shared.lock().listen()?;
        }
        let accepting = tokio::spawn(connection::accept_all(shared.clone())).abort_handle();
        let cluster = Self { accepting, name, runtime: Handle::current(), shared };
        tracing::info!(cluster = cluster.name, url = cluster.url(), "simulated cluster started");
        Ok(cluster)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address with the actual port.
    pub fn addr(&self) -> SocketAddr {
        self.shared.lock().addr
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("https://{}", self.addr())
    }

    /// SHA-256 of the current certificate, as `AA:BB:…`.
    pub fn fingerprint(&self) -> String {
        self.shared.lock().identity.fingerprint.clone()
    }

    /// The current certificate chain in PEM, leaf first.
    pub fn certificate_pem(&self) -> String {
        self.shared.lock().identity.chain_pem.clone()
    }

    pub fn spec(&self) -> ClusterSpec {
        (*self.shared.lock().spec).clone()
    }

    /// Applies another description, from the next request on. Relative times are relative to now.
    ///
    /// Open connections are kept, except if the cluster goes down or if its TLS settings change. When this returns, the port is
    /// closed or open as `faults.down` says. Name, host and port do not change. Errors are logged.
    pub(crate) fn set(&self, spec: ClusterSpec) {
        let mut state = self.shared.lock();
        let same_tls = state.spec.tls_settings() == spec.tls_settings();
        (state.applied, state.spec) = (state.now(), Arc::new(spec));
        if !same_tls {
            let identity = Identity::load(&state.spec, state.now());
            self.replace_certificate(&mut state, identity);
        }
        if state.spec.faults.down {
            state.stop_listening();
            state.close_connections();
            return;
        }
        // Listening needs a runtime, and this can be called from outside.
        let _context = self.runtime.enter();
        if let Err(err) = state.listen() {
            tracing::warn!(cluster = self.name, %err, "simulated cluster cannot listen again");
        }
        self.shared.listening.notify_one();
    }

    /// Modifies the current description.
    pub fn update(&self, change: impl FnOnce(&mut ClusterSpec)) {
        let mut spec = self.spec();
        change(&mut spec);
        self.set(spec);
    }

    /// Replaces the certificate by a new self-signed one with a new key, and closes all connections.
    pub fn swap_certificate(&self) {
        let mut state = self.shared.lock();
        let identity = Identity::create(&state.spec, state.now());
        self.replace_certificate(&mut state, identity);
    }

    /// Advances the cluster's clock, which `last_status_update_time`, sessions and access tokens use. The `Date` header does
    /// not use it.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.lock().clock_offset += by;
    }

    /// Ends all sessions, as if they had expired.
    pub fn end_sessions(&self) {
        self.shared.lock().sessions.clear();
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts.borrow().clone()
    }

    /// To wait for more: `watch.wait_for(|counts| counts.requests > 2)`.
    pub fn watch_counts(&self) -> watch::Receiver<Counts> {
        self.shared.counts.subscribe()
    }

    fn replace_certificate(&self, state: &mut State, identity: io::Result<Identity>) {
        match identity {
            Ok(identity) => {
                state.identity = Arc::new(identity);
                state.close_connections();
            }
            Err(err) => tracing::warn!(cluster = self.name, %err, "simulated cluster keeps its certificate"),
        }
    }
}

impl Drop for SimCluster {
    fn drop(&mut self) {
        self.accepting.abort();
        let mut state = self.shared.lock();
        state.socket = None;
        state.close_connections();
    }
}
