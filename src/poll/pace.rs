//! When to poll next. Pure: the time is an argument, and nothing sleeps here.

use std::time::{Duration, Instant};

use crate::model::{ClusterName, PollFailure, Refusal};

/// The pause after the first refused credential; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(300);

/// The longest such pause. Refused logins come at 0, 5, 15, 35 and 65 minutes, which is below the thresholds at
/// which directories lock accounts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);

/// The longest interval at which a refused access token is tried: it locks nothing.
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);

/// One cluster's pace.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Any point in time on the grid of this cluster's polls.
    anchor: Instant,
    interval: Duration,
    /// Refusals in a row.
    refusals: u32,
    /// How long a last good status stays.
    stale_after: Duration,
}

/// When the next poll is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Next {
    /// At this time.
    pub at: Instant,
    /// Or, if this is set, as soon as the credential's file changes.
    pub or_new_credential: bool,
}

// === impl Pace ===

impl Pace {
    /// Polls every `interval`, shifted by a stable hash of the name, so that the clusters are spread over the interval
    /// in the same way after every start. `origin` is the same for all clusters.
    pub fn new(name: &ClusterName, interval: Duration, stale_after: Duration, origin: Instant) -> Self {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { anchor: origin + Duration::from_nanos(hash(name.as_str()) % nanos), interval, refusals: 0, stale_after }
    }

    /// When to poll after one that ended at `now`.
    pub fn next(&mut self, now: Instant, failure: Option<&PollFailure>) -> Next {
        let tick = self.tick_after(now);
        if let Some(refusal) = failure.and_then(|failure| failure.refusal) {
            let pause = self.pause(refusal);
            self.refusals = self.refusals.saturating_add(1);
            return Next { at: tick.max(now + pause), or_new_credential: true };
        }
        self.refusals = 0;
        let asked = failure.and_then(|failure| failure.retry_after).unwrap_or_default();
        Next { at: tick.max(now + asked), or_new_credential: false }
    }

    /// After a refusal. A harmless one never costs a status that is still fresh: the next attempt comes before `stale_after`.
    fn pause(&self, refusal: Refusal) -> Duration {
        let doubled = |first: Duration| first.saturating_mul(1 << self.refusals.min(8));
        if refusal == Refusal::Locks {
            return doubled(FIRST_PAUSE).min(LONGEST_PAUSE);
        }
        // The poll after the pause takes its own time, for which half is more than enough.
        let longest = LONGEST_INTERVAL.min(self.stale_after / 2).max(self.interval);
        // The grid adds up to one interval.
        doubled(self.interval).min(longest).saturating_sub(self.interval)
    }

    /// The first point of the grid after `now`.
    fn tick_after(&self, now: Instant) -> Instant {
        let Some(since) = now.checked_duration_since(self.anchor) else { return self.anchor };
        let into = since.as_nanos() % self.interval.as_nanos().max(1);
        // The remainder is smaller than an interval, which fits.
        now + (self.interval - Duration::from_nanos(u64::try_from(into).unwrap_or_default()))
    }
}

