//! The latest snapshot of every cluster. Each cluster has one writer; readers get a consistent view of all clusters.
//!
//! The freshness rule is implemented here: metrics read a status only through [`Snapshot::fresh`], which returns nothing
//! older than `stale_after`.

mod changes;
mod history;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

pub use self::{changes::Change, history::History};
use crate::{
    lock::lock,
    model::{
        ClockTime, ClusterMetadata, ClusterName, Date, DateField, FailureReason, PollFailure, PollResult, Status,
        Timestamp,
    },
};

/// Cheap to clone; clones share the data.
#[derive(Clone, Debug, Default)]
pub struct Store {
    clusters: Arc<Mutex<Clusters>>,
}

/// Every publisher has an id, so that dropping an old one does not remove its successor's cluster.
#[derive(Debug, Default)]
struct Clusters {
    by_name: BTreeMap<ClusterName, (u64, Arc<Snapshot>)>,
    next: u64,
}

/// Write access to one cluster. Dropping it removes the cluster from the store.
#[derive(Debug)]
pub struct Publisher {
    id: u64,
    snapshot: Arc<Snapshot>,
    store: Store,
}

/// All clusters at one instant.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Sorted by name.
    pub clusters: Vec<Arc<Snapshot>>,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    metadata: ClusterMetadata,
    api_certificate: Option<Timestamp>,
    history: History,
    last_good: Option<(ClockTime, PollResult)>,
    last_poll: Option<LastPoll>,
    /// How long a status is fresh at least, whatever `stale_after` is.
    min_fresh: Duration,
    name: ClusterName,
    stale_after: Duration,
    counters: Counters,
}

#[derive(Clone, Debug)]
pub struct LastPoll {
    /// End of the poll.
    pub at: ClockTime,
    pub duration: Duration,
    /// `None` if the poll succeeded.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The polling task panicked. It is restarted.
    Crash,
    Poll(PollFailure),
}

/// Counts since the cluster was added. They never decrease.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    failures: [u64; FailureReason::ALL.len()],
    pub polls: u64,
    pub status_changes: u64,
    unreadable: [u64; DateField::ALL.len()],
}

// === impl Store ===

impl Store {
    /// Adds a cluster, or replaces the publisher of that name. The counters continue, because counters must not decrease.
    /// The status is discarded, because the name may now refer to a different cluster.
    pub fn publisher(&self, name: ClusterName, stale_after: Duration) -> Publisher {
        self.register(name, stale_after, |before| Snapshot {
            api_certificate: None,
            history: History::default(),
            last_good: None,
            last_poll: None,
            ..before.clone()
        })
    }

    /// Replaces the publisher of the same cluster. Status, history and counters are kept.
    pub fn successor(&self, name: ClusterName, stale_after: Duration) -> Publisher {
        self.register(name, stale_after, Snapshot::clone)
    }

    fn register(
        &self,
        name: ClusterName,
        stale_after: Duration,
        keep: impl FnOnce(&Snapshot) -> Snapshot,
    ) -> Publisher {
        let mut clusters = lock(&self.clusters);
        let snapshot = match clusters.by_name.get(&name) {
            Some((_, before)) => Snapshot { stale_after, ..keep(before) },
            None => Snapshot::new(name.clone(), stale_after),
        };
        let snapshot = Arc::new(snapshot);
        clusters.next += 1;
        let id = clusters.next;
        clusters.by_name.insert(name, (id, snapshot.clone()));
        drop(clusters);
        Publisher { id, snapshot, store: self.clone() }
    }

    pub fn set_metadata(&self, name: &ClusterName, metadata: &ClusterMetadata) {
        if let Some((_, snapshot)) = lock(&self.clusters).by_name.get_mut(name) {
            *snapshot = Arc::new(Snapshot { metadata: metadata.clone(), ..(**snapshot).clone() });
        }
    }

    /// Removes a cluster immediately, even if its publisher has not been dropped yet.
    pub fn remove(&self, name: &ClusterName) {
        lock(&self.clusters).by_name.remove(name);
    }

    pub fn view(&self) -> View {
        View { clusters: lock(&self.clusters).by_name.values().map(|(_, snapshot)| snapshot.clone()).collect() }
    }
}

// === impl Publisher ===

impl Publisher {
    pub fn name(&self) -> &ClusterName {
        &self.snapshot.name
    }

    /// Keeps a status fresh for this time at least, from the next published snapshot on.
    pub fn set_min_fresh(&mut self, time: Duration) {
        self.snapshot = Arc::new(Snapshot { min_fresh: time, ..(*self.snapshot).clone() });
    }

    /// Publishes the result of a poll that ended at `at`, and returns the differences from the previous snapshot.
    pub fn record(
        &mut self,
        at: ClockTime,
        duration: Duration,
        result: Result<PollResult, PollFailure>,
    ) -> Vec<Change> {
        let mut after = (*self.snapshot).clone();
        after.counters.count(&result, after.last_good.as_ref().map(|(_, result)| &result.status));
        let failure = match result {
            Ok(result) => {
                after.history = after.history.after(at, &result);
                after.last_good = Some((at, result));
                None
            }
            Err(failure) => Some(Failure::Poll(failure)),
        };
        after.last_poll = Some(LastPoll { at, duration, failure });
        self.publish(after)
    }

