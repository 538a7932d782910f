//! gzip for answers, with compressors that are used again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

/// Measured on the text of 12 and of 1000 clusters: level 1 compresses to 11 % at 520 MB/s; 2 to 8 % at 340 MB/s; 6 to
/// 7 % at 150 MB/s. A scrape goes over a local network, where the third saved by level 2 is worth less than the time.
const LEVEL: u32 = 1;

/// Base-2 logarithm of the window in bytes: deflate's largest.
const WINDOW_BITS: u8 = 15;

/// Compressors kept between requests. Scrapers rarely come more than two at a time, and one weighs some 300 KiB.
const MAX_IDLE: usize = 2;

/// The largest output buffer kept, in bytes: the answer about a thousand clusters. Larger ones are rare, so that
/// allocating them anew costs less than keeping them.
const MAX_SCRATCH: usize = 256 * 1024;

/// Free space, in bytes, to go on compressing with.
const MIN_SPARE: usize = 4 * 1024;

/// Compresses bodies; allocating and clearing a compressor would take longer than compressing a usual answer does.
#[derive(Debug)]
pub struct Gzip {
    level: Compression,
    // A blocking mutex: held to push or pop only, not while compressing.
    idle: Mutex<Vec<Worker>>,
}

#[derive(Debug)]
struct Worker {
    compress: Compress,
    scratch: Vec<u8>,
}

/// A gzip member that is being written.
#[derive(Debug)]
pub struct Member<'a> {
    gzip: &'a Gzip,
    outcome: Result<(), CompressError>,
    worker: Worker,
}

// === impl Gzip ===

impl Gzip {
    /// Compresses at `level`, 1 (fast) to 9 (small).
    pub fn new(level: u32) -> Self {
        Self { level: Compression::new(level.clamp(1, 9)), idle: Mutex::default() }
    }

    /// `body` as one gzip member.
    ///
    /// # Errors
    ///
    /// What the compressor says; it has no reason to refuse any input.
    pub fn compress(&self, body: &[u8]) -> Result<Bytes, CompressError> {
        let mut member = self.begin();
        member.write(body);
        member.finish()
    }

    /// A gzip member whose content comes in pieces.
    pub fn begin(&self) -> Member<'_> {
        let mut worker = self.idle().pop().unwrap_or_else(|| Worker::new(self.level));
        worker.compress.reset();
        worker.scratch.clear();
        Member { gzip: self, outcome: Ok(()), worker }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        // Nothing panics while holding it, and a list of workers is always valid.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new(LEVEL)
    }
}

// === impl Worker ===

impl Worker {
    fn new(level: Compression) -> Self {
        Self { compress: Compress::new_gzip(level, WINDOW_BITS), scratch: Vec::new() }
    }

    fn compress(&mut self, piece: &[u8], flush: FlushCompress) -> Result<(), CompressError> {
        let mut rest = piece;
        loop {
            // What metrics compress to, roughly. `reserve` doubles, which keeps the number of rounds small.
            self.scratch.reserve(rest.len() / 8 + MIN_SPARE);
            let before = self.compress.total_in();
            let status = self.compress.compress_vec(rest, &mut self.scratch, flush)?;
            // Never more than `rest` is long, so that neither fallback is reached.
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            let ended = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => rest.is_empty(),
            };
            if ended {
                return Ok(());
            }
        }
    }
}

// === impl Member ===

impl Member<'_> {
    /// Compresses a piece.
    pub fn write(&mut self, piece: &[u8]) {
        if self.outcome.is_ok() {
            self.outcome = self.worker.compress(piece, FlushCompress::None);
        }
    }

    /// The member; its compressor can be used again.
    ///
    /// # Errors
    ///
    /// What the compressor says; it has no reason to refuse any input.
    pub fn finish(self) -> Result<Bytes, CompressError> {
        let Self { gzip, outcome, mut worker } = self;
        outcome.and_then(|()| worker.compress(&[], FlushCompress::Finish))?;
        let compressed = Bytes::copy_from_slice(&worker.scratch);
        worker.scratch.clear();
        worker.scratch.shrink_to(MAX_SCRATCH);
        let mut idle = gzip.idle();
        if idle.len() < MAX_IDLE {
            idle.push(worker);
        }
        Ok(compressed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn decompress(compressed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(compressed).read_to_end(&mut plain).unwrap();
        plain
    }

    /// Bytes that do not compress, by a xorshift.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .take(len)
        .collect()
    }

    proptest! {
        #[test]
        fn decompresses_to_the_input_again_and_again(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..5),
            level in 1_u32..=9,
        ) {
            let gzip = Gzip::new(level);
            for body in bodies {
                prop_assert_eq!(decompress(&gzip.compress(&body).unwrap()), body);
            }
        }
    }

    #[test]
    fn large_bodies_leave_no_large_buffer_behind() {
        let gzip = Gzip::default();
        for body in [noise(3 * MAX_SCRATCH), b"small".to_vec(), vec![b'a'; 5_000_000]] {
            assert_eq!(decompress(&gzip.compress(&body).unwrap()), body);
            assert!(gzip.idle()[0].scratch.capacity() <= MAX_SCRATCH);
        }
        assert_eq!(gzip.idle().len(), 1, "the same worker did all three");
    }

    #[test]
    fn few_workers_are_kept() {
        let gzip = Gzip::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(decompress(&gzip.compress(&noise(100_000)).unwrap()), noise(100_000)));
            }
        });
        assert!(gzip.idle().len() <= MAX_IDLE);
    }
}
