//! What a user can choose about logs.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use thiserror::Error;
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

/// Not one of the names; the message lists them.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("unknown {what} {given:?}, use one of {names}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    names: &'static str,
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

impl FromStr for LogLevel {
    type Err = UnknownName;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownName { what: "log level", given: given.into(), names: "debug, info, warn, error" };
        let found = Self::value_variants().iter().find(|level| level.as_str() == given);
        found.copied().ok_or_else(unknown)
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

impl FromStr for LogFormat {
    type Err = UnknownName;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownName { what: "log format", given: given.into(), names: "logfmt, json" };
        let found = Self::value_variants().iter().find(|format| format.as_str() == given);
        found.copied().ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use super::*;

    #[track_caller]
    fn check<T>(names: &[&str])
    where
        T: ValueEnum + Debug + Display + FromStr<Err = UnknownName> + PartialEq,
    {
        let variants = T::value_variants();
        assert_eq!(variants.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
        for variant in variants {
            let name = variant.to_string();
            assert_eq!(variant.to_possible_value().unwrap().get_name(), name, "clap says the same");
            assert_eq!(name.parse::<T>().unwrap(), *variant);
        }
        let error = "verbose".parse::<T>().unwrap_err().to_string();
        assert!(error.ends_with(&format!("\"verbose\", use one of {}", names.join(", "))), "{error}");
    }

    #[test]
    fn names_agree() {
        check::<LogLevel>(&["debug", "info", "warn", "error"]);
        check::<LogFormat>(&["logfmt", "json"]);
    }
}
