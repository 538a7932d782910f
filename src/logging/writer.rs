//! The thread that writes the log, so that logging never waits for the reader of standard error.
//!
//! Standard error is often a pipe, and a pipe that nobody reads accepts 64 KiB and then blocks. Lines go into a bounded
//! queue. Lines that do not fit are dropped and counted, and a line reports them once the queue is empty again.
//!
//! `tracing_appender::non_blocking` has such a queue, but panics when its thread cannot start, ignores writes that fail, and
//! can only be flushed once, for up to a second.

use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::limits::{self, SpawnError};

/// How many lines wait at most. The queue itself takes 32 KiB, and 200 KiB more when it is full of lines of usual length; text
/// from outside is cut to 200 characters ([`crate::model::ForeignText`]).
const MAX_WAITING: usize = 1024;

/// A longer wait would only help if standard error is not read.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Enough for a write and a formatted line.
const STACK: usize = 64 * 1024;

/// The counts of this process.
static COUNTS: Counts = Counts::new();

#[derive(Debug)]
struct Counts {
    /// Lines that found no room or could not be written.
    dropped: AtomicU64,
    /// Lines in the queue and the one that is being written.
    waiting: AtomicU64,
}

/// Puts each line that is written to it into the queue.
#[derive(Clone, Debug)]
pub struct QueueWriter {
    counts: &'static Counts,
    lines: SyncSender<Vec<u8>>,
}

/// Starts the thread.
///
/// # Errors
///
/// When the system refuses it: nothing would ever be written.
pub fn start() -> Result<QueueWriter, SpawnError> {
    let (lines, queue) = sync_channel(MAX_WAITING);
    limits::start_thread("log", STACK, || {
        COUNTS.write(queue, io::stderr(), |dropped| {
            tracing::warn!(
                dropped,
                "standard error could not be written or was not read in time: log lines were dropped"
            );
        });
    })?;
    Ok(QueueWriter { counts: &COUNTS, lines })
}

/// How many lines were dropped since the start.
pub fn dropped() -> u64 {
    COUNTS.dropped.load(SeqCst)
}

/// Waits until every line is written, for 100 ms at most. Call it before the process ends.
pub fn flush() {
    COUNTS.flush(FLUSH_TIMEOUT);
}

// === impl Counts ===

impl Counts {
    const fn new() -> Self {
        Self { dropped: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    /// Writes the lines of `queue` until it is closed. `report` logs how many more were dropped.
    fn write(&self, queue: Receiver<Vec<u8>>, mut output: impl Write, report: impl Fn(u64)) {
        let mut reported = 0;
        for line in queue {
            let failed = output.write_all(&line).is_err();
            self.dropped.fetch_add(failed.into(), SeqCst);
            let is_last = self.waiting.fetch_sub(1, SeqCst) == 1;
            let dropped = self.dropped.load(SeqCst);
            // After a line that could not be written, the report could not be written either.
            if is_last && !failed && dropped > reported {
                report(dropped - reported);
                reported = dropped;
            }
        }
    }

    fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.waiting.load(SeqCst) > 0 && Instant::now() < end {
            sleep(Duration::from_millis(1));
        }
    }
}

// === impl QueueWriter ===

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.counts.waiting.fetch_add(1, SeqCst);
        if self.lines.try_send(line.to_vec()).is_err() {
            self.counts.dropped.fetch_add(1, SeqCst);
            self.counts.waiting.fetch_sub(1, SeqCst);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

    fn queue() -> (QueueWriter, Receiver<Vec<u8>>) {
        let (lines, queue) = sync_channel(MAX_WAITING);
        (QueueWriter { counts: Box::leak(Box::new(Counts::new())), lines }, queue)
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_what_is_lost_is_reported() {
        let (mut reader, output) = pipe().unwrap();
        let (mut writer, queue) = queue();
        let (line, count) = (format!("{}\n", "x".repeat(999)), 2 * MAX_WAITING);
        std::thread::spawn({
            let writer = writer.clone();
            let counts = writer.counts;
            let report = move |dropped| writer.clone().write_all(format!("{dropped} dropped\n").as_bytes()).unwrap();
            move || counts.write(queue, output, report)
        });
        // The pipe takes 64 lines.
        for _ in 0..count {
            writer.write_all(line.as_bytes()).unwrap();
        }
        writer.counts.flush(Duration::from_millis(10));
        let dropped = writer.counts.dropped.load(SeqCst);
        assert!(dropped > MAX_WAITING as u64 / 2, "{dropped}");
        let mut text = vec![0; (count - usize::try_from(dropped).unwrap()) * line.len()];
        reader.read_exact(&mut text).unwrap();
        let expect = format!("{dropped} dropped\n");
        let mut reported = vec![0; expect.len()];
        reader.read_exact(&mut reported).unwrap();
        assert_eq!(String::from_utf8(reported).unwrap(), expect);
        writer.counts.flush(Duration::from_secs(60));
        assert_eq!(writer.counts.waiting.load(SeqCst), 0);
    }

    /// A disk that is full for the first lines.
    struct Full(usize, Vec<u8>);

    impl Write for &mut Full {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if self.0 > 0 {
                self.0 -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1.write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_once_there_is_room() {
        let (mut writer, queue) = queue();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        let (mut full, counts) = (Full(2, Vec::new()), writer.counts);
        // The queue is closed with the report.
        let writer = std::cell::Cell::new(Some(writer));
        let report = |dropped| writer.take().unwrap().write_all(format!("{dropped} dropped\n").as_bytes()).unwrap();
        counts.write(queue, &mut full, report);
        assert_eq!(String::from_utf8(full.1).unwrap(), "three\nfour\n2 dropped\n");
        assert_eq!(counts.dropped.load(SeqCst), 2);
    }
}
