//! Logs: one line per event on stderr, as logfmt or JSON.
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

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    time::SystemTime,
};

use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::layer::SubscriberExt;

use crate::logging::{
    layer::{LogLayer, Sink},
    options::{LogFormat, LogLevel},
};

/// Sends the events of the whole process to stderr.
///
/// # Errors
///
/// When a subscriber was installed before; that one stays.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), SetGlobalDefaultError> {
    let layer = LogLayer::new(level, format, Stderr, SystemTime::now);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
}

/// The standard error stream.
struct Stderr;

impl Sink for Stderr {
    fn write(&self, line: &str) {
        // One call, so that lines of several threads do not mix. With nowhere left to report to, a failure is ignored;
        // `eprint!` would panic.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}
