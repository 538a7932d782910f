//! The subscriber's layer: which events, and where their lines go.

use std::time::SystemTime;

use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, Layer};

use crate::logging::{
    line,
    options::{LogFormat, LogLevel},
};

/// The target of our own events begins with the name of one of our crates.
const OWN_CRATES: [&str; 2] = [env!("CARGO_CRATE_NAME"), "qumulo_simulator"];

/// What tells the time; an argument, so that tests can stop it.
pub type Clock = fn() -> SystemTime;

/// Where lines go.
pub trait LineSink: Send + Sync + 'static {
    /// Takes one whole line, newline included. Failing is its own affair: whoever logs cannot do anything about it.
    fn write(&self, line: String);
}

/// Writes each event that is shown as one line.
#[derive(Debug)]
pub struct LogLayer<W> {
    level: LogLevel,
    format: LogFormat,
    sink: W,
    clock: Clock,
}

// === impl LogLayer ===

impl<W: LineSink> LogLayer<W> {
    /// Shows our own events from `level` on; those of other crates from `warn` on at the most.
    pub fn new(level: LogLevel, format: LogFormat, sink: W, clock: Clock) -> Self {
        Self { level, format, sink, clock }
    }

    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let filter = self.level.filter();
        let filter = if is_own(metadata.target()) { filter } else { filter.min(LevelFilter::WARN) };
        metadata.is_event() && *metadata.level() <= filter
    }
}

impl<W: LineSink, S: Subscriber> Layer<S> for LogLayer<W> {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // One write for the whole line, so that lines of several threads do not mix.
        self.sink.write(line::render(event, self.format, (self.clock)()));
    }
}

/// A crate of ours or a module of it, and not one whose name begins alike.
fn is_own(target: &str) -> bool {
    OWN_CRATES.contains(&target.split("::").next().unwrap_or_default())
}
