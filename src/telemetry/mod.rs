//! The exporter's metrics about itself: build, configuration, requests, process.
//!
//! They are few and live long, so the `prometheus` crate's registry holds them. Names and help come from
//! [`crate::metrics::catalog`].

#[cfg(target_os = "linux")]
mod process;
mod pull;

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder, core::Collector};

use self::pull::PullCollector;
use crate::{
    lock::lock,
    logging,
    metrics::catalog::{self, Metric},
    model::ClockTime,
};

#[derive(Debug)]
pub struct Telemetry {
    /// Whether the last attempt to load the configuration succeeded.
    config_loaded: AtomicBool,
    config_successful: Gauge,
    config_time: Gauge,
    config_warnings: Mutex<Vec<String>>,
    config_warnings_count: Gauge,
    /// Whether the certificate files of the clusters' connections can be used.
    files_are_good: OnceLock<Arc<AtomicBool>>,
    handshake_failures: IntCounter,
    /// Without labels; a vector, so that its one series can be absent.
    listener_certificate: GaugeVec,
    registry: Registry,
    /// `None` with `--web.disable-exporter-metrics`.
    requests: Option<IntCounterVec>,
    web_config_successful: Gauge,
}

// === impl Telemetry ===

impl Telemetry {
    /// Registers everything. `loaded` is when the configuration was loaded; without `full`, the metrics of the process and
    /// of requests are left out.
    ///
    /// # Errors
    ///
    /// When the catalog has an error, which every start shows.
    pub fn new(loaded: &ClockTime, full: bool) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = register(&registry, GaugeVec::new(opts(&catalog::BUILD_INFO), catalog::BUILD_INFO.labels))?;
        let (revision, rustc) = (env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"), env!("QUMULO_ENCRYPTION_EXPORTER_RUSTC"));
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision, rustc]).set(1.0);
        let lines_dropped =
            PullCollector::new(vec![&catalog::LOG_LINES_DROPPED], || vec![Some(logging::writer::dropped() as f64)])?;
        registry.register(Box::new(lines_dropped))?;
        let gauge = |metric| register(&registry, Gauge::with_opts(opts(metric)));
        let telemetry = Self {
            config_loaded: AtomicBool::new(true),
            config_successful: gauge(&catalog::CONFIG_RELOAD_SUCCESSFUL)?,
            config_time: gauge(&catalog::CONFIG_RELOAD_TIME)?,
            config_warnings: Mutex::default(),
            config_warnings_count: gauge(&catalog::CONFIG_WARNINGS)?,
            files_are_good: OnceLock::new(),
            handshake_failures: register(&registry, IntCounter::with_opts(opts(&catalog::TLS_HANDSHAKE_FAILURES)))?,
            listener_certificate: register(&registry, GaugeVec::new(opts(&catalog::LISTENER_CERTIFICATE_EXPIRY), &[]))?,
            requests: if full { Some(requests_and_process(&registry)?) } else { None },
            web_config_successful: gauge(&catalog::WEB_CONFIG_RELOAD_SUCCESSFUL)?,
            registry: registry.clone(),
        };
        telemetry.config_time.set(loaded.unix_seconds());
        telemetry.web_config_successful.set(1.0);
        Ok(telemetry)
    }

    pub fn count_handshake_failure(&self) {
        self.handshake_failures.inc();
    }

    /// Records that a web configuration is in use. `not_after` is that of the listener's certificate, in Unix seconds.
    pub fn web_config_loaded(&self, not_after: Option<i64>) {
        self.web_config_successful.set(1.0);
        self.listener_certificate.reset();
        if let Some(not_after) = not_after {
            // Exact for every date of a certificate.
            self.listener_certificate.with_label_values::<&str>(&[]).set(not_after as f64);
        }
    }

    /// Records that a web configuration could not be used. The last good one stays in use.
    pub fn web_config_refused(&self) {
        self.web_config_successful.set(0.0);
    }

    /// Counts a response. `handler` is one of the known paths or `other`.
    pub fn count_request(&self, handler: &str, code: u16) {
        if let Some(requests) = &self.requests {
            requests.with_label_values(&[&code.to_string(), handler]).inc();
        }
    }

    /// Records an attempt to load the configuration.
    pub fn config_loaded(&self, at: &ClockTime, successful: bool) {
        self.config_loaded.store(successful, Ordering::Relaxed);
        if successful {
            self.config_time.set(at.unix_seconds());
        }
    }

    /// Replaces the warnings about the configuration in use.
    pub fn set_config_warnings(&self, warnings: Vec<String>) {
        *lock(&self.config_warnings) = warnings;
    }

    /// The warnings about the configuration in use.
    pub fn config_warnings(&self) -> Vec<String> {
        lock(&self.config_warnings).clone()
    }

    /// While `good` is false (a cluster's renewed certificate file cannot be used), the configuration counts as one that
    /// could not be loaded.
    pub fn watch_files(&self, good: Arc<AtomicBool>) {
        // There is one poller.
        let _ = self.files_are_good.set(good);
    }

    /// Whether the configuration is in use as it is written, with all its files.
    pub fn config_is_good(&self) -> bool {
        let files = self.files_are_good.get().is_none_or(|good| good.load(Ordering::Relaxed));
        files && self.config_loaded.load(Ordering::Relaxed)
    }

    /// Appends the exporter's own metrics in the text format.
    pub fn render(&self, text: &mut String) {
        self.config_successful.set(f64::from(u8::from(self.config_is_good())));
        self.config_warnings_count.set(lock(&self.config_warnings).len() as f64);
        // The encoder fails on families without samples, which `gather` leaves out, and on writing, which a String does
        // not.
        if let Err(err) = TextEncoder::new().encode_utf8(&self.registry.gather(), text) {
            tracing::error!(%err, "cannot encode the exporter's own metrics");
        }
    }
}

