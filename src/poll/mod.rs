//! Polls the clusters: one task per cluster, with at most one poll in flight.
//!
//! A hanging cluster delays only its own task. If a task panics, `up` is 0 and the task is restarted one interval later; the
//! counters are kept.

mod config_diff;
mod log;
mod schedule;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

pub use self::config_diff::Changes;
use self::{
    config_diff::{ConfigDiff, Start},
    schedule::{Next, Schedule},
};
use crate::{
    client::{self, Client, Recorded, Recorder, TransportPool},
    clock,
    lock::lock,
    model::{ClusterMetadata, ClusterName, PollFailure, PollResult, Timestamp},
    store::{Publisher, Store},
};

/// How often the file of a rejected credential is checked for changes.
const CREDENTIAL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of recorded clusters: longer than the process lives.
const ONCE: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterSettings {
    pub client: client::ClientSettings,
    pub interval: Duration,
    pub metadata: ClusterMetadata,
    pub name: ClusterName,
    /// How long after the last success a status is still served.
    pub stale_after: Duration,
}

/// Source of a cluster's status. A trait, so that the poller can be tested without a network.
pub trait StatusSource: Send + Sync + 'static {
    fn poll(&mut self, now: Instant) -> impl Future<Output = Result<PollResult, PollFailure>> + Send;

    /// Whether the credential file changed since the last poll.
    fn credential_changed(&self) -> impl Future<Output = bool> + Send;

    /// `notAfter` of the certificate that the REST API last presented.
    fn certificate(&self) -> Option<Timestamp>;
}

/// The polling tasks of all clusters. Dropping it aborts them and removes the clusters from the store.
#[derive(Debug)]
pub struct Poller {
    origin: Instant,
    /// Set if requests and responses are recorded.
    recorders: Option<BTreeMap<ClusterName, Arc<Recorder>>>,
    settings: BTreeMap<ClusterName, ClusterSettings>,
    store: Store,
    tasks: BTreeMap<ClusterName, AbortOnDropHandle<()>>,
}

impl StatusSource for Client {
    fn poll(&mut self, now: Instant) -> impl Future<Output = Result<PollResult, PollFailure>> + Send {
        Client::poll(self, now)
    }

    fn credential_changed(&self) -> impl Future<Output = bool> + Send {
        Client::credential_changed(self)
    }

    fn certificate(&self) -> Option<Timestamp> {
        Client::certificate(self)
    }
}

// === impl Poller ===

impl Poller {
    pub fn new(store: Store) -> Self {
        let origin = clock::now().mono;
        Self { origin, recorders: None, settings: BTreeMap::new(), store, tasks: BTreeMap::new() }
    }

    /// From here on, each cluster is polled once, and what it sends and receives is noted.
    pub fn record(&mut self) {
        self.recorders = Some(BTreeMap::new());
    }

    /// What was noted, and the settings that were polled with.
    pub fn recorded(&self) -> Vec<(ClusterSettings, Recorded)> {
        let recorders = self.recorders.iter().flatten();
        let both = recorders.filter_map(|(name, noted)| Some((self.settings.get(name)?.clone(), noted.recorded())));
        both.collect()
    }

    /// Replaces the polled clusters by `next`, whose names must be distinct.
    ///
    /// Clusters with unchanged settings are not affected. The others are polled at once; they keep the counters of the cluster
    /// of the same name, and its status if the URL is the same. Removed clusters disappear from the store.
    pub fn apply(&mut self, next: Vec<ClusterSettings>, pool: &Arc<TransportPool>) -> Changes {
        if let Some(recorders) = &mut self.recorders {
            recorders.extend(next.iter().map(|settings| (settings.name.clone(), Arc::default())));
        }
        let recorders = self.recorders.clone().unwrap_or_default();
        let changes = self.apply_with(next, |settings| {
            let (client, pool) = (settings.client.clone(), pool.clone());
            let recorder = recorders.get(&settings.name).cloned();
            move || {
                let mut client = Client::new(client.clone(), pool.clone());
                if let Some(recorder) = &recorder {
                    client.record(recorder.clone());
                }
                client
            }
        });
        pool.retain(|transport| self.settings.values().any(|settings| settings.client.transport == *transport));
        changes
    }

