//! The thread that writes the log, so that nobody who logs waits for whoever reads it.
//!
//! Standard error is often a pipe, and a pipe that nobody reads takes 64 KiB and then blocks for ever. Lines go into a queue
//! that is bounded in bytes; what does not fit is dropped and counted, and one line says so when there is room again.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use crate::limits::{self, NoThread};

/// The most bytes of lines that wait: some 2,000 lines.
const MAX_WAITING: usize = 256 * 1024;

/// Enough for a write and a formatted line.
const STACK: usize = 64 * 1024;

/// The queue of this process.
static QUEUE: Queue = Queue { state: Mutex::new(State::new()), changed: Condvar::new() };

/// Starts the thread once.
static STARTED: OnceLock<()> = OnceLock::new();

/// Lines on their way to a writer.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// Signalled when lines come or have gone.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Of the waiting lines.
    bytes: usize,
    /// Lines that found no room.
    dropped: u64,
    lines: VecDeque<String>,
    /// Of `dropped`, what a line has told.
    told: u64,
    /// Whether a line is being written.
    writing: bool,
}

/// Starts the thread, if it does not run yet.
///
/// # Errors
///
/// When the system refuses it: nothing would ever be written.
pub fn start() -> Result<(), NoThread> {
    if STARTED.set(()).is_ok() {
        limits::start_thread("log", STACK, || {
            QUEUE.write(&mut io::stderr(), |dropped| {
                tracing::warn!(dropped, "standard error was not read in time: log lines were dropped");
            })
        })?;
    }
    Ok(())
}

/// Takes one whole line, at once.
pub fn push(line: String) {
    QUEUE.push(line);
}

/// How many lines were dropped since the start.
pub fn dropped() -> u64 {
    QUEUE.state().dropped
}

/// Waits until everything is written, or for `limit`: before the process ends.
pub fn flush(limit: Duration) {
    if STARTED.get().is_some() {
        QUEUE.flush(limit);
    }
}

// === impl Queue ===

impl Queue {
    fn push(&self, line: String) {
        let mut state = self.state();
        if state.bytes + line.len() > MAX_WAITING {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Writes for ever. `tell` logs that lines were dropped.
    fn write(&self, output: &mut impl Write, tell: impl Fn(u64)) {
        loop {
            let mut state = self.state();
            while state.lines.is_empty() {
                if state.dropped > state.told {
                    let more = state.dropped - state.told;
                    state.told = state.dropped;
                    drop(state);
                    tell(more);
                    state = self.state();
                    continue;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(line) = state.lines.pop_front() else { continue };
            state.bytes -= line.len();
            state.writing = true;
            drop(state);
            // With nowhere left to report to, a failure is ignored.
            let _ = output.write_all(line.as_bytes());
            self.state().writing = false;
            self.changed.notify_all();
        }
    }

    fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.state();
        while state.writing || !state.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every state in between is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn new() -> Self {
        Self { bytes: 0, dropped: 0, lines: VecDeque::new(), told: 0, writing: false }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, pipe},
        sync::Arc,
    };

    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue { state: Mutex::new(State::new()), changed: Condvar::new() })
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_what_is_lost_is_told() {
        let (mut reader, mut writer) = pipe().unwrap();
        let queue = queue();
        let (line, count) = (format!("{}\n", "x".repeat(999)), 1000);
        std::thread::spawn({
            let queue = queue.clone();
            move || {
                let tell = |dropped| queue.push(format!("{dropped} dropped\n"));
                queue.write(&mut writer, tell);
            }
        });
        // The pipe takes 64 KiB, the queue 256: much less than is pushed.
        for _ in 0..count {
            queue.push(line.clone());
        }
        queue.flush(Duration::from_millis(10));
        let dropped = queue.state().dropped;
        assert!(dropped > 500, "{dropped}");
        let mut text = vec![0; (count - usize::try_from(dropped).unwrap()) * line.len()];
        reader.read_exact(&mut text).unwrap();
        queue.flush(Duration::from_secs(60));
        let expect = format!("{dropped} dropped\n");
        let mut told = vec![0; expect.len()];
        reader.read_exact(&mut told).unwrap();
        assert_eq!(String::from_utf8(told).unwrap(), expect);
        assert_eq!(queue.state().bytes, 0);
    }
}
