//! Durations such as `200ms`, and times relative to another time, such as `+25d`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// The fraction of the second of a relative time. Qumulo strips trailing zeros (its documentation shows `…40.06864014Z`), so
/// there is no zero in it: `fraction_digits` is the number of digits sent.
const FRACTION: &str = "123456789";

/// Parses a whole number with a unit: `200ms`, `10s`, `90m`, `3h`, `25d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit_in_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_in_ms).map(Duration::from_millis)
}

/// Parses `+25d` or `-3h`, relative to `anchor`. `None` for any other text, and for dates out of range.
pub fn relative(text: &str, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (sign, duration) = text.split_at_checked(1)?;
    let delta = TimeDelta::from_std(parse_duration(duration)?).ok()?;
    match sign {
        "+" => anchor.checked_add_signed(delta),
        "-" => anchor.checked_sub_signed(delta),
        _ => None,
    }
}

/// Parses a relative time, or RFC 3339 such as `2027-04-18T19:55:17Z`.
pub fn parse_time(text: &str, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
    relative(text, anchor).or_else(|| text.parse().ok())
}

/// Replaces a relative time by RFC 3339 in UTC with `Z`, as in the documented responses of the API. Any other value is returned
/// as it is.
pub fn resolve(value: &Value, anchor: DateTime<Utc>, fraction_digits: u8) -> Value {
    let Some(time) = value.as_str().and_then(|text| relative(text, anchor)) else { return value.clone() };
    let seconds = time.format("%Y-%m-%dT%H:%M:%S");
    Value::String(match fraction_digits {
        0 => format!("{seconds}Z"),
        digits => format!("{seconds}.{FRACTION:.*}Z", usize::from(digits)),
    })
}

/// For `#[serde(deserialize_with)]`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let message = format_args!("`{text}` is not a duration (a number and ms, s, m, h or d, such as 200ms)");
    parse_duration(&text).map(Some).ok_or_else(|| D::Error::custom(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_one_unit() {
        for (text, millis) in [
            ("200ms", Some(200)),
            ("10s", Some(10_000)),
            ("90m", Some(5_400_000)),
            ("3h", Some(10_800_000)),
            ("25d", Some(2_160_000_000)),
            ("", None),
            ("25", None),
            ("d", None),
            ("1w", None),
            ("1h30m", None),
            ("99999999999999999999d", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn relative_times_are_sent_as_rfc_3339_and_the_rest_as_it_is() {
        let anchor = parse_time("2026-01-31T12:00:00.5Z", DateTime::UNIX_EPOCH).unwrap();
        for (value, digits, sent) in [
            ("+25d", 0, "2026-02-25T12:00:00Z"),
            ("-3h", 0, "2026-01-31T09:00:00Z"),
            ("+90m", 1, "2026-01-31T13:30:00.1Z"),
            ("-10s", 3, "2026-01-31T11:59:50.123Z"),
            ("+1d", 8, "2026-02-01T12:00:00.12345678Z"),
            ("+1d", 9, "2026-02-01T12:00:00.123456789Z"),
            ("+1d", 200, "2026-02-01T12:00:00.123456789Z"),
            ("+99999999999d", 0, "+99999999999d"),
            ("soon", 9, "soon"),
            ("", 9, ""),
        ] {
            let sent = Value::from(sent);
            assert_eq!(resolve(&Value::from(value), anchor, digits), sent, "{value} {digits}");
        }
        assert_eq!(resolve(&Value::Null, anchor, 0), Value::Null);
        assert_eq!(resolve(&Value::from(7), anchor, 0), Value::from(7));
    }
}
