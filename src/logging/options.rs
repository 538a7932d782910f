//! What users choose about logs.

use clap::ValueEnum;
use tracing::{Level, level_filters::LevelFilter};

/// The least severe events to log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogLevel {
    /// All events, including each poll.
    Debug,
    /// Normal events, such as status changes and reloads.
    #[default]
    Info,
    /// Unexpected events that may resolve without action.
    Warn,
    /// Events that need action.
    Error,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs, as Prometheus logs.
    #[default]
    Logfmt,
    /// One JSON object per line.
    Json,
}

// === impl LogLevel ===

impl LogLevel {
    /// The filter that passes this level and everything more severe.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::TRACE,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// The value of `level` in a line. Users know no `trace`.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}
