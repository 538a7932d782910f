//! Responses of clusters before they are decoded.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::{
    Response, StatusCode,
    header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};

use serde_json::Value;

use crate::{
    model::{ServerClock, Timestamp},
    secret::Secret,
};

/// The longest pause that a cluster can demand.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A complete response.
#[derive(Debug)]
pub struct ApiResponse {
    pub body: Vec<u8>,
    pub clock: Option<ServerClock>,
    /// `Retry-After` of a 429 or 503, at most [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    pub status: StatusCode,
}

/// A body that is not complete.
#[derive(Debug)]
pub enum BodyError {
    /// The connection ended after this part of it.
    Broken {
        body: Vec<u8>,
        err: reqwest::Error,
    },
    TooLarge,
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// When it is longer, or the connection ends before it does.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(data)) if body.len() + data.len() <= limit => body.extend_from_slice(&data),
            Ok(Some(_)) => return Err(BodyError::TooLarge),
            Err(err) => return Err(BodyError::Broken { body, err }),
        }
    }
}

/// Whether a body contains one of these secrets, literally or in a JSON string. Secrets below four bytes are left out: they
/// occur in responses by chance, and protect nothing.
pub fn contains_secret(body: &[u8], secrets: &[Secret]) -> bool {
    const SHORTEST: usize = 4;
    let secrets: Vec<&Secret> = secrets.iter().filter(|secret| secret.expose().len() >= SHORTEST).collect();
    let in_text = |text: &[u8]| secrets.iter().any(|secret| secret.is_in(text));
    in_text(body) || serde_json::from_slice(body).is_ok_and(|value| any_string(&value, &in_text))
}

fn any_string(value: &Value, found: &impl Fn(&[u8]) -> bool) -> bool {
    match value {
        Value::String(text) => found(text.as_bytes()),
        Value::Array(values) => values.iter().any(|value| any_string(value, found)),
        Value::Object(values) => values.iter().any(|(key, value)| found(key.as_bytes()) || any_string(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The cluster's clock by the header `Date`, assumed to be set halfway between request and response.
pub fn clock(headers: &HeaderMap, sent: Instant, received: Instant) -> Option<ServerClock> {
    let date = Timestamp::new(http_date(headers.get(DATE)?.to_str().ok()?)?)?;
    Some(ServerClock { at: sent + (received - sent) / 2, date })
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3). A date is compared with the response's own `Date`, so
/// that the clocks need not agree.
pub fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    pause(text(RETRY_AFTER)?, text(DATE))
}

pub fn pause(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let retry_after = retry_after.trim();
    let pause = if retry_after.is_empty() {
        return None;
    } else if retry_after.bytes().all(|digit| digit.is_ascii_digit()) {
        // More digits than fit into a number are limited below.
        Duration::from_secs(retry_after.parse().unwrap_or(u64::MAX))
    } else {
        (http_date(retry_after)? - http_date(date?)?).to_std().ok()?
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// A date in a header, in the preferred form only (RFC 9110, section 5.6.7); the obsolete ones are not in use.
pub fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_spelling_of_json() {
        let secrets = ["hunter2", "the \"quoted\" one", "abc"].map(Secret::new);
        for body in [
            "hunter2",
            "{\"status\": \"xhunter2x\"",
            r#"{"status": "h\u0075nter2"}"#,
            r#"{"a": [1, {"b": ["\u0068unter\u0032"]}]}"#,
            r#"{"hunte\u00722": null}"#,
            r#"["the \"quoted\" one"]"#,
            r#""the \u0022quoted\u0022 one""#,
        ] {
            assert!(contains_secret(body.as_bytes(), &secrets), "{body}");
        }
        for body in ["", "{}", r#"{"status": "hunter"}"#, r#"{"a": ["hun", "ter2"]}"#, "abc"] {
            assert!(!contains_secret(body.as_bytes(), &secrets), "{body}");
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_and_an_hour_at_most() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(pause(text, Some(now)), expect.map(Duration::from_secs), "{text:?}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("86400", Some(3600));
        check("99999999999999999999999", Some(3600));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Mon, 07 Nov 1994 08:50:37 GMT", Some(3600));
        check("Sun, 06 Nov 1994 08:48:37 GMT", None);
        check("", None);
        check("  ", None);
        check("soon", None);
        check("-5", None);
        assert_eq!(pause(now, None), None);
    }
}
