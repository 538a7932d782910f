//! The daemon: configuration -> poller -> store -> listener.

use tokio_util::sync::CancellationToken;

use super::{
    reload::{Reloader, Source},
    serve,
};
use crate::{
    cli::{DEFAULT_PORT, DaemonArgs},
    service::Service,
    shutdown,
    store::Store,
    telemetry,
    web::listen::ListenAddress,
};

/// Runs until a signal.
pub fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    super::start_log(args.log)?;
    super::runtime()?.block_on(async {
        let (shutdown, service) = (CancellationToken::new(), Service::default());
        shutdown::listen(shutdown.clone())?;
        let (store, telemetry) = (Store::default(), serve::telemetry(&args.web)?);
        let mut reloader = Reloader::new(Source::new(&args.clusters), store.clone(), telemetry.clone());
        // Nothing is asked before the first await below: a taken port is said before a cluster is troubled.
        let loaded = reloader.load().map_err(anyhow::Error::msg)?;
        tracing::info!("configuration loaded; {loaded}");
        let (bound, wishes) = serve::bind(&args.web, ListenAddress::any(DEFAULT_PORT), &store, telemetry)?;
        warn_of_few_descriptors(store.view().clusters.len() + bound.max_connections());
        service.ready();
        tokio::select! {
            () = bound.serve(shutdown.clone()) => Ok(()),
            failed = reloader.follow(wishes, args.reload.interval(), &service) => match failed? {},
            never = service.keep_alive() => match never {},
            never = service.tell_the_end(shutdown) => match never {},
        }
    })
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
