//! What a user can choose about logs.

use std::fmt;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

/// The least severe events to be logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogLevel {
    /// Everything, each poll included.
    Debug,
    /// What an operator wants to find in retrospect.
    #[default]
    Info,
    /// The unexpected that may heal by itself.
    Warn,
    /// What somebody has to act on.
    Error,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs, as Prometheus logs.
    #[default]
    Logfmt,
    /// An object per line.
    Json,
}

// === impl LogLevel ===

impl LogLevel {
    /// The name, as in flags and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of an event; users know no `trace`.
    pub fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }

    /// The filter that lets through this level and all that is more severe.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::TRACE,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl LogFormat ===

impl LogFormat {
    /// The name, as in flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_takes_the_names_that_are_printed() {
        let names = |names: Vec<(String, String)>| names.into_iter().all(|(printed, taken)| printed == taken);
        let level = |level: &LogLevel| (level.to_string(), level.to_possible_value().unwrap().get_name().to_owned());
        let format =
            |format: &LogFormat| (format.to_string(), format.to_possible_value().unwrap().get_name().to_owned());
        assert!(names(LogLevel::value_variants().iter().map(level).collect()));
        assert!(names(LogFormat::value_variants().iter().map(format).collect()));
    }
}
