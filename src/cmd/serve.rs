//! What daemon and demo have in common: listen, serve, drain.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::WebArgs,
    clock,
    reload::{self, Wishes},
    routes::{Health, Routes},
    service,
    store::Store,
    telemetry::Telemetry,
    web::{
        listen::{self, ListenAddress},
        policy::{Fixed, Policies, Policy},
        server::{self, Limits},
    },
    web_config::{Refusal, WebConfig},
};

/// Listeners that are bound but do not answer yet.
pub struct Bound {
    health: Vec<TcpListener>,
    limits: Limits,
    listeners: Vec<TcpListener>,
    policies: Arc<dyn Policies>,
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
    let policies = policies(web, &telemetry)?;
    let listeners = if web.systemd_socket {
        let sockets = service::sockets()?;
        sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?
    } else if web.listen_address.is_empty() {
        listen::bind(&[default], "--web.listen-address")?
    } else {
        listen::bind(&web.listen_address, "--web.listen-address")?
    };
    let health = listen::bind(&web.health_listen_address, "--web.health-listen-address")?;
    let tls = policies.current().tls.is_some();
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, path = web.telemetry_path, tls, "listening");
    }
    for listener in &health {
        tracing::info!(address = %listener.local_addr()?, "listening for health checks");
    }
    let (trigger, wishes) = reload::channel();
    let trigger = web.enable_lifecycle.then_some(trigger);
    let routes = Arc::new(Routes::new(store.clone(), telemetry, web.telemetry_path.clone(), trigger));
    let limits = Limits { max_requests: web.max_requests, ..Limits::default() };
    Ok((Bound { health, limits, listeners, policies, routes }, wishes))
}

/// The exporter's own metrics, as the flags want them.
pub fn telemetry(web: &WebArgs) -> anyhow::Result<Arc<Telemetry>> {
    Ok(Arc::new(Telemetry::new(&clock::now(), !web.disable_exporter_metrics)?))
}

/// Who may come in; everybody, unless a file says otherwise.
fn policies(web: &WebArgs, telemetry: &Arc<Telemetry>) -> anyhow::Result<Arc<dyn Policies>> {
    let Some(file) = &web.web_config_file else { return Ok(Arc::new(Fixed::default())) };
    let telemetry = telemetry.clone();
    let observer = move |outcome: Result<&Policy, &Refusal>| match outcome {
        Ok(policy) => {
            telemetry.web_config_loaded(policy.tls.as_ref().map(|tls| tls.not_after));
            tracing::info!(tls = policy.tls.is_some(), users = policy.users.is_some(), "web configuration loaded");
        }
        Err(refusal) => {
            telemetry.web_config_refused();
            for line in refusal.to_string().lines() {
                tracing::error!(err = line, "cannot use the web configuration, the last good one stays");
            }
        }
    };
    Ok(Arc::new(WebConfig::open(file, Box::new(observer))?))
}

impl Bound {
    /// Serves until `shutdown`, then lets requests in flight end.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { health, limits, listeners, policies, routes } = self;
        let main = server::serve(listeners, routes.clone(), policies, limits, shutdown.clone());
        let health = async {
            if !health.is_empty() {
                let open = Arc::new(Fixed::default());
                server::serve(health, Arc::new(Health(routes)), open, limits, shutdown).await;
            }
        };
        let (aborted, ()) = tokio::join!(main, health);
        if aborted > 0 {
            tracing::warn!(aborted, "connections did not end in time");
        }
        tracing::info!("stopped");
    }

    /// The most connections that the listeners keep open.
    pub fn max_connections(&self) -> usize {
        let servers = if self.health.is_empty() { 1 } else { 2 };
        self.limits.max_connections * servers
    }
}
