//! Logs: one line per event on stderr, as logfmt or JSON, written by a thread of its own ([`writer`]).
//!
//! Keys are `time`, `level` and `msg`, then the event's own fields in their order (`cluster`, `err`, …). A value from
//! outside cannot end a line, fake a field or reach the terminal as a control sequence: see [`escape`].
//!
//! Events of other crates are shown from `warn` on, whatever the level: the debug lines of HTTP and TLS libraries can
//! carry credentials. Spans are not used; a line's fields are the event's.

pub mod escape;
pub mod layer;
pub mod line;
pub mod options;
pub mod writer;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use tracing_subscriber::layer::SubscriberExt;

use crate::{
    limits::SpawnError,
    logging::{
        layer::{LineSink, LogLayer},
        options::{LogFormat, LogLevel},
    },
};

/// Sends the events of the whole process to stderr. A subscriber that was installed before stays.
///
/// # Errors
///
/// When the system refuses a thread.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), SpawnError> {
    let layer = LogLayer::new(level, format, Stderr, SystemTime::now);
    writer::start()?;
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    Ok(())
}

/// The standard error stream, by way of its own thread.
struct Stderr;

impl LineSink for Stderr {
    fn write(&self, line: String) {
        writer::push(line);
    }
}
