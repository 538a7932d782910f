//! When to poll next. Pure: the time is an argument, and nothing sleeps here.

use std::time::{Duration, Instant};

use crate::model::{ClusterName, CredentialRejection, PollFailure};

/// The longest pause after a rejected access token and for `Retry-After`, where no account can be locked.
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Schedule {
    /// Polls are due at `anchor` plus multiples of `interval`.
    anchor: Instant,
    interval: Duration,
    /// Consecutive rejections of an access token.
    rejections: u32,
    /// Time of the last success.
    success: Option<Instant>,
    stale_after: Duration,
}

/// When the next poll is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Next {
    pub at: Instant,
    /// Whether to poll earlier if the credential file changes.
    pub or_new_credential: bool,
}

// === impl Schedule ===

impl Schedule {
    /// Polls every `interval`, offset by a hash of the name, so that polls are spread over the interval. `origin` is the same
    /// for all clusters.
    pub fn new(name: &ClusterName, interval: Duration, stale_after: Duration, origin: Instant) -> Self {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self {
            anchor: origin + Duration::from_nanos(hash(name.as_str()) % nanos),
            interval,
            rejections: 0,
            stale_after,
            success: None,
        }
    }

    /// The poll that follows one which ended at `now`.
    pub fn next(&mut self, now: Instant, failure: Option<&PollFailure>) -> Next {
        let tick = self.tick_after(now);
        let (rejection, retry_after) = match failure {
            None => {
                self.success = Some(now);
                (None, Duration::ZERO)
            }
            Some(failure) => (failure.rejection, failure.retry_after.unwrap_or_default()),
        };
        let at = match rejection {
            // Polling earlier could lock the account.
            Some(CredentialRejection::LockoutRisk) => now + retry_after,
            Some(CredentialRejection::NoLockout) => {
                // The first rejection causes no pause.
                let pause = self.interval.saturating_mul(1 << self.rejections.min(8)).saturating_sub(self.interval);
                self.at_most(now, pause)
            }
            None => self.at_most(now, retry_after),
        };
        self.rejections =
            if rejection == Some(CredentialRejection::NoLockout) { self.rejections.saturating_add(1) } else { 0 };
        Next { at: tick.max(at), or_new_credential: rejection.is_some() }
    }

    /// `now` plus `pause`, limited so that a fresh status is polled once more before it becomes stale. A poll takes at most one
    /// interval.
    fn at_most(&self, now: Instant, pause: Duration) -> Instant {
        let longest = LONGEST_INTERVAL.min(self.stale_after / 2).max(self.interval);
        let at = now + pause.min(longest);
        let last_chance = self.success.map(|success| success + self.stale_after.saturating_sub(self.interval));
        last_chance.filter(|last_chance| *last_chance > now).map_or(at, |last_chance| at.min(last_chance))
    }

    /// The first regular poll after `now`.
    fn tick_after(&self, now: Instant) -> Instant {
        let Some(since) = now.checked_duration_since(self.anchor) else { return self.anchor };
        let into = since.as_nanos() % self.interval.as_nanos().max(1);
        // The remainder is smaller than the interval, so it fits.
        now + (self.interval - Duration::from_nanos(u64::try_from(into).unwrap_or_default()))
    }
}

