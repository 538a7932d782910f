use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Now, on both clocks: the one that people and Prometheus read, and the one that only moves forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockTime {
    /// The monotonic clock.
    pub mono: Instant,
    /// The wall clock.
    pub wall: DateTime<Utc>,
}

// === impl ClockTime ===

impl ClockTime {
    /// How long ago this was, seen from `now`: the longer of what the two clocks say.
    ///
    /// The wall clock can be set back, which must not keep an old status alive. The monotonic clock stands still
    /// while a virtual machine is suspended, which must not either.
    pub fn age(&self, now: &Self) -> Duration {
        let wall = (now.wall - self.wall).to_std().unwrap_or_default();
        wall.max(now.mono.saturating_duration_since(self.mono))
    }

    /// Seconds since 1970 on the wall clock, to the microsecond.
    pub fn unix_seconds(&self) -> f64 {
        self.wall.timestamp_micros() as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_the_longer_of_both_clocks() {
        let then = ClockTime { mono: Instant::now(), wall: DateTime::UNIX_EPOCH };
        let after = |mono: u64, wall: i64| ClockTime {
            mono: then.mono + Duration::from_secs(mono),
            wall: then.wall + chrono::TimeDelta::seconds(wall),
        };
        let check = |now: ClockTime, expect: u64| assert_eq!(then.age(&now), Duration::from_secs(expect));
        check(after(10, 10), 10);
        check(after(10, -3600), 10);
        check(after(10, 3600), 3600);
        check(after(0, -5), 0);
    }
}