    /// Sets `notAfter` of the REST API certificate for the next published snapshot. `None` keeps the previous value.
    pub fn set_api_certificate(&mut self, expires: Option<Timestamp>) {
        if expires.is_some() && expires != self.snapshot.api_certificate {
            self.snapshot = Arc::new(Snapshot { api_certificate: expires, ..(*self.snapshot).clone() });
        }
    }

    /// Publishes that the polling task panicked. This does not count as a poll.
    pub fn record_crash(&mut self, at: ClockTime) -> Vec<Change> {
        let mut after = (*self.snapshot).clone();
        after.last_poll = Some(LastPoll { at, duration: Duration::ZERO, failure: Some(Failure::Crash) });
        self.publish(after)
    }

    fn publish(&mut self, mut after: Snapshot) -> Vec<Change> {
        let mut clusters = lock(&self.store.clusters);
        let current = clusters.by_name.get_mut(&after.name).filter(|(id, _)| *id == self.id);
        if let Some((_, snapshot)) = &current {
            // `Store::set_metadata` may have changed it.
            after.metadata = snapshot.metadata.clone();
        }
        let after = Arc::new(after);
        let before = std::mem::replace(&mut self.snapshot, after.clone());
        if let Some((_, snapshot)) = current {
            *snapshot = after.clone();
        }
        changes::between(&before, &after)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut clusters = lock(&self.store.clusters);
        if clusters.by_name.get(&self.snapshot.name).is_some_and(|(id, _)| *id == self.id) {
            clusters.by_name.remove(&self.snapshot.name);
        }
    }
}

// === impl View ===

impl View {
    /// Whether every cluster has been polled at least once.
    pub fn all_polled(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.last_poll().is_some())
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    fn new(name: ClusterName, stale_after: Duration) -> Self {
        Self {
            metadata: ClusterMetadata::default(),
            api_certificate: None,
            history: History::default(),
            last_good: None,
            last_poll: None,
            min_fresh: Duration::ZERO,
            name,
            stale_after,
            counters: Counters::default(),
        }
    }

    /// `notAfter` of the certificate that the REST API last presented, regardless of age.
    pub fn api_certificate(&self) -> Option<Timestamp> {
        self.api_certificate
    }

    pub fn metadata(&self) -> &ClusterMetadata {
        &self.metadata
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last success and its time, regardless of age. Only for output that shows the age, never for metrics.
    pub fn last_known(&self) -> Option<&(ClockTime, PollResult)> {
        self.last_good.as_ref()
    }

    /// Cluster time minus exporter time at the last success, in seconds.
    pub fn clock_skew(&self) -> Option<f64> {
        let (at, result) = self.last_good.as_ref()?;
        Some(result.clock?.skew(at))
    }

    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// The last success, if it is younger than `stale_after` or `min_fresh`. The only access to a status for metrics.
    pub fn fresh(&self, now: &ClockTime) -> Option<&PollResult> {
        let (at, result) = self.last_good.as_ref()?;
        (at.age(now) < self.stale_after.max(self.min_fresh)).then_some(result)
    }

    /// Whether the last poll succeeded and its status is still fresh. `None` before the first poll has ended.
    pub fn up(&self, now: &ClockTime) -> Option<bool> {
        let last = self.last_poll.as_ref()?;
        Some(last.failure.is_none() && self.fresh(now).is_some())
    }

    pub fn last_poll(&self) -> Option<&LastPoll> {
        self.last_poll.as_ref()
    }

    pub fn last_success(&self) -> Option<&ClockTime> {
        self.last_good.as_ref().map(|(at, _)| at)
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

// === impl Failure ===

impl Failure {
    /// Cause and remedy, for users.
    pub fn message(&self) -> &str {
        match self {
            Self::Crash => "the polling task panicked and will be restarted",
            Self::Poll(failure) => &failure.message,
        }
    }
}

// === impl LastPoll ===

impl LastPoll {
    /// `None` if the poll succeeded or the task panicked; a panic has no value of the label `reason`.
    pub fn reason(&self) -> Option<FailureReason> {
        match &self.failure {
            Some(Failure::Poll(failure)) => Some(failure.reason),
            Some(Failure::Crash) | None => None,
        }
    }
}

// === impl Counters ===

impl Counters {
    pub fn failures(&self, reason: FailureReason) -> u64 {
        self.failures.get(reason as usize).copied().unwrap_or_default()
    }

    /// Number of responses in which `field` could not be read.
    pub fn unreadable(&self, field: DateField) -> u64 {
        self.unreadable.get(field as usize).copied().unwrap_or_default()
    }

    /// `before` is the status of the last success, regardless of age: changes are counted across outages.
    fn count(&mut self, result: &Result<PollResult, PollFailure>, before: Option<&Status>) {
        self.polls += 1;
        match result {
            Ok(result) => {
                self.status_changes += u64::from(before.is_some_and(|before| *before != result.status));
                for (field, count) in DateField::ALL.into_iter().zip(&mut self.unreadable) {
                    *count += u64::from(matches!(result.dates.get(field), Date::Unreadable(_)));
                }
            }
            Err(failure) => {
                if let Some(count) = self.failures.get_mut(failure.reason as usize) {
                    *count += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
