//! The standard process metrics, from `/proc/self`. Systems without it have none of them.

use std::time::{Duration, Instant};

use prometheus::{CounterVec, GaugeVec, Opts, Registry};

use super::{TelemetryError, proc};
use crate::metrics::catalog::{Kind, Metric, PROCESS};

/// Reading `/proc` is half the cost of a small scrape, and nobody needs these numbers more often.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The metrics, and when they were last set.
#[derive(Debug)]
pub struct Process {
    metrics: Vec<Value>,
    refreshed: Option<Instant>,
    /// When this process started, in Unix seconds: read once, so that it does not tremble.
    started: Option<f64>,
}

/// A metric without labels; a vector, so that what cannot be read is absent and not 0.
#[derive(Debug)]
enum Value {
    Counter(CounterVec),
    Gauge(GaugeVec),
}

// === impl Process ===

impl Process {
    /// Registers the metrics of the catalog.
    ///
    /// # Errors
    ///
    /// When the catalog has an error.
    pub fn new(registry: &Registry) -> Result<Self, TelemetryError> {
        let metrics = PROCESS.iter().map(|metric| Value::new(registry, metric)).collect::<Result<_, _>>()?;
        Ok(Self { metrics, refreshed: None, started: proc::started() })
    }

    /// Reads `/proc` unless that was done within the last second. What cannot be read is absent.
    pub fn refresh(&mut self, now: Instant) {
        if self.refreshed.is_some_and(|at| now.saturating_duration_since(at) < AT_MOST_EVERY) {
            return;
        }
        self.refreshed = Some(now);
        for (metric, value) in self.metrics.iter().zip(proc::read(self.started)) {
            metric.set(value);
        }
    }
}

impl Value {
    fn new(registry: &Registry, metric: &Metric) -> Result<Self, TelemetryError> {
        let opts = Opts::new(metric.name, metric.help);
        Ok(match metric.kind {
            Kind::Counter => {
                let counter = CounterVec::new(opts, &[])?;
                registry.register(Box::new(counter.clone()))?;
                Self::Counter(counter)
            }
            Kind::Gauge => {
                let gauge = GaugeVec::new(opts, &[])?;
                registry.register(Box::new(gauge.clone()))?;
                Self::Gauge(gauge)
            }
        })
    }

    fn set(&self, value: Option<f64>) {
        match (self, value) {
            (Self::Counter(counter), None) => counter.reset(),
            (Self::Gauge(gauge), None) => gauge.reset(),
            // Whoever gathers holds the lock around this, so the zero in between is never seen.
            (Self::Counter(counter), Some(value)) => {
                let counter = counter.with_label_values::<&str>(&[]);
                counter.reset();
                counter.inc_by(value);
            }
            (Self::Gauge(gauge), Some(value)) => gauge.with_label_values::<&str>(&[]).set(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_absent() {
        let registry = Registry::new();
        let process = Process::new(&registry).unwrap();
        for value in [Some(1.0), None] {
            process.metrics.iter().for_each(|metric| metric.set(value));
            let families = registry.gather();
            let samples = families.iter().flat_map(|family| family.get_metric()).count();
            assert_eq!(samples, value.map_or(0, |_| PROCESS.len()));
        }
    }

    #[test]
    fn proc_is_read_once_a_second_at_most() {
        let registry = Registry::new();
        let mut process = Process::new(&registry).unwrap();
        let now = Instant::now();
        process.refresh(now);
        process.refresh(now + AT_MOST_EVERY / 2);
        assert_eq!(process.refreshed, Some(now));
        process.refresh(now + AT_MOST_EVERY);
        assert_eq!(process.refreshed, Some(now + AT_MOST_EVERY));
    }
}
