//! The latest snapshot of every cluster: one writer each, and readers get one view of all at one instant.
//!
//! The freshness rule lives here. [`Snapshot::fresh`] is the only way to read a status, so nothing that is older than
//! `stale_after` can be served, whoever asks.

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

/// All clusters. Cheap to clone: clones share the clusters.
#[derive(Clone, Debug, Default)]
pub struct Store {
    clusters: Arc<Mutex<Clusters>>,
}

/// Each cluster's publisher has a number, so that one which is dropped late does not remove its successor.
#[derive(Debug, Default)]
struct Clusters {
    by_name: BTreeMap<ClusterName, (u64, Arc<Snapshot>)>,
    next: u64,
}

/// The right to publish one cluster's snapshots. Dropping it removes the cluster.
#[derive(Debug)]
pub struct Publisher {
    id: u64,
    snapshot: Arc<Snapshot>,
    store: Store,
}

/// All clusters at one instant, by name.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Sorted by name.
    pub clusters: Vec<Arc<Snapshot>>,
}

/// What is known of one cluster.
#[derive(Clone, Debug)]
pub struct Snapshot {
    metadata: ClusterMetadata,
    certificate: Option<Timestamp>,
    history: History,
    last_good: Option<(ClockTime, PollResult)>,
    last_poll: Option<LastPoll>,
    name: ClusterName,
    stale_after: Duration,
    counters: Counters,
}

/// A poll that has ended.
#[derive(Clone, Debug)]
pub struct LastPoll {
    /// When it ended.
    pub at: ClockTime,
    /// How long it took.
    pub duration: Duration,
    /// Why it gave no status.
    pub failure: Option<Failure>,
}

/// Why there is no status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The task that polls ended by a bug in this program; it is started again.
    Crash,
    /// The poll failed.
    Poll(PollFailure),
}

/// Counted since the cluster was added; never set back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    failures: [u64; FailureReason::ALL.len()],
    /// Polls that ended.
    pub polls: u64,
    /// How often the status was another one than the time before.
    pub status_changes: u64,
    unreadable: [u64; DateField::ALL.len()],
}

// === impl Store ===

impl Store {
    /// Adds a cluster, or takes the place of one with that name. Its counters go on, for counters must not fall; its
    /// status is forgotten, for it may be another cluster now.
    pub fn publisher(&self, name: ClusterName, stale_after: Duration) -> Publisher {
        self.register(name, stale_after, |before| Snapshot {
            certificate: None,
            history: History::default(),
            last_good: None,
            last_poll: None,
            ..before.clone()
        })
    }

    /// Takes the place of the publisher with that name for the same cluster: everything known of it stays.
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

    /// Notes what the operator says about a cluster.
    pub fn describe(&self, name: &ClusterName, metadata: &ClusterMetadata) {
        if let Some((_, snapshot)) = lock(&self.clusters).by_name.get_mut(name) {
            *snapshot = Arc::new(Snapshot { metadata: metadata.clone(), ..(**snapshot).clone() });
        }
    }

    /// Removes a cluster now, while its publisher may still be about to be dropped.
    pub fn remove(&self, name: &ClusterName) {
        lock(&self.clusters).by_name.remove(name);
    }

    /// All clusters at this instant.
    pub fn view(&self) -> View {
        View { clusters: lock(&self.clusters).by_name.values().map(|(_, snapshot)| snapshot.clone()).collect() }
    }
}

// === impl Publisher ===

impl Publisher {
    /// The cluster's name.
    pub fn name(&self) -> &ClusterName {
        &self.snapshot.name
    }

    /// Publishes what a poll brought and tells what that changed. `at` is when it ended.
    pub fn record(
        &mut self,
        at: ClockTime,
        duration: Duration,
        result: Result<PollResult, PollFailure>,
    ) -> Vec<Change> {
        let mut after = (*self.snapshot).clone();
        after.counters.count(&result, after.last_good.as_ref().map(|(_, reading)| &reading.status));
        let failure = match result {
            Ok(reading) => {
                after.history = after.history.after(at, &reading);
                after.last_good = Some((at, reading));
                None
            }
            Err(failure) => Some(Failure::Poll(failure)),
        };
        after.last_poll = Some(LastPoll { at, duration, failure });
        self.publish(after)
    }

    /// Notes when the certificate expires that the cluster showed last, for what is published next. `None` says nothing.
    pub fn saw_certificate(&mut self, expires: Option<Timestamp>) {
        if expires.is_some() && expires != self.snapshot.certificate {
            self.snapshot = Arc::new(Snapshot { certificate: expires, ..(*self.snapshot).clone() });
        }
    }

