//! Polled clusters and their metrics.

use std::{sync::Arc, time::Duration};

use qumulo_encryption_exporter::{
    client::TransportPool,
    clock, metrics,
    model::{ClockTime, ClusterMetadata, ClusterName, FailureReason},
    poll::{self, Changes, Poller},
    store::Store,
};
use qumulo_simulator::ClusterSpec;

use crate::lab::{Lab, until};

pub const INTERVAL: Duration = Duration::from_millis(50);
pub const STALE_AFTER: Duration = Duration::from_secs(300);

pub struct Fleet {
    pub labs: Vec<(&'static str, Lab)>,
    pub poller: Poller,
    pub pool: Arc<TransportPool>,
    pub settings: Vec<poll::ClusterSettings>,
    pub store: Store,
}

impl Fleet {
    pub fn new() -> Self {
        let store = Store::default();
        let (poller, pool) = (Poller::new(store.clone()), Arc::<TransportPool>::default());
        Self { labs: Vec::new(), poller, pool, settings: Vec::new(), store }
    }

    pub async fn add(&mut self, name: &'static str, change: impl FnOnce(&mut ClusterSpec)) {
        let lab = Lab::new(change).await;
        self.add_lab(name, lab);
    }

    pub fn add_lab(&mut self, name: &'static str, lab: Lab) {
        let client = lab.settings.clone();
        let cluster = ClusterName::new(name).unwrap();
        let settings = poll::ClusterSettings {
            client,
            interval: INTERVAL,
            metadata: ClusterMetadata::default(),
            name: cluster,
            stale_after: STALE_AFTER,
        };
        self.settings.push(settings);
        self.apply();
        self.labs.push((name, lab));
    }

    /// Starts to poll the clusters of `settings`.
    pub fn apply(&mut self) -> Changes {
        self.poller.apply(self.settings.clone(), &self.pool)
    }

    pub fn lab(&self, name: &str) -> &Lab {
        &self.labs.iter().find(|(each, _)| *each == name).unwrap().1
    }

    /// The value of a cluster's series at a given time, if present.
    pub fn value_at(&self, now: &ClockTime, metric: &str, name: &str, label: &str) -> Option<f64> {
        let mut text = metrics::Text::default();
        metrics::render(&self.store.view(), now, &mut text);
        let series = format!("qumulo_encryption_{metric}{{cluster=\"{name}\"{label}}} ");
        let text = text.into_string();
        text.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap())
    }

    pub fn value(&self, metric: &str, name: &str, label: &str) -> Option<f64> {
        self.value_at(&clock::now(), metric, name, label)
    }

    pub fn up(&self, name: &str) -> Option<f64> {
        self.value("up", name, "")
    }

    /// Number of failed polls of a cluster, for any reason.
    pub fn failures(&self, name: &str) -> f64 {
        let of =
            |reason: FailureReason| self.value("poll_failures_total", name, &format!(",reason=\"{}\"", reason.label()));
        FailureReason::ALL.into_iter().filter_map(of).sum()
    }

    /// Waits for `more` further polls of a cluster.
    pub async fn polls(&self, name: &str, more: f64) {
        let polls = || self.value("polls_total", name, "").unwrap();
        let before = polls();
        until(|| polls() >= before + more).await;
    }
}
