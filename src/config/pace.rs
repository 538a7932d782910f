//! How often a cluster is asked, for how long, and how long its status is served.

use std::time::Duration;

use super::{
    duration::{self, PromDuration},
    raw::RawShared,
    resolve::Section,
};

const INTERVAL: Duration = Duration::from_secs(60);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Durations as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnPace {
    /// Whether what there is fits together.
    pub good: bool,
    interval: Option<Duration>,
    stale_after: Option<Duration>,
    timeout: Option<Duration>,
}

/// How often, for how long, until when.
pub struct PollTimes {
    /// How often.
    pub interval: Duration,
    /// Until when a status is served.
    pub stale_after: Duration,
    /// For how long at most.
    pub timeout: Duration,
}

// === impl Section ===

impl Section<'_> {
    /// The durations of a section, as far as they are durations.
    pub fn own_pace(&mut self, raw: &RawShared) -> OwnPace {
        OwnPace {
            good: false,
            interval: self.duration("poll_interval", raw.poll_interval.as_deref()),
            stale_after: self.duration("stale_after", raw.stale_after.as_deref()),
            timeout: self.duration("poll_timeout", raw.poll_timeout.as_deref()),
        }
    }

    /// What a key says, if it is a duration.
    pub fn duration(&mut self, key: &str, text: Option<&str>) -> Option<Duration> {
        let text = text?;
        let duration = duration::parse(text);
        if duration.is_none() {
            // The text is not repeated: it could be anything, even a secret on the wrong line.
            self.error(key, duration::WANTED);
        }
        duration
    }

    /// `None` if there was an error.
    pub fn pace(&mut self, own: OwnPace, global: &OwnPace) -> Option<PollTimes> {
        let interval = own.interval.or(global.interval).unwrap_or(INTERVAL);
        let timeout = own.timeout.or(global.timeout).unwrap_or(TIMEOUT.min(interval));
        let shortest = interval.saturating_add(timeout);
        let stale_after = own.stale_after.or(global.stale_after).unwrap_or(interval.saturating_mul(5).max(shortest));
        let (shown, limit) = (PromDuration(interval), PromDuration(shortest));
        let mut good = true;
        let mut check = |right: bool, name: &str, problem: String| {
            if !right {
                self.error(name, problem);
                good = false;
            }
        };
        // What was inherited has been reported where it was written.
        let own_interval = own.interval.is_some();
        check(!own_interval || interval >= SHORTEST_INTERVAL, "poll_interval", "must be at least 1s".to_owned());
        check(!own_interval || interval <= LONGEST_INTERVAL, "poll_interval", "must be at most 1d".to_owned());
        let none = own.timeout.is_some() && timeout.is_zero();
        check(!none, "poll_timeout", "must be more than 0s".to_owned());
        check(timeout <= interval, "poll_timeout", format!("must be at most the poll_interval, {shown}"));
        check(
            stale_after >= shortest,
            "stale_after",
            format!("must be at least poll_interval + poll_timeout, {limit}, or every slow poll would drop the status"),
        );
        good.then_some(PollTimes { interval, stale_after, timeout })
    }
}