    /// Publishes that the task which polls has died. It is no poll, so no poll is counted.
    pub fn record_crash(&mut self, at: ClockTime) -> Vec<Change> {
        let mut after = (*self.snapshot).clone();
        after.last_poll = Some(LastPoll { at, duration: Duration::ZERO, failure: Some(Failure::Crash) });
        self.publish(after)
    }

    fn publish(&mut self, mut after: Snapshot) -> Vec<Change> {
        let mut clusters = lock(&self.store.clusters);
        let current = clusters.by_name.get_mut(&after.name).filter(|(id, _)| *id == self.id);
        if let Some((_, snapshot)) = &current {
            // Described by another hand meanwhile.
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
    /// Whether every cluster was polled at least once.
    pub fn all_polled(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.last_poll().is_some())
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The cluster's name.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    fn new(name: ClusterName, stale_after: Duration) -> Self {
        let (metadata, history, counters) = (ClusterMetadata::default(), History::default(), Counters::default());
        Self { metadata, certificate: None, history, last_good: None, last_poll: None, name, stale_after, counters }
    }

    /// When the certificate of its REST API expires that was shown last, however long ago.
    pub fn certificate(&self) -> Option<Timestamp> {
        self.certificate
    }

    /// What the operator says about it.
    pub fn metadata(&self) -> &ClusterMetadata {
        &self.metadata
    }

    /// What one answer alone does not tell.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last good status, however old, and when it was: for people, who are told its age. Never a metric.
    pub fn last_known(&self) -> Option<&(ClockTime, PollResult)> {
        self.last_good.as_ref()
    }

    /// By how many seconds the cluster's clock was ahead at the last good status.
    pub fn clock_skew(&self) -> Option<f64> {
        let (at, reading) = self.last_good.as_ref()?;
        Some(reading.clock?.skew(at))
    }

    /// How long after the last success a status may still be served.
    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// The last good status, while it is younger than `stale_after`. There is no other way to it for metrics.
    pub fn fresh(&self, now: &ClockTime) -> Option<&PollResult> {
        let (at, reading) = self.last_good.as_ref()?;
        (at.age(now) < self.stale_after).then_some(reading)
    }

    /// Whether the last poll gave a status that is still fresh. `None` until the first poll has ended.
    pub fn up(&self, now: &ClockTime) -> Option<bool> {
        let last = self.last_poll.as_ref()?;
        Some(last.failure.is_none() && self.fresh(now).is_some())
    }

    /// The last poll that ended.
    pub fn last_poll(&self) -> Option<&LastPoll> {
        self.last_poll.as_ref()
    }

    /// When a poll last gave a status.
    pub fn last_success(&self) -> Option<&ClockTime> {
        self.last_good.as_ref().map(|(at, _)| at)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

// === impl LastPoll ===

impl LastPoll {
    /// The class of the failure; `None` for a success and for a crash, which is no class of the contract.
    pub fn reason(&self) -> Option<FailureReason> {
        match &self.failure {
            Some(Failure::Poll(failure)) => Some(failure.reason),
            Some(Failure::Crash) | None => None,
        }
    }
}

// === impl Counters ===

impl Counters {
    /// Polls that failed for `reason`.
    pub fn failures(&self, reason: FailureReason) -> u64 {
        count_of(&FailureReason::ALL, &self.failures, reason)
    }

    /// Answers in which `field` could not be read.
    pub fn unreadable(&self, field: DateField) -> u64 {
        count_of(&DateField::ALL, &self.unreadable, field)
    }

    /// `before` is the status of the last success, however long ago: changes are compared across outages.
    fn count(&mut self, result: &Result<PollResult, PollFailure>, before: Option<&Status>) {
        self.polls += 1;
        match result {
            Ok(reading) => {
                self.status_changes += u64::from(before.is_some_and(|before| *before != reading.status));
                for (field, tally) in DateField::ALL.iter().zip(&mut self.unreadable) {
                    *tally += u64::from(matches!(reading.dates.get(*field), Date::Unreadable(_)));
                }
            }
            Err(failure) => {
                for (reason, tally) in FailureReason::ALL.iter().zip(&mut self.failures) {
                    *tally += u64::from(*reason == failure.reason);
                }
            }
        }
    }
}

fn count_of<T: PartialEq>(of: &[T], counters: &[u64], one: T) -> u64 {
    of.iter().zip(counters).filter(|(each, _)| **each == one).map(|(_, tally)| tally).sum()
}

#[cfg(test)]
mod tests;
