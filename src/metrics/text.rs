//! Prometheus' text format 0.0.4.

use std::fmt::Write;

use super::{catalog::Metric, domain::SampleSink};
use crate::model::Labels;

/// Writes `HELP` and `TYPE` before the first sample of a family.
#[derive(Default)]
pub struct Text {
    buffer: String,
    family: Option<&'static str>,
}

// === impl Text ===

impl Text {
    pub fn into_string(self) -> String {
        self.buffer
    }

    /// Writes one sample. `labels` are pairs of name and value.
    fn line<'l>(&mut self, metric: &'static Metric, labels: impl Iterator<Item = (&'l str, &'l str)>, value: f64) {
        if self.family != Some(metric.name) {
            self.family = Some(metric.name);
            self.head(metric);
        }
        self.buffer.push_str(metric.name);
        let mut before = '{';
        for (name, value) in labels {
            self.buffer.push(before);
            before = ',';
            self.buffer.push_str(name);
            self.buffer.push_str("=\"");
            escape(&mut self.buffer, value);
            self.buffer.push('"');
        }
        if before == ',' {
            self.buffer.push('}');
        }
        self.buffer.push(' ');
        self.value(value);
        self.buffer.push('\n');
    }

    fn head(&mut self, metric: &Metric) {
        for part in
            ["# HELP ", metric.name, " ", metric.help, "\n# TYPE ", metric.name, " ", metric.kind.as_str(), "\n"]
        {
            self.buffer.push_str(part);
        }
    }

    /// Most values are 0 or 1, which are written without formatting a float.
    fn value(&mut self, value: f64) {
        if value == 0.0 {
            self.buffer.push('0');
        } else if value == 1.0 {
            self.buffer.push('1');
        } else {
            // Writing to a String does not fail.
            let _ = write!(self.buffer, "{value}");
        }
    }
}

impl SampleSink for Text {
    fn labelled(&mut self, metric: &'static Metric, cluster: &str, labels: &[&str], own: &Labels, value: f64) {
        let values = std::iter::once(cluster).chain(labels.iter().copied());
        self.line(metric, metric.labels.iter().copied().zip(values).chain(own.iter()), value);
    }
}

/// Appends a label value with backslash, double quote and line feed escaped.
fn escape(buffer: &mut String, value: &str) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return buffer.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => buffer.push_str("\\\\"),
            '"' => buffer.push_str("\\\""),
            '\n' => buffer.push_str("\\n"),
            other => buffer.push(other),
        }
    }
}
