//! The two line formats.
//!
//! Both quote with JSON's escapes, which Go and the usual logfmt parsers read alike. Beyond what JSON requires, they escape
//! everything that a terminal may obey or that hides text ([`is_hidden`]).

use std::{borrow::Cow, fmt, fmt::Write, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{
    logging::options::{LogFormat, level_name},
    model::{escape_hidden, is_hidden},
};

/// The source of `time`; an argument, so that tests can fix it.
pub type Clock = fn() -> SystemTime;

/// Formats an event as one line.
#[derive(Debug)]
pub struct LineFormat {
    pub clock: Clock,
    pub format: LogFormat,
}

/// The pairs of a line, in the order in which they are recorded.
struct Pairs {
    format: LogFormat,
    text: String,
}

// === impl LineFormat ===

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut pairs = Pairs { format: self.format, text: String::with_capacity(256) };
        pairs.push("time", &DateTime::<Utc>::from((self.clock)()).to_rfc3339_opts(SecondsFormat::Millis, true), false);
        pairs.push("level", level_name(*metadata.level()), false);
        if metadata.fields().field("message").is_none() {
            pairs.push("msg", "", false);
        }
        // The message is the first field: the macros of `tracing` put it there.
        event.record(&mut pairs);
        match self.format {
            LogFormat::Logfmt => writeln!(line, "{}", pairs.text),
            LogFormat::Json => writeln!(line, "{{{}}}", pairs.text),
        }
    }
}

// === impl Pairs ===

impl Pairs {
    /// Appends a pair. A literal is a number or a bool, which JSON has without quotes.
    fn push(&mut self, key: &str, value: &str, is_literal: bool) {
        let is_bare = is_literal || (self.format == LogFormat::Logfmt && is_bare(value));
        let value = if is_bare { Cow::Borrowed(value) } else { Cow::Owned(quoted(value)) };
        let separator = match self.format {
            _ if self.text.is_empty() => "",
            LogFormat::Logfmt => " ",
            LogFormat::Json => ",",
        };
        // Writing to a String does not fail.
        let _ = match self.format {
            LogFormat::Logfmt => write!(self.text, "{separator}{key}={value}"),
            LogFormat::Json => write!(self.text, "{separator}\"{key}\":{value}"),
        };
    }

    fn push_field(&mut self, field: &Field, value: &str, is_literal: bool) {
        match field.name() {
            "message" => self.push("msg", value, is_literal),
            // Readers disagree about an object that has a key twice.
            taken @ ("time" | "level" | "msg") => self.push(&format!("{taken}_"), value, is_literal),
            name => self.push(&plain_key(name), value, is_literal),
        }
    }
}

impl Visit for Pairs {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        self.push_field(field, &value.to_string(), value.is_finite());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push_field(field, &value.to_string(), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_field(field, &value.to_string(), true);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push_field(field, &value.to_string(), true);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push_field(field, &value.to_string(), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push_field(field, &value.to_string(), true);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_field(field, value, false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_field(field, &format!("{value:?}"), false);
    }
}

// === helpers ===

/// A JSON string, which is also a quoted logfmt value.
fn quoted(text: &str) -> String {
    escape_hidden(serde_json::Value::from(text).to_string())
}

/// Whether `text` can be a logfmt value without quotes, by the rules of Go's `slog`: not empty, and no space, `=`, `"` or
/// unprintable character. A backslash is allowed: it escapes nothing outside quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || matches!(c, '=' | '"') || is_hidden(c))
}

/// A key of `A-Z a-z 0-9 _ . -`; every other character becomes `_`.
fn plain_key(name: &str) -> String {
    // `r#` is in front of a field whose name is a keyword of Rust.
    let name = name.strip_prefix("r#").unwrap_or(name);
    name.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-'), "_")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes() {
        for (text, expect) in [
            ("plain", r#""plain""#),
            ("a \"b\" \\ c", r#""a \"b\" \\ c""#),
            ("1\n2\r3\t4", r#""1\n2\r3\t4""#),
            ("\u{1b}[2J\u{7f}\0", r#""\u001b[2J\u007f\u0000""#),
            ("\u{9b}31m\u{85}", r#""\u009b31m\u0085""#),
            ("\u{e0041}\u{34f}", r#""\udb40\udc41\u034f""#),
            ("\u{2028}\u{202e}\u{2066}\u{feff}", r#""\u2028\u202e\u2066\ufeff""#),
            ("Zürich 東京 🔑", r#""Zürich 東京 🔑""#),
        ] {
            assert_eq!(quoted(text), expect);
        }
    }

    #[test]
    fn bare() {
        for text in ["a", "10.0.0.1:8000", "C:\\logs", "Zürich", "{}'", "https://host/?a"] {
            assert!(is_bare(text), "{text}");
        }
        for text in ["", "a b", "a=b", "\"", "\n", "\u{1b}", "\u{a0}", "\u{3000}", "\u{202e}"] {
            assert!(!is_bare(text), "{text:?}");
        }
    }

    #[test]
    fn keys() {
        assert_eq!(plain_key("a.b-c_d e=\"\n\u{1b}ü"), "a.b-c_d_e_____");
    }

    proptest! {
        #[test]
        fn json_reads_it_back(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
