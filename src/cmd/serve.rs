//! What daemon and demo have in common: listen, serve, drain.

use std::sync::Arc;

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::WebArgs,
    clock, limits,
    reload::{self, ReloadRequests},
    routes::{Health, Routes, Site},
    service,
    store::Store,
    telemetry::Telemetry,
    web::{
        listen::{self, ListenAddress},
        policy::{Fixed, Policies, Policy},
        server::{self, Limits},
    },
    web_config::{self, WebConfig, WebConfigErrors},
};

/// For the deepest call of a request: rendering, compressing, TLS.
const STACK: usize = 512 * 1024;

/// Descriptors that are neither connections nor polls: sockets that listen, files, the runtimes' own.
const SPARE: u64 = 64;

/// A listener at work on its own thread.
pub struct Serving {
    ended: oneshot::Receiver<()>,
    runtime: Handle,
}

/// Listeners that are bound but do not answer yet.
pub struct Bound {
    health: Vec<TcpListener>,
    limits: Limits,
    listeners: Vec<TcpListener>,
    policies: Arc<dyn Policies>,
    routes: Arc<Routes>,
    runtime: super::Runtime,
}

/// Binds the sockets, so that a taken port is said before anything is polled. The requests are those of clients who want
/// the configuration to be reloaded; none come unless that is allowed.
pub fn bind(
    web: &WebArgs,
    default: ListenAddress,
    store: &Store,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<(Bound, ReloadRequests)> {
    let runtime = super::runtime()?;
    // The sockets belong to the runtime that is entered here.
    let handle = runtime.handle().context("the runtime has ended")?.clone();
    let _entered = handle.enter();
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
    let site = Site::new(web.external_url.clone(), web.route_prefix.as_deref());
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, path = site.inner(&web.telemetry_path), tls, "listening");
    }
    for listener in &health {
        tracing::info!(address = %listener.local_addr()?, "listening for health checks");
    }
    let (trigger, requests) = reload::channel();
    let trigger = web.enable_lifecycle.then_some(trigger);
    let routes = Arc::new(Routes::new(store.clone(), telemetry, web.telemetry_path.clone(), site, trigger));
    let servers = if health.is_empty() { 1 } else { 2 };
    let limits =
        Limits { max_connections: max_connections(servers), max_requests: web.max_requests, ..Limits::default() };
    Ok((Bound { health, limits, listeners, policies, routes, runtime }, requests))
}

/// Half of the descriptors at most, so that connections of clients never take those of the polls.
fn max_connections(servers: u64) -> usize {
    let most = Limits::default().max_connections;
    let Some(limit) = limits::raise_descriptors() else { return most };
    let half = limit.saturating_sub(SPARE) / 2 / servers;
    usize::try_from(half).unwrap_or(most).clamp(8, most)
}

/// Says so if there are too few descriptors for `clusters`, each of which keeps a connection.
pub fn warn_of_few_descriptors(clusters: usize) {
    let needed = clusters as u64 + 2 * Limits::default().max_connections as u64 + SPARE;
    if let Some(limit) = limits::raise_descriptors()
        && limit < needed
    {
        tracing::warn!(
            limit,
            needed,
            "few file descriptors: raise the hard limit (LimitNOFILE= in a systemd unit, ulimit -Hn)"
        );
    }
}

/// The exporter's own metrics, as the flags want them.
pub fn telemetry(web: &WebArgs) -> anyhow::Result<Arc<Telemetry>> {
    Ok(Arc::new(Telemetry::new(&clock::now(), !web.disable_exporter_metrics)?))
}

/// Who may come in; everybody, unless a file says otherwise.
fn policies(web: &WebArgs, telemetry: &Arc<Telemetry>) -> anyhow::Result<Arc<dyn Policies>> {
    let Some(file) = &web.web_config_file else { return Ok(Arc::new(Fixed::default())) };
    let telemetry = telemetry.clone();
    let observer = move |outcome: Result<&Policy, &WebConfigErrors>| match outcome {
        Ok(policy) => {
            telemetry.web_config_loaded(policy.tls.as_ref().map(|tls| tls.not_after));
            tracing::info!(tls = policy.tls.is_some(), users = policy.users.is_some(), "web configuration loaded");
        }
        Err(refusal) => {
            telemetry.web_config_refused();
            super::log_errors(refusal.errors(), "cannot use the web configuration, the last good one stays");
        }
    };
    let opened = WebConfig::open(file, web_config::SETTLE, Box::new(observer));
    let config = Arc::new(opened.map_err(WebConfigErrors::into_errors)?);
    config.follow()?;
    Ok(config)
}

impl Bound {
    /// The rules of the listener, which a reload concerns too.
    pub fn policies(&self) -> Arc<dyn Policies> {
        self.policies.clone()
    }

    /// Serves on a thread of its own until `shutdown`, then lets requests in flight end.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn start(self, shutdown: CancellationToken) -> anyhow::Result<Serving> {
        let (ended, wait) = oneshot::channel();
        let Self { health, limits, listeners, policies, routes, runtime } = self;
        let handle = runtime.handle().context("the runtime has ended")?.clone();
        let run = move || {
            let served = runtime.block_on(async {
                serve(health, limits, listeners, policies, routes, shutdown).await;
                Ok(())
            });
            if served.is_ok() {
                // Whoever waited may have gone.
                let _ = ended.send(());
            }
        };
        limits::start_thread("listener", STACK, run)?;
        Ok(Serving { ended: wait, runtime: handle })
    }
}

async fn serve(
    health: Vec<TcpListener>,
    limits: Limits,
    listeners: Vec<TcpListener>,
    policies: Arc<dyn Policies>,
    routes: Arc<Routes>,
    shutdown: CancellationToken,
) {
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

impl Serving {
    /// The runtime of the listener's thread.
    pub fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// Waits until the listener has drained.
    ///
    /// # Errors
    ///
    /// When its thread died, which is a bug.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        (&mut self.ended).await.context("the listener's thread died: this is a bug, please report it")
    }
}
