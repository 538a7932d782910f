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

use crate::limits::{self, SpawnError};

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
    /// Lines that found no room, or could not be written.
    dropped: u64,
    /// Whether the last line could not be written. Then nothing is told: it could not be written either.
    failing: bool,
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
pub fn start() -> Result<(), SpawnError> {
    if STARTED.set(()).is_ok() {
        limits::start_thread("log", STACK, || {
            QUEUE.write(&mut io::stderr(), |dropped| {
                tracing::warn!(
                    dropped,
                    "standard error could not be written or was not read in time: log lines were dropped"
                );
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
                if state.dropped > state.told && !state.failing {
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
            let failed = output.write_all(line.as_bytes()).is_err();
            let mut state = self.state();
            state.dropped += u64::from(failed);
            (state.failing, state.writing) = (failed, false);
            drop(state);
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
        Self { bytes: 0, dropped: 0, failing: false, lines: VecDeque::new(), told: 0, writing: false }
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

    /// A disk that is full for the first lines.
    struct Full(usize, Vec<u8>);

    impl Write for Full {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if self.0 > 0 {
                self.0 -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            assert_ne!(line, b"end\n", "the thread ends");
            self.1.write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_once_there_is_room() {
        let queue = queue();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            queue.push(line.to_owned());
        }
        let writer = std::thread::spawn({
            let queue = queue.clone();
            move || {
                let mut full = Full(2, Vec::new());
                let tell = |dropped| {
                    queue.push(format!("{dropped} dropped\n"));
                    queue.push("end\n".to_owned());
                };
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.write(&mut full, tell)));
                assert!(ended.is_err());
                String::from_utf8(full.1).unwrap()
            }
        });
        assert_eq!(writer.join().unwrap(), "three\nfour\n2 dropped\n");
        assert_eq!(queue.state().dropped, 2);
    }
}
