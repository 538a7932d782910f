//! What daemon and demo have in common: listen, serve, drain.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::WebArgs,
    clock,
    reload::{self, Wishes},
    routes::Routes,
    service,
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

/// Binds the sockets, so that a taken port is said before anything is polled. The wishes are those of clients who want
/// the configuration to be reloaded; none come unless that is allowed.
pub fn bind(
    web: &WebArgs,
    default: ListenAddress,
    store: &Store,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<(Bound, Wishes)> {
    let listeners = if web.systemd_socket {
        let sockets = service::sockets()?;
        sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?
    } else if web.listen_address.is_empty() {
        listen::bind(&[default])?
    } else {
        listen::bind(&web.listen_address)?
    };
    let (trigger, wishes) = reload::channel();
    let trigger = web.enable_lifecycle.then_some(trigger);
    let routes = Arc::new(Routes::new(store.clone(), telemetry, web.telemetry_path.clone(), trigger));
    let limits = Limits { max_requests: web.max_requests, ..Limits::default() };
    for listener in &listeners {
        let address = listener.local_addr()?;
        tracing::info!(%address, path = web.telemetry_path, "listening");
    }
    Ok((Bound { listeners, limits, routes }, wishes))
}

/// The exporter's own metrics, as the flags want them.
pub fn telemetry(web: &WebArgs) -> anyhow::Result<Arc<Telemetry>> {
    Ok(Arc::new(Telemetry::new(&clock::now(), !web.disable_exporter_metrics)?))
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
