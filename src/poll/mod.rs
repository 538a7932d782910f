//! Polls the clusters: one task per cluster, with at most one poll in flight.
//!
//! A hanging cluster delays only its own task. If a task panics, `up` is 0 and the task is restarted one interval later; the
//! counters are kept.

mod log;
mod schedule;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use self::schedule::{Next, Schedule};
use crate::{
    client::{self, Client, TransportPool},
    clock,
    lock::lock,
    model::{ClusterMetadata, ClusterName, PollFailure, PollResult, Timestamp},
    store::{Publisher, Store},
};

/// How often the file of a rejected credential is checked for changes.
const CREDENTIAL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

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

/// The effect of a configuration change, in numbers of clusters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

// === impl Poller ===

impl Poller {
    pub fn new(store: Store) -> Self {
        Self { origin: clock::now().mono, settings: BTreeMap::new(), store, tasks: BTreeMap::new() }
    }

    /// Replaces the polled clusters by `next`, whose names must be distinct.
    ///
    /// Clusters with unchanged settings are not affected. The others are polled at once; they keep the counters of the cluster
    /// of the same name, and its status if the URL is the same. Removed clusters disappear from the store.
    pub fn apply(&mut self, next: Vec<ClusterSettings>, pool: &Arc<TransportPool>) -> Changes {
        let changes = self.apply_with(next, |settings| {
            let (client, pool) = (settings.client.clone(), pool.clone());
            move || Client::new(client.clone(), pool.clone())
        });
        pool.retain(|transport| self.settings.values().any(|settings| settings.client.transport == *transport));
        changes
    }

    fn apply_with<S: StatusSource, F: Fn() -> S + Send + 'static>(
        &mut self,
        next: Vec<ClusterSettings>,
        source: impl Fn(&ClusterSettings) -> F,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut removed = std::mem::take(&mut self.settings);
        for settings in next {
            let before = removed.remove(&settings.name);
            match &before {
                None => changes.added += 1,
                Some(before) if *before == settings => {
                    changes.unchanged += 1;
                    self.settings.insert(settings.name.clone(), settings);
                    continue;
                }
                Some(_) => changes.changed += 1,
            }
            // A change of metadata alone does not restart the task.
            let polled = |settings: &ClusterSettings| (settings.interval, settings.stale_after);
            let same_task = before
                .as_ref()
                .is_some_and(|before| before.client == settings.client && polled(before) == polled(&settings));
            if !same_task {
                // A cluster is identified by its URL: with a different URL, the known status does not apply.
                let same_cluster = before.is_some_and(|before| before.client.url == settings.client.url);
                let publisher = if same_cluster { Store::successor } else { Store::publisher };
                let publisher = publisher(&self.store, settings.name.clone(), settings.stale_after);
                let schedule = Schedule::new(&settings.name, settings.interval, settings.stale_after, self.origin);
                self.start(publisher, schedule, settings.interval, source(&settings));
            }
            self.store.set_metadata(&settings.name, &settings.metadata);
            self.settings.insert(settings.name.clone(), settings);
        }
        for name in removed.keys() {
            changes.removed += 1;
            self.tasks.remove(name);
            // The task may end later than the next scrape.
            self.store.remove(name);
        }
        changes
    }

    fn start<S: StatusSource>(
        &mut self,
        publisher: Publisher,
        schedule: Schedule,
        interval: Duration,
        source: impl Fn() -> S + Send + 'static,
    ) {
        let name = publisher.name().clone();
        let task = supervise(source, publisher, schedule, interval);
        self.tasks.insert(name, AbortOnDropHandle::new(tokio::spawn(task)));
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, changed, removed, unchanged } = self;
        write!(f, "added={added} changed={changed} removed={removed} unchanged={unchanged}")
    }
}

/// Polls a cluster once. The result is in the store as long as the returned publisher exists.
pub async fn once(mut source: impl StatusSource, publisher: Publisher) -> Arc<Mutex<Publisher>> {
    let publisher = Arc::new(Mutex::new(publisher));
    let polled = publisher.clone();
    let task = tokio::spawn(async move { drop(poll(&mut source, &polled).await) });
    if AbortOnDropHandle::new(task).await.is_err() {
        record(&publisher, |publisher| publisher.record_crash(clock::now()));
    }
    publisher
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
        // Boxed, so that the task does not hold the 8 KiB of this future while it waits.
        let failure = Box::pin(poll(&mut source, &publisher)).await;
        let next = schedule.next(clock::now().mono, failure.as_ref());
        wait(&source, next).await;
    }
}

/// Polls, and logs and publishes the result. Returns the failure.
async fn poll(source: &mut impl StatusSource, publisher: &Mutex<Publisher>) -> Option<PollFailure> {
    let started = clock::now().mono;
    let result = source.poll(started).await;
    let (ended, failure) = (clock::now(), result.as_ref().err().cloned());
    let took = ended.mono - started;
    record(publisher, |publisher| {
        log::poll(publisher.name(), &result, took);
        publisher.set_api_certificate(source.certificate());
        publisher.record(ended, took, result)
    });
    failure
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

#[cfg(test)]
mod tests;
