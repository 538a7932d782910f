//! Whose turn it is on a connection: the state that the socket wrapper and the HTTP service share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant},
};

/// How long a connection may take. Both limits are absolute: bytes that trickle do not move them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeLimits {
    /// Between two requests. Longer than the usual scrape intervals, so that a scraper keeps its connection.
    pub idle: Duration,
    /// From the connection's start, or from a request's first byte, until its answer's last byte has been handed to
    /// the kernel.
    pub request: Duration,
}

/// The turn of one connection; clones share it.
///
/// ```text
///              first byte, or a request taken from hyper's buffer
///        Idle ----------------------------------------------------> Request  <- a new connection
///         ^                                                            |
///         `-------------------------- Answer <-------------------------'
///           flushed; permit returned          the handler has answered
/// ```
#[derive(Clone, Debug)]
pub struct Turn {
    limits: TimeLimits,
    // A blocking mutex: held for a few instructions, never across an await, and contended by nobody, since a
    // connection's service and socket are polled by the same task.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    deadline: Instant,
    /// What makes this request count as in flight.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Answer,
    Idle,
    Request,
}

// === impl TimeLimits ===

impl Default for TimeLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5 * 60), request: Duration::from_secs(30) }
    }
}

// === impl Turn ===

impl Turn {
    /// A connection just accepted: the client's first request is due.
    pub fn new(limits: TimeLimits) -> Self {
        let state = State { phase: Phase::Request, deadline: Instant::now() + limits.request, permit: None };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// When the connection has to be given up unless something happens before.
    pub fn deadline(&self) -> Instant {
        self.state().deadline
    }

    /// A request's first byte arrived, or the request itself when it came in the bytes of the one before. During a
    /// request this changes nothing.
    pub fn begin(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            state.phase = Phase::Request;
            state.deadline = Instant::now() + self.limits.request;
        }
    }

    /// Keeps `permit` until the answer has been flushed or the connection has ended.
    pub fn hold(&self, permit: OwnedSemaphorePermit) {
        self.state().permit = Some(permit);
    }

    /// The handler has answered: the next flush that completes ends the request.
    pub fn answered(&self) {
        self.state().phase = Phase::Answer;
    }

    /// All bytes written so far have left. hyper flushes at other times too (before the first byte, between parts of a
    /// request's head, after `100 Continue`), which must not pass for the end of an answer.
    pub fn flushed(&self) {
        let mut state = self.state();
        if state.phase == Phase::Answer {
            state.phase = Phase::Idle;
            state.deadline = Instant::now() + self.limits.idle;
            state.permit = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while holding it, and every state in between is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const LIMITS: TimeLimits = TimeLimits { idle: Duration::from_secs(300), request: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn deadlines_follow_the_turn() {
        let start = Instant::now();
        let turn = Turn::new(LIMITS);
        tokio::time::advance(Duration::from_secs(10)).await;
        turn.flushed();
        turn.begin();
        assert_eq!(turn.deadline(), start + LIMITS.request, "neither a flush nor more bytes move a request's deadline");
        turn.answered();
        assert_eq!(turn.deadline(), start + LIMITS.request, "an answer not yet flushed does not either");
        turn.flushed();
        assert_eq!(turn.deadline(), start + Duration::from_secs(10) + LIMITS.idle);
        tokio::time::advance(Duration::from_secs(100)).await;
        turn.begin();
        assert_eq!(turn.deadline(), start + Duration::from_secs(110) + LIMITS.request);
    }

    #[tokio::test]
    async fn permit_is_held_until_the_flush() {
        let permits = Arc::new(Semaphore::new(1));
        let turn = Turn::new(LIMITS);
        turn.hold(Arc::clone(&permits).try_acquire_owned().unwrap());
        turn.flushed();
        assert_eq!(permits.available_permits(), 0, "not answered yet");
        turn.answered();
        assert_eq!(permits.available_permits(), 0, "not flushed yet");
        turn.flushed();
        assert_eq!(permits.available_permits(), 1);
    }

    #[tokio::test]
    async fn permit_ends_with_the_connection() {
        let permits = Arc::new(Semaphore::new(1));
        let turn = Turn::new(LIMITS);
        turn.hold(Arc::clone(&permits).try_acquire_owned().unwrap());
        drop(turn);
        assert_eq!(permits.available_permits(), 1);
    }
}
