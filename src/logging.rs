//! Logs: one line per event on standard error, as logfmt or JSON ([`mod@format`]), written by a thread of its own ([`writer`]).
//!
//! Keys are `time`, `level` and `msg`, then the event's own fields in their order (`cluster`, `err`, …). A value from
//! outside cannot end a line, fake a field or reach the terminal as a control sequence.
//!
//! Events of other crates are logged from `warn` on, whatever the level: the debug lines of HTTP and TLS libraries can
//! contain credentials. Spans are not used.

pub mod format;
pub mod options;
pub mod writer;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::{
    limits::SpawnError,
    logging::{
        format::{Clock, LineFormat},
        options::{LogFormat, LogLevel},
    },
};

/// Targets of our own events: the modules of this crate and of the simulator. With `::`, because targets are compared as prefixes.
const OWN_TARGETS: [&str; 2] = [concat!(env!("CARGO_CRATE_NAME"), "::"), "qumulo_simulator::"];

/// Sends the events of the whole process to standard error. A subscriber that was installed before stays.
///
/// # Errors
///
/// When the system refuses a thread.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), SpawnError> {
    let writer = writer::start()?;
    let subscriber = subscriber(level, format, SystemTime::now, move || writer.clone());
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Writes our own events from `level` on, and those of other crates from `warn` on at most.
pub fn subscriber<W>(level: LogLevel, format: LogFormat, clock: Clock, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let own = level.filter();
    let targets = Targets::new().with_targets(OWN_TARGETS.map(|target| (target, own)));
    let layer = fmt::layer().event_format(LineFormat { clock, format }).with_writer(writer);
    tracing_subscriber::registry().with(targets.with_default(own.min(LevelFilter::WARN))).with(layer)
}
