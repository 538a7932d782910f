//! `demo`: simulated clusters, and an exporter that polls them. Nothing is written to disk; tokens are passed in memory.

use std::{convert::Infallible, future::pending, net::Ipv4Addr, sync::Arc, time::Duration};

use qumulo_simulator::{Fleet, SimCluster};
use tokio::time::sleep;

use super::serve;
use crate::{
    cli::{DEFAULT_PORT, DemoArgs},
    client::{self, Credential, Pin, ProxySettings, SecretSource, TlsSettings, TransportPool, TransportSettings},
    limits,
    model::{ClusterMetadata, ClusterName},
    poll::{self, Poller},
    reload::ReloadRequests,
    secret::Secret,
    signals::Signals,
    store::Store,
    web::listen::ListenAddress,
    web_config::WebConfig,
};

/// The shortest interval of the exporter, so that changes of the fleet file are visible at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// Five intervals, as the default of the configuration.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Runs until a signal.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    limits::check_descriptors()?;
    super::block_on(async {
        // First, so that a signal during the start is handled.
        let signals = Signals::listen(false)?;
        super::start_log(args.log)?;
        let store = Store::default();
        let default = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT);
        let (bound, mut requests) = serve::bind(&args.web, default, &store, serve::telemetry(&args.web)?)?;
        let (mut file, spec) = super::fleet(args.fleet.as_deref())?;
        let mut fleet = Fleet::start(spec).await?;
        let (mut poller, pool) = (Poller::new(store.clone()), Arc::<TransportPool>::default());
        poller.apply(settings(&fleet)?, &pool);
        let page = bound.page.clone();
        let web_config = bound.web_config.clone();
        let mut serving = bound.start(signals.shutdown.clone());
        tracing::info!(clusters = fleet.iter().count(), "watching simulated clusters, polling every second");
        let invite = async {
            // The last line of the start, so that users see it.
            while !store.view().all_polled() {
                sleep(INTERVAL / 10).await;
            }
            tracing::info!("open {page} in a browser");
            pending::<Infallible>().await
        };
        let follow = async {
            while let Some(file) = &mut file {
                file.changed(&mut fleet).await;
                poller.apply(settings(&fleet)?, &pool);
            }
            pending().await
        };
        tokio::select! {
            never = invite => match never {},
            ended = serving.end() => ended,
            result = follow => result,
            () = handle_reloads(&mut requests, web_config.as_deref()) => Ok(()),
        }
    })
}

/// Handles reload requests. Only the web configuration can be reloaded.
async fn handle_reloads(requests: &mut ReloadRequests, web_config: Option<&WebConfig>) {
    loop {
        let requests = requests.next().await;
        let fleet = "Changes of the fleet file are applied at once, without a reload.";
        let outcome = match web_config {
            None => Ok(fleet.to_owned()),
            Some(config) => match config.reload().await {
                Ok(()) => Ok(format!("{fleet}\nWeb configuration reloaded.")),
                Err(errors) => Err(format!("{fleet}\nNot reloaded, the last good web configuration stays.\n{errors}")),
            },
        };
        for request in requests {
            let _ = request.send(outcome.clone());
        }
    }
}

fn settings(fleet: &Fleet) -> anyhow::Result<Vec<poll::ClusterSettings>> {
    fleet.iter().map(cluster_settings).collect()
}

fn cluster_settings(cluster: &SimCluster) -> anyhow::Result<poll::ClusterSettings> {
    let pins = vec![cluster.fingerprint().parse::<Pin>()?];
    let tls = TlsSettings { pins, ..TlsSettings::default() };
    let timeout = INTERVAL;
    Ok(poll::ClusterSettings {
        client: client::ClientSettings {
            credential: Credential::Token(SecretSource::Fixed(Secret::new(&cluster.spec().token()))),
            kms_probe: None,
            transport: TransportSettings { connect_timeout: timeout / 2, proxy: ProxySettings::Direct, tls: Some(tls) },
            timeout,
            url: cluster.url().parse()?,
        },
        interval: INTERVAL,
        metadata: ClusterMetadata { url: cluster.url().into(), ..ClusterMetadata::default() },
        name: ClusterName::new(cluster.name())?,
        stale_after: STALE_AFTER,
    })
}
