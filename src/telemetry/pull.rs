//! Metrics whose values are kept elsewhere.

use std::collections::HashMap;

use prometheus::{
    Counter, Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::opts;
use crate::metrics::catalog::{Kind, Metric};

/// Metrics without labels that are read at each scrape. A value that cannot be read is absent, not 0.
pub struct PullCollector {
    descriptions: Vec<Desc>,
    metrics: Vec<&'static Metric>,
    /// The values, in the order of `metrics`.
    read: Box<dyn Fn() -> Vec<Option<f64>> + Send + Sync>,
}

// === impl PullCollector ===

impl PullCollector {
    /// # Errors
    ///
    /// When the catalog has an error.
    pub fn new(
        metrics: Vec<&'static Metric>,
        read: impl Fn() -> Vec<Option<f64>> + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        let describe =
            |metric: &&Metric| Desc::new(metric.name.to_owned(), metric.help.to_owned(), Vec::new(), HashMap::new());
        let descriptions = metrics.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { descriptions, metrics, read: Box::new(read) })
    }
}

impl Collector for PullCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = self.metrics.iter().zip((self.read)());
        values.filter_map(|(metric, value)| families(metric, value?).ok()).flatten().collect()
    }
}

fn families(metric: &Metric, value: f64) -> prometheus::Result<Vec<MetricFamily>> {
    Ok(match metric.kind {
        Kind::Counter => {
            let counter = Counter::with_opts(opts(metric))?;
            counter.inc_by(value);
            counter.collect()
        }
        Kind::Gauge => {
            let gauge = Gauge::with_opts(opts(metric))?;
            gauge.set(value);
            gauge.collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog::PROCESS;

    #[test]
    fn what_cannot_be_read_is_absent() {
        for value in [Some(1.5), None] {
            let families = PullCollector::new(PROCESS.to_vec(), move || vec![value; PROCESS.len()]).unwrap().collect();
            let names: Vec<_> = families.iter().map(|family| family.name()).collect();
            let expect: Vec<_> = PROCESS.iter().filter(|_| value.is_some()).map(|metric| metric.name).collect();
            assert_eq!(names, expect);
        }
    }
}
