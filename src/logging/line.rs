//! One event as one line of text.

use std::{error::Error, fmt, fmt::Write, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::{
    Event,
    field::{Field, Visit},
};

use crate::logging::{
    escape::{is_bare, push_key, push_quoted},
    options::{LogFormat, LogLevel},
};

/// The line of `event`, newline included.
pub fn render(event: &Event<'_>, format: LogFormat, now: SystemTime) -> String {
    let mut fields = Fields { format, message: String::new(), rest: String::new() };
    event.record(&mut fields);
    let time = DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::Millis, true);
    let level = LogLevel::of(*event.metadata().level());
    let mut line = String::with_capacity(64 + fields.message.len() + fields.rest.len());
    if format == LogFormat::Json {
        line.push('{');
    }
    push_pair(&mut line, format, "time", Value::Text(&time));
    push_pair(&mut line, format, "level", Value::Text(level.as_str()));
    push_pair(&mut line, format, "msg", Value::Text(&fields.message));
    line.push_str(&fields.rest);
    line.push_str(if format == LogFormat::Json { "}\n" } else { "\n" });
    line
}

/// An event's fields: the message apart, because it comes first in the line, and the others already written.
struct Fields {
    format: LogFormat,
    message: String,
    rest: String,
}

enum Value<'a> {
    /// A number or a bool, never quoted.
    Literal(fmt::Arguments<'a>),
    Text(&'a str),
}

// === impl Fields ===

impl Fields {
    fn push(&mut self, field: &Field, value: Value<'_>) {
        if field.name() == "message" {
            self.message = match value {
                Value::Literal(literal) => literal.to_string(),
                Value::Text(text) => text.to_owned(),
            };
            return;
        }
        // The separator from `msg`, which always precedes.
        self.rest.push(if self.format == LogFormat::Json { ',' } else { ' ' });
        // A Rust keyword as a field's name.
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        match name {
            // An object with a key twice means something else to every reader.
            "time" | "level" | "msg" => push_value(&mut self.rest, self.format, &format!("{name}_"), value),
            _ => push_value(&mut self.rest, self.format, name, value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.push(field, Value::Literal(format_args!("{value}")));
        } else {
            // JSON has no such number.
            self.push(field, Value::Text(&value.to_string()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Literal(format_args!("{value}")));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Literal(format_args!("{value}")));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, Value::Literal(format_args!("{value}")));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, Value::Literal(format_args!("{value}")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Literal(format_args!("{value}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.push(field, Value::Text(&value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::Text(&format!("{value:?}")));
    }
}

// === helpers ===

/// A pair in its place: the first of the line has no separator.
fn push_pair(out: &mut String, format: LogFormat, key: &str, value: Value<'_>) {
    match format {
        LogFormat::Json if out.len() > 1 => out.push(','),
        LogFormat::Logfmt if !out.is_empty() => out.push(' '),
        _ => {}
    }
    push_value(out, format, key, value);
}

fn push_value(out: &mut String, format: LogFormat, key: &str, value: Value<'_>) {
    match format {
        LogFormat::Logfmt => {
            push_key(out, key);
            out.push('=');
        }
        LogFormat::Json => {
            out.push('"');
            push_key(out, key);
            out.push_str("\":");
        }
    }
    match value {
        // A String takes every write.
        Value::Literal(literal) => drop(out.write_fmt(literal)),
        Value::Text(text) if format == LogFormat::Logfmt && is_bare(text) => out.push_str(text),
        Value::Text(text) => push_quoted(out, text),
    }
}
