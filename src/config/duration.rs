use std::{fmt, time::Duration};

/// A duration in Prometheus' format: `90s`, `1m30s`, `500ms`, `1h`. Units are in descending order, each at most once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PromDuration(pub Duration);

/// Units in descending order, in milliseconds. A year has 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Weeks and years are accepted but not written: 14d is clearer than 2w.
        for (unit, millis) in UNITS.into_iter().skip(2) {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

/// Parses a duration in Prometheus' format.
///
/// # Errors
///
/// A message with examples. It does not repeat the text, which could be a secret in the wrong place.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    parse_units(text).ok_or("invalid duration; use a value such as 30s, 1m30s or 5m")
}

fn parse_units(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        // The iterator continues after the last unit, so a duplicate unit or a wrong order is not found.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_prometheus_durations() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse(text).ok(), expect.map(Duration::from_millis), "{text:?}");
        };
        check("60s", Some(60_000));
        check("1m30s", Some(90_000));
        check("500ms", Some(500));
        check("1h", Some(3_600_000));
        check("1d2h", Some(93_600_000));
        check("1w", Some(604_800_000));
        check("0", Some(0));
        check("0s", Some(0));
        check("", None);
        check("60", None);
        check("s", None);
        check("1s1m", None);
        check("1s1s", None);
        check("1.5s", None);
        check("-1s", None);
        check("1 s", None);
        check("1é", None);
        check("99999999999999999999s", None);
        check("18446744073709551615y", None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&PromDuration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
