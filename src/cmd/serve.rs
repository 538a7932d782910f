//! What daemon and demo have in common: listen, poll, serve, drain.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::WebArgs,
    clock,
    routes::Routes,
    store::Store,
    telemetry::Telemetry,
    web::{
        listen::{self, ListenAddress},
        server::{self, Limits},
    },
};

/// A listener that is bound but does not answer yet.
pub struct Bound {
    listeners: Vec<TcpListener>,
    limits: Limits,
    routes: Arc<Routes>,
}

/// Binds the sockets, so that a taken port is said before anything is polled.
pub fn bind(web: &WebArgs, default: ListenAddress, store: &Store) -> anyhow::Result<Bound> {
    let addresses = if web.listen_address.is_empty() { vec![default] } else { web.listen_address.clone() };
    let listeners = listen::bind(&addresses)?;
    let telemetry = Telemetry::new(&clock::now(), !web.disable_exporter_metrics)?;
    let routes = Arc::new(Routes::new(store.clone(), telemetry, web.telemetry_path.clone()));
    let limits = Limits { max_requests: web.max_requests, ..Limits::default() };
    for listener in &listeners {
        let address = listener.local_addr()?;
        tracing::info!(%address, path = web.telemetry_path, "listening");
    }
    Ok(Bound { listeners, limits, routes })
}

impl Bound {
    /// Serves until `shutdown`, then lets requests in flight end.
    pub async fn serve(self, shutdown: CancellationToken) {
        let aborted = server::serve(self.listeners, self.routes, self.limits, shutdown).await;
        if aborted > 0 {
            tracing::warn!(aborted, "connections did not end in time");
        }
        tracing::info!("stopped");
    }

    /// The most connections that the listener keeps open.
    pub fn max_connections(&self) -> usize {
        self.limits.max_connections
    }
}
