//! Poll interval, poll timeout and staleness limit.

use std::time::Duration;

use super::duration::PromDuration;

const INTERVAL: Duration = Duration::from_secs(60);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The values set in one section.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnSchedule {
    pub interval: Option<Duration>,
    pub stale_after: Option<Duration>,
    pub timeout: Option<Duration>,
}

/// The effective values of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub interval: Duration,
    pub stale_after: Duration,
    pub timeout: Duration,
}

// === impl OwnSchedule ===

impl OwnSchedule {
    pub fn is_set(&self) -> bool {
        self.interval.is_some() || self.stale_after.is_some() || self.timeout.is_some()
    }

    /// Applies the values of `global` and the defaults.
    ///
    /// # Errors
    ///
    /// Keys whose values are invalid or contradict each other. Invalid values of `global` are not reported again.
    pub fn resolve(self, global: Self) -> Result<Schedule, Vec<(&'static str, String)>> {
        let interval = self.interval.or(global.interval).unwrap_or(INTERVAL);
        let timeout = self.timeout.or(global.timeout).unwrap_or(TIMEOUT.min(interval));
        let shortest = interval.saturating_add(timeout);
        let stale_after = self.stale_after.or(global.stale_after).unwrap_or(interval.saturating_mul(5).max(shortest));
        let (shown, limit) = (PromDuration(interval), PromDuration(shortest));
        let own_interval = self.interval.is_some();
        let rules = [
            (!own_interval || interval >= SHORTEST_INTERVAL, "poll_interval", "must be at least 1s".to_owned()),
            (!own_interval || interval <= LONGEST_INTERVAL, "poll_interval", "must be at most 1d".to_owned()),
            (self.timeout.is_none_or(|own| !own.is_zero()), "poll_timeout", "must be more than 0s".to_owned()),
            (timeout <= interval, "poll_timeout", format!("must be at most poll_interval ({shown})")),
            (
                stale_after >= shortest,
                "stale_after",
                format!(
                    "must be at least poll_interval + poll_timeout ({limit}), or every slow poll makes the status stale"
                ),
            ),
        ];
        let broken: Vec<_> =
            rules.into_iter().filter_map(|(kept, key, problem)| (!kept).then_some((key, problem))).collect();
        if broken.is_empty() { Ok(Schedule { interval, stale_after, timeout }) } else { Err(broken) }
    }
}
