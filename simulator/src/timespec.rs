//! Durations as people write them (`200ms`, `90m`) and times relative to another (`+25d`, `-3h`).

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The digits after the second of a relative time. Never a zero, because Qumulo strips trailing
/// zeros (its documentation shows `…40.06864014Z`), so that n digits asked for are n digits sent.
const FRACTION: u32 = 123_456_789;

/// Reads `200ms`, `10s`, `90m`, `3h`, `25d`: a whole number and one unit.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// The time that `+25d` or `-3h` names, seen from `anchor`. `None` for any other text, and for
/// times beyond what a calendar holds.
pub(super) fn relative(text: &str, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (forward, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('-')?),
    };
    let delta = TimeDelta::from_std(parse_duration(rest)?).ok()?;
    if forward { anchor.checked_add_signed(delta) } else { anchor.checked_sub_signed(delta) }
}

/// The time that a relative text or an RFC 3339 text in UTC (`2027-04-18T19:55:17Z`) names.
pub(super) fn parse_time(text: &str, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
    relative(text, anchor).or_else(|| {
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.fZ").ok()?;
        Some(naive.and_utc())
    })
}

/// A value as it goes over the wire: relative texts become RFC 3339 with `digits` (at most 9)
/// digits of fraction, everything else stays what it is, garbage included.
pub(super) fn resolve(value: &Value, anchor: DateTime<Utc>, digits: u8) -> Value {
    match value.as_str().and_then(|text| relative(text, anchor)) {
        Some(time) => Value::String(rfc3339(time, digits)),
        None => value.clone(),
    }
}

/// RFC 3339 in UTC with `Z`, which is how every documented answer of the API shows a time.
pub(super) fn rfc3339(time: DateTime<Utc>, digits: u8) -> String {
    let digits = u32::from(digits.min(9));
    let seconds = time.with_nanosecond(0).unwrap_or(time).format("%Y-%m-%dT%H:%M:%S");
    match digits {
        0 => format!("{seconds}Z"),
        n => format!("{seconds}.{}Z", FRACTION / 10_u32.pow(9 - n)),
    }
}

/// For `#[serde(deserialize_with)]`: a [`Duration`].
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
        .ok_or_else(|| de::Error::custom(format_args!("`{text}` is not a duration such as 200ms, 10s or 5m")))
}

/// For `#[serde(deserialize_with)]`: a [`Duration`] or null.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Wrapped(#[serde(deserialize_with = "duration")] Duration);
    Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|Wrapped(duration)| duration))
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
