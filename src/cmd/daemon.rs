//! The daemon: configuration -> poller -> store -> listener.

use super::{
    reloader::{Loader, Reloader},
    serve,
};
use crate::{
    cli::{DEFAULT_PORT, DaemonArgs},
    limits, service,
    signals::Signals,
    store::Store,
    web::listen::ListenAddress,
};

/// Runs until a signal.
pub fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    limits::check_descriptors()?;
    super::block_on(async {
        // First, so that a signal during the start neither is lost nor kills the process.
        let signals = Signals::listen(true)?;
        super::start_log(args.log)?;
        let (store, telemetry) = (Store::default(), serve::telemetry(&args.web)?);
        let loader = Loader::new(&args.clusters);
        let (mut reloader, loaded) = Reloader::start(loader, store.clone(), telemetry.clone()).await?;
        tracing::info!(clusters = loaded.added, "configuration loaded");
        let (bound, requests) = serve::bind(&args.web, ListenAddress::any(DEFAULT_PORT), &store, telemetry)?;
        serve::warn_of_few_descriptors(store.view().clusters.len());
        reloader.set_web_config(bound.web_config.clone());
        let mut serving = bound.start(signals.shutdown.clone());
        service::notify_ready();
        tokio::select! {
            biased;
            () = signals.shutdown.cancelled() => {}
            ended = serving.end() => return ended,
            never = reloader.follow(requests, &signals.reload, args.reload.interval()) => match never {},
            never = service::keep_alive() => match never {},
        }
        service::notify_stopping();
        serving.end().await
    })
}
