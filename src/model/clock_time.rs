use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// One instant on two clocks: wall time, for display and for metrics, and monotonic time, for durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockTime {
    pub mono: Instant,
    pub wall: DateTime<Utc>,
}

// === impl ClockTime ===

impl ClockTime {
    /// Time elapsed until `now`: the longer of the two clocks' differences.
    ///
    /// An old status must not stay fresh when the wall clock is set back, or when the monotonic clock stops because a
    /// virtual machine is suspended.
    pub fn age(&self, now: &Self) -> Duration {
        let wall = (now.wall - self.wall).to_std().unwrap_or_default();
        wall.max(now.mono.saturating_duration_since(self.mono))
    }

    /// Wall time in Unix seconds, with microsecond precision.
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