/// FNV-1a with a final mix: stable for all time, which the standard library's hasher does not promise. The mix is the
/// finaliser of MurmurHash3, because FNV alone leaves names that differ in the last letter close together.
fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureReason;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn pace(name: &str, origin: Instant) -> Pace {
        Pace::new(&ClusterName::new(name).unwrap(), INTERVAL, 5 * INTERVAL, origin)
    }

    fn failure(reason: FailureReason) -> PollFailure {
        PollFailure::new(reason, "")
    }

    #[test]
    fn polls_keep_to_a_grid() {
        let origin = Instant::now();
        let mut pace = pace("one", origin);
        let first = pace.next(origin, None).at;
        assert!(first > origin && first <= origin + INTERVAL);
        let just_after = first + Duration::from_millis(7);
        assert_eq!(pace.next(just_after, None), Next { at: first + INTERVAL, or_new_credential: false });
        assert_eq!(pace.next(first, None).at, first + INTERVAL, "never at once");
        let much_later = first + 10 * INTERVAL + Duration::from_secs(1);
        assert_eq!(pace.next(much_later, None).at, first + 11 * INTERVAL);
    }

    #[test]
    fn clusters_are_spread_over_the_interval() {
        let origin = Instant::now();
        let mut sixths = [0; 6];
        for number in 0..600 {
            let offset = pace(&format!("cluster-{number}"), origin).next(origin, None).at - origin;
            sixths[usize::try_from(offset.as_secs() / 10).unwrap().min(5)] += 1;
        }
        assert!(sixths.iter().all(|share| (60..=140).contains(share)), "{sixths:?}");
    }

    #[test]
    fn the_spread_is_the_same_for_ever() {
        assert_eq!(hash("prod-east") % 60_000, 5_388);
    }

    fn refusal(refusal: Refusal) -> PollFailure {
        PollFailure { refusal: Some(refusal), ..failure(FailureReason::Authentication) }
    }

    #[test]
    fn only_a_refused_credential_slows_down() {
        let origin = Instant::now();
        for reason in FailureReason::ALL {
            let next = pace("one", origin).next(origin, Some(&failure(reason)));
            assert!(!next.or_new_credential && next.at <= origin + INTERVAL, "{reason:?}");
            // A proxy's account can be locked as a cluster's can.
            let refused = PollFailure { refusal: Some(Refusal::Locks), ..failure(reason) };
            let next = pace("one", origin).next(origin, Some(&refused));
            assert!(next.or_new_credential && next.at >= origin + FIRST_PAUSE, "{reason:?}");
        }
    }

    #[test]
    fn at_most_three_attempts_with_a_wrong_password_in_ten_minutes() {
        let origin = Instant::now();
        let mut pace = pace("one", origin);
        let mut now = origin;
        let mut attempts = Vec::new();
        while attempts.len() < 6 {
            attempts.push((now - origin).as_secs() / 60);
            now = pace.next(now, Some(&refusal(Refusal::Locks))).at;
        }
        assert!(attempts.iter().filter(|minute| **minute < 10).count() <= 3, "{attempts:?}");
        assert!(attempts[5] >= 95, "{attempts:?}");
        pace.next(now, None);
        let next = pace.next(now, Some(&refusal(Refusal::Locks)));
        assert!(next.at - now <= FIRST_PAUSE + INTERVAL, "a success starts from the shortest pause");
    }

    #[test]
    fn a_refused_token_keeps_the_interval_and_never_costs_a_fresh_status() {
        let origin = Instant::now();
        for (interval, stale_after) in [(60, 300), (15, 75), (30, 150), (3600, 18_000), (60, 70)].map(seconds) {
            let mut pace = Pace::new(&ClusterName::new("one").unwrap(), interval, stale_after, origin);
            let mut now = origin;
            for attempt in 0..20 {
                let next = pace.next(now, Some(&refusal(Refusal::Harmless)));
                let pause = next.at - now;
                assert!(next.or_new_credential);
                assert!(attempt > 0 || pause <= interval, "the first refusal changes nothing");
                assert!(pause <= interval.max(LONGEST_INTERVAL) && pause < stale_after, "{pause:?} of {stale_after:?}");
                now = next.at;
            }
        }
    }

    fn seconds((interval, stale_after): (u64, u64)) -> (Duration, Duration) {
        (Duration::from_secs(interval), Duration::from_secs(stale_after))
    }

    #[test]
    fn retry_after_is_obeyed() {
        let origin = Instant::now();
        let hour = Duration::from_secs(3600);
        let asked = PollFailure { retry_after: Some(hour), ..failure(FailureReason::RateLimited) };
        assert_eq!(pace("one", origin).next(origin, Some(&asked)).at, origin + hour);
        let short = PollFailure { retry_after: Some(Duration::ZERO), ..failure(FailureReason::RateLimited) };
        assert!(pace("one", origin).next(origin, Some(&short)).at <= origin + INTERVAL);
    }
}
