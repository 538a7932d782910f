//! The daemon: configuration -> poller -> store -> listener.

use std::{path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::serve;
use crate::{
    cli::{ClustersArgs, DEFAULT_CONFIG_FILE, DEFAULT_PORT, DaemonArgs},
    client::TransportPool,
    config::{self, Config, ConfigError, Mistakes},
    poll::Poller,
    shutdown,
    store::Store,
    telemetry,
    web::listen::ListenAddress,
};

/// Runs until a signal.
pub fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    super::start_log(args.log)?;
    let config = load(&args.clusters)?;
    super::runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        shutdown::listen(shutdown.clone())?;
        let store = Store::default();
        let bound = serve::bind(&args.web, ListenAddress::any(DEFAULT_PORT), &store)?;
        warn_of_few_descriptors(config.clusters.len() + bound.max_connections());
        let poller = start(config, store)?;
        bound.serve(shutdown).await;
        drop(poller);
        Ok(())
    })
}

fn load(args: &ClustersArgs) -> Result<Config, ConfigError> {
    let config = match args.single() {
        Some(cluster) => config::single(&cluster)?,
        None => config::load(args.config_file.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG_FILE)))?,
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(clusters = config.clusters.len(), "configuration loaded");
    Ok(config)
}

/// Starts polling every cluster, or says of all what keeps them from it.
fn start(config: Config, store: Store) -> Result<Poller, Mistakes> {
    let pool = Arc::new(TransportPool::new(config.clusters.len()));
    let (mut poller, mut mistakes) = (Poller::new(store), Mistakes::default());
    for (index, cluster) in config.clusters.into_iter().enumerate() {
        if let Err(err) = poller.add(cluster, &pool) {
            mistakes.add(format!("clusters[{index}]"), err.to_string());
        }
    }
    mistakes.or(poller)
}

/// Every cluster keeps a connection, and every scraper too.
fn warn_of_few_descriptors(connections: usize) {
    /// For sockets that listen, credential files, name resolution.
    const SPARE: usize = 64;
    let needed = connections + SPARE;
    if let Some(limit) = telemetry::max_descriptors().and_then(|limit| usize::try_from(limit).ok())
        && limit < needed
    {
        tracing::warn!(
            limit,
            needed,
            "few file descriptors: raise the limit (LimitNOFILE= in a systemd unit, ulimit -n)"
        );
    }
}
