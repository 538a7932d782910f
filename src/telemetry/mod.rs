//! The exporter about itself: build, configuration, requests, process.
//!
//! These are few and live long, so the `prometheus` crate's registry keeps them. Names and help come from
//! [`crate::metrics::catalog`].

mod process;

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use prometheus::{Encoder, Gauge, IntCounterVec, Opts, Registry, TextEncoder};

use self::process::Process;
pub use self::process::max_descriptors;
use crate::{
    metrics::catalog::{self, Metric},
    model::Moment,
};

/// The exporter's own metrics.
#[derive(Debug)]
pub struct Telemetry {
    config_successful: Gauge,
    config_time: Gauge,
    /// The metrics that `--web.disable-exporter-metrics` leaves out.
    optional: Option<Optional>,
    registry: Registry,
}

#[derive(Debug)]
struct Optional {
    /// Also the lock that makes a refresh and the gathering after it one step.
    process: Mutex<Process>,
    requests: IntCounterVec,
}

/// Metrics that cannot be registered: a mistake in the catalog, which every start shows.
#[derive(Debug, thiserror::Error)]
#[error("cannot register the exporter's own metrics: {0}")]
pub struct TelemetryError(#[from] prometheus::Error);

// === impl Telemetry ===

impl Telemetry {
    /// Registers everything. `loaded` is when the configuration was loaded; `full` is false where only what concerns
    /// the clusters and the configuration is wanted.
    ///
    /// # Errors
    ///
    /// When the catalog has a mistake.
    pub fn new(loaded: &Moment, full: bool) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let build = build_info()?;
        registry.register(Box::new(build))?;
        let config_successful = gauge(&registry, &catalog::CONFIG_RELOAD_SUCCESSFUL)?;
        let config_time = gauge(&registry, &catalog::CONFIG_RELOAD_TIME)?;
        config_successful.set(1.0);
        config_time.set(loaded.unix_seconds());
        let optional = full.then(|| Optional::new(&registry)).transpose()?;
        Ok(Self { config_successful, config_time, optional, registry })
    }

    /// Counts an answered request. `handler` is one of the known paths or `other`.
    pub fn count_request(&self, handler: &str, code: u16) {
        if let Some(optional) = &self.optional {
            optional.requests.with_label_values(&[handler, &code.to_string()]).inc();
        }
    }

    /// Notes an attempt to load the configuration.
    pub fn config_loaded(&self, at: &Moment, successful: bool) {
        self.config_successful.set(f64::from(u8::from(successful)));
        if successful {
            self.config_time.set(at.unix_seconds());
        }
    }

    /// Appends the exporter's own metrics in the text format. `/proc` is read once a second at most.
    pub fn render(&self, now: Instant, text: &mut Vec<u8>) {
        let process = self.optional.as_ref().map(|optional| {
            // A panic inside leaves old numbers behind, which the next refresh replaces.
            let mut process = optional.process.lock().unwrap_or_else(PoisonError::into_inner);
            process.refresh(now);
            process
        });
        // The encoder fails on families without samples, which `gather` leaves out, and on writing, which a Vec does
        // not.
        if let Err(err) = TextEncoder::new().encode(&self.registry.gather(), text) {
            tracing::error!(%err, "cannot encode the exporter's own metrics");
        }
        drop(process);
    }
}

impl Optional {
    fn new(registry: &Registry) -> Result<Self, TelemetryError> {
        let requests = IntCounterVec::new(opts(&catalog::HTTP_REQUESTS), catalog::HTTP_REQUESTS.labels)?;
        registry.register(Box::new(requests.clone()))?;
        requests.with_label_values(&["/metrics", "200"]);
        Ok(Self { process: Mutex::new(Process::new(registry)?), requests })
    }
}

/// A gauge that is 1 for ever.
fn build_info() -> Result<prometheus::GaugeVec, TelemetryError> {
    let build = prometheus::GaugeVec::new(opts(&catalog::BUILD_INFO), catalog::BUILD_INFO.labels)?;
    let (revision, rustc) = (env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"), env!("QUMULO_ENCRYPTION_EXPORTER_RUSTC"));
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision, rustc]).set(1.0);
    Ok(build)
}

fn gauge(registry: &Registry, metric: &Metric) -> Result<Gauge, TelemetryError> {
    let gauge = Gauge::with_opts(opts(metric))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, metrics::catalog::Kind};

    fn render(telemetry: &Telemetry) -> String {
        let mut text = Vec::new();
        telemetry.render(clock::now().mono, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_metric_of_the_catalog_is_served_with_its_type() {
        let telemetry = Telemetry::new(&clock::now(), true).unwrap();
        let text = render(&telemetry);
        for metric in catalog::OWN.into_iter().chain(&catalog::PROCESS) {
            let head =
                format!("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.kind.as_str());
            assert!(text.contains(&head), "{head} is not in {text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(families, catalog::OWN.len() + catalog::PROCESS.len());
        assert_eq!(catalog::HTTP_REQUESTS.kind, Kind::Counter);
    }

    #[test]
    fn exporter_metrics_can_be_left_out() {
        let telemetry = Telemetry::new(&clock::now(), false).unwrap();
        telemetry.count_request("/metrics", 200);
        let text = render(&telemetry);
        assert!(!text.contains("process_") && !text.contains("http_requests"), "{text}");
        assert!(text.contains("build_info") && text.contains("config_last_reload_successful"), "{text}");
    }

    #[test]
    fn requests_and_reloads_are_told() {
        let telemetry = Telemetry::new(&clock::now(), true).unwrap();
        telemetry.count_request("/metrics", 200);
        telemetry.count_request("other", 404);
        telemetry.config_loaded(&clock::now(), false);
        let text = render(&telemetry);
        for line in [
            "qumulo_encryption_exporter_http_requests_total{code=\"200\",handler=\"/metrics\"} 1\n",
            "qumulo_encryption_exporter_http_requests_total{code=\"404\",handler=\"other\"} 1\n",
            "qumulo_encryption_exporter_config_last_reload_successful 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
