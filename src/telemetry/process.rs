//! The standard process metrics, from `/proc/self`.

use std::time::{Duration, Instant};

use procfs::process::{LimitValue, Process as Proc};
use prometheus::{Counter, Gauge, Opts, Registry};

use super::TelemetryError;
use crate::metrics::catalog::{Kind, Metric, PROCESS};

/// Reading `/proc` is half the cost of a small scrape, and nobody needs these numbers more often.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The metrics, and when they were last set.
#[derive(Debug)]
pub struct Process {
    metrics: Vec<Value>,
    refreshed: Option<Instant>,
}

#[derive(Debug)]
enum Value {
    Counter(Counter),
    Gauge(Gauge),
}

// === impl Process ===

impl Process {
    /// Registers the metrics of the catalog.
    ///
    /// # Errors
    ///
    /// When the catalog has a mistake.
    pub fn new(registry: &Registry) -> Result<Self, TelemetryError> {
        let metrics = PROCESS.iter().map(|metric| Value::new(registry, metric)).collect::<Result<_, _>>()?;
        Ok(Self { metrics, refreshed: None })
    }

    /// Reads `/proc` unless that was done within the last second. Where there is no `/proc`, nothing is set.
    pub fn refresh(&mut self, now: Instant) {
        if self.refreshed.is_some_and(|at| now.saturating_duration_since(at) < AT_MOST_EVERY) {
            return;
        }
        self.refreshed = Some(now);
        match read() {
            Ok(values) => {
                for (metric, value) in self.metrics.iter().zip(values) {
                    metric.set(value);
                }
            }
            Err(err) => tracing::debug!(%err, "cannot read /proc/self"),
        }
    }
}

impl Value {
    fn new(registry: &Registry, metric: &Metric) -> Result<Self, TelemetryError> {
        let opts = Opts::new(metric.name, metric.help);
        Ok(match metric.kind {
            Kind::Counter => {
                let counter = Counter::with_opts(opts)?;
                registry.register(Box::new(counter.clone()))?;
                Self::Counter(counter)
            }
            Kind::Gauge => {
                let gauge = Gauge::with_opts(opts)?;
                registry.register(Box::new(gauge.clone()))?;
                Self::Gauge(gauge)
            }
        })
    }

    fn set(&self, value: f64) {
        match self {
            // Whoever gathers holds the lock around this, so the zero in between is never seen.
            Self::Counter(counter) => {
                counter.reset();
                counter.inc_by(value);
            }
            Self::Gauge(gauge) => gauge.set(value),
        }
    }
}

/// The values in the order of the catalog.
fn read() -> procfs::ProcResult<[f64; PROCESS.len()]> {
    let me = Proc::myself()?;
    let (stat, limits) = (me.stat()?, me.limits()?);
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value: LimitValue| match value {
        LimitValue::Value(value) => value as f64,
        // As client_golang tells "unlimited": the largest value of the kernel's type.
        LimitValue::Unlimited => u64::MAX as f64,
    };
    Ok([
        (stat.utime + stat.stime) as f64 / ticks,
        limit(limits.max_open_files.soft_limit),
        me.fd_count()? as f64,
        (stat.rss * procfs::page_size()) as f64,
        procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        stat.num_threads as f64,
        stat.vsize as f64,
        limit(limits.max_address_space.soft_limit),
    ])
}

/// The limit of open descriptors, for saying at the start that it is too low.
pub fn max_descriptors() -> Option<u64> {
    match Proc::myself().ok()?.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_sensible_numbers() {
        let [cpu, max_fds, fds, rss, start, threads, virtual_memory, _] = read().unwrap();
        assert!(cpu >= 0.0 && (1.0..max_fds).contains(&fds) && threads >= 1.0);
        assert!(rss > 1e5 && rss < virtual_memory);
        let now = crate::clock::now().unix_seconds();
        assert!(start > now - 1e6 && start <= now + 1.0, "{start} {now}");
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