    fn apply_with<S: StatusSource, F: Fn() -> S + Send + 'static>(
        &mut self,
        next: Vec<ClusterSettings>,
        source: impl Fn(&ClusterSettings) -> F,
    ) -> Changes {
        let ConfigDiff { changes, set_metadata, start, stop } = config_diff::diff(&self.settings, &next);
        for name in stop {
            self.tasks.remove(&name);
            // The task may end later than the next scrape.
            self.store.remove(&name);
        }
        for (settings, how) in start.iter().filter_map(|(index, how)| Some((next.get(*index)?, *how))) {
            let ClusterSettings { interval, ref name, stale_after, .. } = *settings;
            let interval = if self.recorders.is_some() { ONCE } else { interval };
            let schedule = Schedule::new(name, interval, stale_after, self.origin);
            self.start(name.clone(), schedule, interval, stale_after, how, source(settings));
        }
        for settings in set_metadata.iter().filter_map(|index| next.get(*index)) {
            self.store.set_metadata(&settings.name, &settings.metadata);
        }
        self.settings = next.into_iter().map(|settings| (settings.name.clone(), settings)).collect();
        changes
    }

    fn start<S: StatusSource>(
        &mut self,
        name: ClusterName,
        schedule: Schedule,
        interval: Duration,
        stale_after: Duration,
        how: Start,
        source: impl Fn() -> S + Send + 'static,
    ) {
        let publisher = match how {
            Start::Fresh => self.store.publisher(name.clone(), stale_after),
            Start::Continuing => self.store.successor(name.clone(), stale_after),
        };
        let task = supervise(source, publisher, schedule, interval);
        self.tasks.insert(name, AbortOnDropHandle::new(tokio::spawn(task)));
    }
}

/// Restarts the task of a cluster whenever it panics.
async fn supervise<S: StatusSource>(
    source: impl Fn() -> S + Send + 'static,
    publisher: Publisher,
    schedule: Schedule,
    interval: Duration,
) {
    let publisher = Arc::new(Mutex::new(publisher));
    loop {
        let task = tokio::spawn(run(source(), publisher.clone(), schedule.clone()));
        if AbortOnDropHandle::new(task).await.is_ok() {
            return;
        }
        record(&publisher, |publisher| publisher.record_crash(clock::now()));
        tokio::time::sleep(interval).await;
    }
}

/// Polls one cluster until the task is aborted.
async fn run<S: StatusSource>(mut source: S, publisher: Arc<Mutex<Publisher>>, mut schedule: Schedule) {
    loop {
        let started = clock::now();
        // Boxed, so that the task does not hold the 8 KiB of this future while it waits.
        let result = Box::pin(source.poll(started.mono)).await;
        let ended = clock::now();
        let next = schedule.next(ended.mono, result.as_ref().err());
        log::poll(&name(&publisher), &result, ended.mono - started.mono);
        record(&publisher, |publisher| {
            publisher.set_api_certificate(source.certificate());
            publisher.record(ended, ended.mono - started.mono, result)
        });
        wait(&source, next).await;
    }
}

async fn wait(source: &impl StatusSource, next: Next) {
    let due = sleep_until(next.at.into());
    if !next.or_new_credential {
        return due.await;
    }
    let renewed = Box::pin(async {
        loop {
            tokio::time::sleep(CREDENTIAL_CHECK_INTERVAL).await;
            if source.credential_changed().await {
                return;
            }
        }
    });
    tokio::select! {
        () = due => {}
        () = renewed => {}
    }
}

/// Publishes and logs the changes.
fn record(publisher: &Mutex<Publisher>, publish: impl FnOnce(&mut Publisher) -> Vec<crate::store::Change>) {
    let mut publisher = lock(publisher);
    let changes = publish(&mut publisher);
    for change in &changes {
        log::change(publisher.name(), change);
    }
}

fn name(publisher: &Mutex<Publisher>) -> ClusterName {
    lock(publisher).name().clone()
}

#[cfg(test)]
mod tests;