/// FNV-1a followed by MurmurHash3's finaliser. The standard library's hasher may change between releases; FNV alone gives
/// similar values for names that differ in the last letter.
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

    fn schedule(name: &str, origin: Instant) -> Schedule {
        Schedule::new(&ClusterName::new(name).unwrap(), INTERVAL, 5 * INTERVAL, origin)
    }

    fn failure(reason: FailureReason) -> PollFailure {
        PollFailure::new(reason, "")
    }

    #[test]
    fn polls_keep_to_a_grid() {
        let origin = Instant::now();
        let mut schedule = schedule("one", origin);
        let first = schedule.next(origin, None).at;
        assert!(first > origin && first <= origin + INTERVAL);
        let just_after = first + Duration::from_millis(7);
        assert_eq!(schedule.next(just_after, None), Next { at: first + INTERVAL, or_new_credential: false });
        assert_eq!(schedule.next(first, None).at, first + INTERVAL, "never at once");
        let much_later = first + 10 * INTERVAL + Duration::from_secs(1);
        assert_eq!(schedule.next(much_later, None).at, first + 11 * INTERVAL);
    }

    #[test]
    fn clusters_are_spread_over_the_interval() {
        let origin = Instant::now();
        let mut sixths = [0; 6];
        for number in 0..600 {
            let offset = schedule(&format!("cluster-{number}"), origin).next(origin, None).at - origin;
            sixths[usize::try_from(offset.as_secs() / 10).unwrap().min(5)] += 1;
        }
        assert!(sixths.iter().all(|share| (60..=140).contains(share)), "{sixths:?}");
    }

    #[test]
    fn the_spread_is_the_same_for_ever() {
        assert_eq!(hash("prod-east") % 60_000, 5_388);
    }

    fn refusal(rejection: CredentialRejection) -> PollFailure {
        PollFailure { rejection: Some(rejection), ..failure(FailureReason::Authentication) }
    }

    #[test]
    fn only_a_refused_credential_slows_down() {
        let origin = Instant::now();
        let pause = Duration::from_secs(1800);
        for reason in FailureReason::ALL {
            let next = schedule("one", origin).next(origin, Some(&failure(reason)));
            assert!(!next.or_new_credential && next.at <= origin + INTERVAL, "{reason:?}");
            // A proxy's account can be locked as a cluster's can.
            let refused = PollFailure {
                rejection: Some(CredentialRejection::LockoutRisk),
                retry_after: Some(pause),
                ..failure(reason)
            };
            let next = schedule("one", origin).next(origin, Some(&refused));
            assert_eq!(next, Next { at: origin + pause, or_new_credential: true }, "{reason:?}");
        }
    }

    #[test]
    fn a_refused_token_keeps_the_interval_and_never_costs_a_fresh_status() {
        let origin = Instant::now();
        for (interval, stale_after) in [(60, 300), (15, 75), (30, 150), (3600, 18_000), (60, 70)].map(seconds) {
            let mut schedule = Schedule::new(&ClusterName::new("one").unwrap(), interval, stale_after, origin);
            let mut now = origin;
            for attempt in 0..20 {
                let next = schedule.next(now, Some(&refusal(CredentialRejection::NoLockout)));
                let pause = next.at - now;
                assert!(next.or_new_credential);
                assert!(attempt > 0 || pause <= interval, "the first rejection changes nothing");
                assert!(pause <= interval.max(LONGEST_INTERVAL) && pause < stale_after, "{pause:?} of {stale_after:?}");
                now = next.at;
            }
        }
    }

    fn seconds((interval, stale_after): (u64, u64)) -> (Duration, Duration) {
        (Duration::from_secs(interval), Duration::from_secs(stale_after))
    }

    #[test]
    fn retry_after_is_obeyed_unless_a_status_goes_stale_for_it() {
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let rate_limited = |seconds| PollFailure {
            retry_after: Some(Duration::from_secs(seconds)),
            ..failure(FailureReason::RateLimited)
        };
        assert!(schedule("one", origin).next(origin, Some(&rate_limited(0))).at <= origin + INTERVAL);
        // Nothing was ever known: rarely, but not for an hour.
        assert_eq!(schedule("one", origin).next(origin, Some(&rate_limited(100))).at, at(100));
        assert_eq!(schedule("one", origin).next(origin, Some(&rate_limited(3600))).at, at(150));
        // A status that is fresh until 300.
        let mut fresh = schedule("one", origin);
        fresh.next(origin, None);
        let times = [60, 200, 239, 240].map(|now| fresh.next(at(now), Some(&rate_limited(3600))).at);
        assert_eq!((times[0], times[3]), (at(210), at(390)));
        // Or the next point of the grid.
        assert!(times[1] >= at(240) && times[1] <= at(260) && times[2] <= at(299));
    }
}
