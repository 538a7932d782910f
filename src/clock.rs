//! The two clocks, read in one place. Below `cmd`, `poll` and `web` the time is an argument.

use std::time::SystemTime;

use crate::model::ClockTime;

/// Now. The monotonic part is tokio's, which tests can pause.
pub fn now() -> ClockTime {
    ClockTime { mono: tokio::time::Instant::now().into_std(), wall: SystemTime::now().into() }
}
