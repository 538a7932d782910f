//! `demo`: a simulated fleet, and the exporter on top. Nothing is written to disk, so the tokens are passed in memory.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use qumulo_simulator::{Fleet, FleetFile, SimCluster};
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

/// As often as the exporter polls at all, so that an edited fleet shows at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// Five intervals, the default of the configuration.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The exporter half of the demonstration, kept in step with the simulated fleet.
struct Watch {
    poller: Poller,
    pool: Arc<TransportPool>,
}

/// Runs until a signal.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    limits::check_descriptors()?;
    super::block_on(async {
        // First of all: a signal during the start is neither lost nor deadly.
        let signals = Signals::listen(false)?;
        super::start_log(args.log)?;
        let store = Store::default();
        let default = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT);
        let (bound, mut requests) = serve::bind(&args.web, default, &store, serve::telemetry(&args.web)?)?;
        let (mut file, spec) = super::fleet(args.fleet.as_deref())?;
        let mut fleet = Fleet::start(spec).await?;
        let mut watch = Watch { poller: Poller::new(store.clone()), pool: Arc::default() };
        watch.update(&fleet)?;
        let page = bound.page.clone();
        let web_config = bound.web_config.clone();
        let mut serving = bound.start(signals.shutdown.clone());
        tracing::info!(clusters = fleet.iter().count(), "watching simulated clusters, polling every second");
        let invite = async {
            // The last line of the start, where it is found.
            while !store.view().all_polled() {
                sleep(INTERVAL / 10).await;
            }
            tracing::info!("open {page} in a browser");
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            never = invite => match never {},
            ended = serving.end() => ended,
            result = watch.follow(file.as_mut(), &mut fleet) => result,
            () = answer(&mut requests, web_config.as_deref()) => Ok(()),
        }
    })
}

/// There is no configuration here that could be read again, but the listener's.
async fn answer(requests: &mut ReloadRequests, web_config: Option<&WebConfig>) {
    loop {
        let requests = requests.next().await;
        let fleet = "An edited fleet is followed at once.";
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

// === impl Watch ===

impl Watch {
    /// Applies edits of the fleet file. Never ends.
    async fn follow(&mut self, file: Option<&mut FleetFile>, fleet: &mut Fleet) -> anyhow::Result<()> {
        let Some(file) = file else { return std::future::pending().await };
        loop {
            file.changed(fleet).await;
            self.update(fleet)?;
        }
    }

    fn update(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        let settings: Vec<poll::ClusterSettings> = fleet.iter().map(settings).collect::<anyhow::Result<_>>()?;
        self.poller.apply(settings, &self.pool);
        Ok(())
    }
}

fn settings(cluster: &SimCluster) -> anyhow::Result<poll::ClusterSettings> {
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
