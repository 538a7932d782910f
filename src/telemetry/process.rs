//! The standard process metrics, from `/proc/self`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use procfs::process::{LimitValue, Process as Proc};
use prometheus::{CounterVec, GaugeVec, Opts, Registry};
use rustix::time::{ClockId, clock_gettime};

use super::TelemetryError;
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
        Ok(Self { metrics, refreshed: None, started: started() })
    }

    /// Reads `/proc` unless that was done within the last second. What cannot be read is absent.
    pub fn refresh(&mut self, now: Instant) {
        if self.refreshed.is_some_and(|at| now.saturating_duration_since(at) < AT_MOST_EVERY) {
            return;
        }
        self.refreshed = Some(now);
        for (metric, value) in self.metrics.iter().zip(read(self.started)) {
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

/// The values in the order of the catalog, each read on its own: a hardened service sees a part of `/proc` only.
fn read(started: Option<f64>) -> [Option<f64>; PROCESS.len()] {
    let me = Proc::myself().ok();
    let stat = me.as_ref().and_then(|me| me.stat().ok());
    let limits = me.as_ref().and_then(|me| me.limits().ok());
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value: LimitValue| match value {
        LimitValue::Value(value) => value as f64,
        // As client_golang tells "unlimited": the largest value of the kernel's type.
        LimitValue::Unlimited => u64::MAX as f64,
    };
    [
        stat.as_ref().map(|stat| (stat.utime + stat.stime) as f64 / ticks),
        limits.as_ref().map(|limits| limit(limits.max_open_files.soft_limit)),
        me.as_ref().and_then(|me| me.fd_count().ok()).map(|count| count as f64),
        stat.as_ref().map(|stat| (stat.rss * procfs::page_size()) as f64),
        started,
        stat.as_ref().map(|stat| stat.num_threads as f64),
        stat.as_ref().map(|stat| stat.vsize as f64),
        limits.as_ref().map(|limits| limit(limits.max_address_space.soft_limit)),
    ]
}

/// The clock less the process' own age, because `/proc/stat` with the time of the boot is hidden from a service with
/// `ProcSubset=pid`.
fn started() -> Option<f64> {
    let stat = Proc::myself().ok()?.stat().ok()?;
    let boot = clock_gettime(ClockId::Boottime);
    let up = boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9;
    let age = up - stat.starttime as f64 / procfs::ticks_per_second() as f64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    // The kernel counts in hundredths; more digits would be invented.
    Some(((now - age) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_sensible_numbers() {
        let [cpu, max_fds, fds, rss, start, threads, virtual_memory, _] = read(started()).map(Option::unwrap);
        assert!(cpu >= 0.0 && (1.0..max_fds).contains(&fds) && threads >= 1.0);
        assert!(rss > 1e5 && rss < virtual_memory);
        let now = crate::clock::now().unix_seconds();
        assert!(start > now - 1e6 && start <= now + 1.0, "{start} {now}");
    }

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
