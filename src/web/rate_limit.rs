//! The rate limit for requests of all clients together: a token bucket.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::lock::lock;

/// A bucket that holds `burst` tokens and gets one back every `interval`; a request takes one.
#[derive(Debug)]
pub struct RateLimit {
    burst: u32,
    interval: Duration,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    at: Instant,
    tokens: f64,
}

impl RateLimit {
    /// A full bucket. With `burst` 0 no request is admitted, as in the Prometheus exporter toolkit.
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self { burst, interval, bucket: Mutex::new(Bucket { at: Instant::now(), tokens: f64::from(burst) }) }
    }

    pub fn is_like(&self, other: &Self) -> bool {
        (self.burst, self.interval) == (other.burst, other.interval)
    }

    pub fn admit(&self, now: Instant) -> bool {
        let mut bucket = lock(&self.bucket);
        let since = now.saturating_duration_since(bucket.at);
        bucket.at = now;
        bucket.tokens = (bucket.tokens + since.div_duration_f64(self.interval)).min(f64::from(self.burst));
        let admitted = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(admitted));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back_one_by_one() {
        let start = Instant::now();
        let limit = RateLimit::new(Duration::from_secs(10), 2);
        let check = |seconds: u64, admitted: bool| {
            assert_eq!(limit.admit(start + Duration::from_secs(seconds)), admitted, "after {seconds} s");
        };
        check(0, true);
        check(0, true);
        check(0, false);
        check(9, false);
        check(10, true);
        check(10, false);
        check(1000, true);
        check(1000, true);
        check(1000, false);
    }

    #[tokio::test(start_paused = true)]
    async fn without_burst_nothing_is_admitted() {
        let limit = RateLimit::new(Duration::from_secs(1), 0);
        assert!(!limit.admit(Instant::now() + Duration::from_secs(60)));
    }
}
