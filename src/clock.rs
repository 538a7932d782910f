//! Access to the clocks. Only `cmd`, `poll` and `routes` call this; below them the time is an argument.

use std::time::SystemTime;

use crate::model::ClockTime;

/// The current time. The monotonic clock is tokio's, which tests can pause.
pub fn now() -> ClockTime {
    ClockTime { mono: tokio::time::Instant::now().into_std(), wall: SystemTime::now().into() }
}