/// Registers the metrics that `--web.disable-exporter-metrics` leaves out.
fn requests_and_process(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    #[cfg(target_os = "linux")]
    registry.register(Box::new(process::collector()?))?;
    let requests = IntCounterVec::new(opts(&catalog::HTTP_REQUESTS), catalog::HTTP_REQUESTS.labels);
    let requests = register(registry, requests)?;
    // Present from 0, so that increase() sees the first request.
    requests.with_label_values(&["200", "/metrics"]);
    Ok(requests)
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::clock;

    fn render(telemetry: &Telemetry) -> String {
        let mut text = String::new();
        telemetry.render(&mut text);
        text
    }

    #[test]
    fn every_metric_of_the_catalog_is_served_with_its_type() {
        let telemetry = Telemetry::new(&clock::now(), true).unwrap();
        telemetry.web_config_loaded(Some(4_102_444_800));
        let text = render(&telemetry);
        for metric in catalog::EXPORTER.iter().chain(catalog::PROCESS) {
            let head =
                format!("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.kind.as_str());
            assert!(text.contains(&head), "{head} is not in {text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(families, catalog::EXPORTER.len() + catalog::PROCESS.len());
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
    fn the_listener_certificate_shows_with_tls_only() {
        let telemetry = Telemetry::new(&clock::now(), false).unwrap();
        let shown = || render(&telemetry).contains("listener_certificate");
        assert!(!shown());
        telemetry.web_config_loaded(Some(4_102_444_800));
        assert!(render(&telemetry).contains("listener_certificate_expiry_timestamp_seconds 4102444800\n"));
        telemetry.web_config_refused();
        assert!(shown(), "the certificate before is still in use");
        assert!(render(&telemetry).contains("web_config_last_reload_successful 0\n"));
        telemetry.web_config_loaded(None);
        assert!(!shown());
        assert!(render(&telemetry).contains("web_config_last_reload_successful 1\n"));
    }

    #[test]
    fn requests_and_reloads_are_told() {
        let telemetry = Telemetry::new(&clock::now(), true).unwrap();
        let none = "qumulo_encryption_exporter_http_requests_total{code=\"200\",handler=\"/metrics\"} 0\n";
        assert!(render(&telemetry).contains(none));
        telemetry.count_request("/metrics", 200);
        telemetry.count_request("other", 404);
        telemetry.count_handshake_failure();
        let good = Arc::new(AtomicBool::new(true));
        telemetry.watch_files(good.clone());
        let successful = || {
            render(&telemetry)
                .contains("config_last_reload_successful 1\n# HELP qumulo_encryption_exporter_config_warnings")
        };
        assert!(successful());
        good.store(false, Ordering::Relaxed);
        assert!(!successful());
        good.store(true, Ordering::Relaxed);
        assert!(successful());
        telemetry.set_config_warnings(vec!["clusters.yml: has no clusters".to_owned()]);
        telemetry.config_loaded(&clock::now(), false);
        let text = render(&telemetry);
        for line in [
            "qumulo_encryption_exporter_http_requests_total{code=\"200\",handler=\"/metrics\"} 1\n",
            "qumulo_encryption_exporter_http_requests_total{code=\"404\",handler=\"other\"} 1\n",
            "qumulo_encryption_exporter_tls_handshake_failures_total 1\n",
            "qumulo_encryption_exporter_config_last_reload_successful 0\n",
            "qumulo_encryption_exporter_config_warnings 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn only_a_successful_reload_sets_its_time() {
        let at = |seconds| ClockTime { wall: DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds), ..clock::now() };
        let telemetry = Telemetry::new(&at(100), false).unwrap();
        for (seconds, successful, expect) in [(200, false, 100), (300, true, 300)] {
            telemetry.config_loaded(&at(seconds), successful);
            let line = format!("config_last_reload_success_timestamp_seconds {expect}\n");
            assert!(render(&telemetry).contains(&line), "{seconds}");
        }
    }
}
