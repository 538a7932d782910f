//! The listener of daemon and demo: bind, serve, drain.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::WebArgs,
    clock,
    config::ConfigErrors,
    limits,
    reload::{self, ReloadRequests},
    routes::{Health, Routes, UrlPrefix},
    service,
    store::Store,
    telemetry::Telemetry,
    web::{
        listen::{self, ListenAddress},
        policy::{ListenerPolicy, fixed},
        server::{self, Limits},
    },
    web_config::WebConfig,
};

/// Descriptors that are neither connections nor polls: listening sockets, files, the runtime's own.
const SPARE: u64 = 64;

/// The shutdown cut connections off.
#[derive(Debug, thiserror::Error)]
#[error("{0} connections did not end in time and were cut off")]
pub struct ConnectionsAborted(usize);

pub struct ServerTask(JoinHandle<anyhow::Result<()>>);

/// Listeners that are bound but do not accept connections yet.
pub struct BoundListeners {
    health: Vec<TcpListener>,
    limits: Limits,
    listeners: Vec<TcpListener>,
    /// The URL of the status page.
    pub page: String,
    routes: Arc<Routes>,
    pub web_config: Option<Arc<WebConfig>>,
}

/// Binds the sockets. Reload requests of clients arrive only with `--web.enable-lifecycle`.
pub fn bind(
    web: &WebArgs,
    default: ListenAddress,
    store: &Store,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<(BoundListeners, ReloadRequests)> {
    let web_config = web_config(web, &telemetry)?;
    let listeners = if web.systemd_socket {
        let sockets = service::sockets()?;
        sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?
    } else if web.listen_address.is_empty() {
        listen::bind(&[default], "--web.listen-address")?
    } else {
        listen::bind(&web.listen_address, "--web.listen-address")?
    };
    let health = listen::bind(&web.health_listen_address, "--web.health-listen-address")?;
    let tls = web_config.as_ref().is_some_and(|config| config.policy().borrow().tls.is_some());
    let prefix = UrlPrefix::new(web.external_url.clone(), web.route_prefix.as_deref());
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, path = prefix.add(&web.telemetry_path), tls, "listening");
    }
    for listener in &health {
        tracing::info!(address = %listener.local_addr()?, "listening for health checks");
    }
    let page = match (&web.external_url, listeners.first()) {
        (Some(url), _) => url.to_string(),
        (None, Some(listener)) => page_url(listener.local_addr()?, tls, &prefix),
        (None, None) => String::new(),
    };
    let (trigger, requests) = reload::channel();
    let trigger = web.enable_lifecycle.then_some(trigger);
    let routes = Arc::new(Routes::new(store.clone(), telemetry, web.telemetry_path.clone(), prefix, trigger));
    let servers = if health.is_empty() { 1 } else { 2 };
    let limits =
        Limits { max_connections: max_connections(servers), max_requests: web.max_requests, ..Limits::default() };
    Ok((BoundListeners { health, limits, listeners, page, routes, web_config }, requests))
}

/// The URL of the status page, as a browser on this host can open it.
fn page_url(address: SocketAddr, tls: bool, prefix: &UrlPrefix) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("{}://{host}:{}{}", if tls { "https" } else { "http" }, address.port(), prefix.add("/"))
}

/// Half of the descriptors at most, so that the connections of clients leave enough for the polls.
fn max_connections(servers: u64) -> usize {
    let most = Limits::default().max_connections;
    let Some(limit) = limits::raise_descriptors() else { return most };
    let half = limit.saturating_sub(SPARE) / 2 / servers;
    usize::try_from(half).unwrap_or(most).clamp(8, most)
}

/// Warns if there are too few descriptors for `clusters`, each of which may have a connection.
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

pub fn telemetry(web: &WebArgs) -> anyhow::Result<Arc<Telemetry>> {
    let telemetry = Telemetry::new(&clock::now(), !web.disable_exporter_metrics);
    Ok(Arc::new(telemetry.context("cannot register the exporter's own metrics")?))
}

fn web_config(web: &WebArgs, telemetry: &Arc<Telemetry>) -> anyhow::Result<Option<Arc<WebConfig>>> {
    let Some(file) = &web.web_config_file else { return Ok(None) };
    let telemetry = telemetry.clone();
    let observer = move |outcome: Result<&ListenerPolicy, &ConfigErrors>, good: bool| {
        match outcome {
            Ok(policy) => {
                telemetry.web_config_loaded(policy.tls.as_ref().and_then(|tls| tls.not_after));
                tracing::info!(tls = policy.tls.is_some(), users = policy.users.is_some(), "web configuration loaded");
            }
            Err(refusal) => {
                super::log_errors(refusal, "cannot use the web configuration, the last good one stays");
            }
        }
        if !good {
            telemetry.web_config_refused();
        }
    };
    Ok(Some(Arc::new(WebConfig::open(file, Box::new(observer))?)))
}

impl BoundListeners {
    /// Serves until `shutdown`, then finishes the requests in flight.
    pub fn start(self, shutdown: CancellationToken) -> ServerTask {
        ServerTask(tokio::spawn(self.serve(shutdown)))
    }

    async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { health, limits, listeners, page: _, routes, web_config } = self;
        let policy = web_config.as_ref().map_or_else(|| fixed(ListenerPolicy::default()), |config| config.policy());
        if let Some(config) = web_config {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { shutdown.run_until_cancelled(config.follow_certificates()).await });
        }
        let main = server::serve(listeners, routes.clone(), policy, limits, shutdown.clone());
        let health = async {
            if !health.is_empty() {
                let open = fixed(ListenerPolicy::default());
                server::serve(health, Arc::new(Health(routes)), open, limits, shutdown).await;
            }
        };
        let (aborted, ()) = tokio::join!(main, health);
        if aborted > 0 {
            return Err(ConnectionsAborted(aborted).into());
        }
        tracing::info!("stopped");
        Ok(())
    }
}

impl ServerTask {
    /// Waits until the listener has drained.
    ///
    /// # Errors
    ///
    /// When connections had to be cut off.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        (&mut self.0).await.context("the listener died: this is a bug, please report it")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_where_a_browser_finds_it() {
        let check = |address: &str, tls: bool, prefix: Option<&str>, expect: &str| {
            assert_eq!(page_url(address.parse().unwrap(), tls, &UrlPrefix::new(None, prefix)), expect);
        };
        check("127.0.0.1:10979", false, None, "http://127.0.0.1:10979/");
        check("[::1]:1", true, None, "https://[::1]:1/");
        check("0.0.0.0:10979", false, Some("/q"), "http://localhost:10979/q/");
        check("[::]:10979", false, None, "http://localhost:10979/");
    }
}
