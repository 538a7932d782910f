//! The request clock of a connection: the state that the socket wrapper and the HTTP service share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

/// How long a connection may take. Both limits are absolute: bytes that trickle do not move them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeLimits {
    /// Between two requests. Longer than the usual scrape intervals, so that a scraper keeps its connection.
    pub idle: Duration,
    /// From the connection's start, or from a request's first byte, until its answer's last byte has been handed to
    /// the kernel.
    pub request: Duration,
}

/// The clock of one connection; clones share it.
///
/// ```text
///              first byte                       the head is complete
///        Idle ------------> Request <- a new   ----------------------> Handling
///         ^                           connection                          |
///         `------------------------- Answer <-----------------------------'
///                  flushed                     the handler has answered
/// ```
#[derive(Clone, Debug)]
pub struct RequestClock {
    limits: TimeLimits,
    // A blocking mutex: held for a few instructions, never across an await, and contended by nobody, since a
    // connection's service and socket are polled by the same task.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    deadline: Instant,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The client has to read.
    Answer {
        /// The length of the answer's body, in bytes.
        unsent: usize,
    },
    /// The handler is at work.
    Handling,
    /// Between two requests.
    Idle,
    /// The client has to send: a handshake, or the head of a request.
    Request,
}

// === impl TimeLimits ===

impl Default for TimeLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5 * 60), request: Duration::from_secs(30) }
    }
}

// === impl RequestClock ===

impl RequestClock {
    /// A connection just accepted: the client's first request is due.
    pub fn new(limits: TimeLimits) -> Self {
        let now = Instant::now();
        let state = State { stage: Stage::Request, since: now, deadline: now + limits.request };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// When the connection has to be given up unless something happens before.
    pub fn deadline(&self) -> Instant {
        self.state().deadline
    }

    /// What the connection is doing, and since when.
    pub fn stage(&self) -> (Stage, Instant) {
        let state = self.state();
        (state.stage, state.since)
    }

    /// A request's first byte arrived. During a request this changes nothing.
    pub fn begin(&self) {
        let mut state = self.state();
        if state.stage == Stage::Idle {
            state.go(Stage::Request);
            state.deadline = state.since + self.limits.request;
        }
    }

    /// A request's head is complete; perhaps it came in the bytes of the one before.
    pub fn handling(&self) {
        self.begin();
        self.state().go(Stage::Handling);
    }

    /// The handler has answered with a body of `unsent` bytes: the next flush that completes ends the request.
    pub fn answered(&self, unsent: usize) {
        self.state().go(Stage::Answer { unsent });
    }

    /// All bytes written so far have left. hyper flushes at other times too (before the first byte, between parts of a
    /// request's head, after `100 Continue`), which must not pass for the end of an answer.
    pub fn flushed(&self) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Answer { .. }) {
            state.go(Stage::Idle);
            state.deadline = state.since + self.limits.idle;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while holding it, and every state in between is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn go(&mut self, stage: Stage) {
        (self.stage, self.since) = (stage, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TimeLimits = TimeLimits { idle: Duration::from_secs(300), request: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn deadlines_follow_the_turn() {
        let start = Instant::now();
        let clock = RequestClock::new(LIMITS);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.flushed();
        clock.begin();
        assert_eq!(
            clock.deadline(),
            start + LIMITS.request,
            "neither a flush nor more bytes move a request's deadline"
        );
        clock.answered(1);
        assert_eq!(clock.deadline(), start + LIMITS.request, "an answer not yet flushed does not either");
        clock.flushed();
        assert_eq!(clock.deadline(), start + Duration::from_secs(10) + LIMITS.idle);
        tokio::time::advance(Duration::from_secs(100)).await;
        clock.begin();
        assert_eq!(clock.deadline(), start + Duration::from_secs(110) + LIMITS.request);
    }
}
