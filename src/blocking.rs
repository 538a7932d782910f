//! Work that can hang, kept off the async threads: files, name resolution, password hashes.
//!
//! Each kind of work has a [`KeyedBlockingPool`] of its own, so that one kind cannot use up the threads of another. Within a kind, work
//! of the same key (a folder, a host) runs one after the other: a file system or a name server that hangs holds one thread
//! for each key, and delays nobody else. How long to wait is for whoever asks; the thread stays occupied until the work
//! ends, and counts against the bound until then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// The threads for one kind of work.
#[derive(Debug)]
pub struct KeyedBlockingPool {
    /// One permit for each key with work under way or waiting.
    keys: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
    threads: Arc<Semaphore>,
}

// === impl KeyedBlockingPool ===

impl KeyedBlockingPool {
    /// At most `threads` at once.
    pub fn new(threads: usize) -> Self {
        Self { keys: Mutex::default(), threads: Arc::new(Semaphore::new(threads)) }
    }

    /// Runs `work` on another thread, after other work of the same key. Can be dropped at any time: work that has begun
    /// goes on, and other work has no effect. `None` if it panicked, or if the runtime is ending.
    pub async fn run<T: Send + 'static>(&self, key: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = self.turn(key).await?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop((turn, thread));
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Whether there is work of this key.
    pub fn is_busy(&self, key: &str) -> bool {
        let keys = lock(&self.keys);
        keys.get(key).is_some_and(|turns| turns.available_permits() == 0)
    }

    /// How many threads are free.
    pub fn free(&self) -> usize {
        self.threads.available_permits()
    }

    async fn turn(&self, key: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut keys = lock(&self.keys);
            match keys.get(key) {
                Some(turns) => Arc::clone(turns),
                None => {
                    // Whoever waits or works holds a second reference.
                    keys.retain(|_, turns| Arc::strong_count(turns) > 1);
                    Arc::clone(keys.entry(key.into()).or_insert_with(|| Arc::new(Semaphore::new(1))))
                }
            }
        };
        turns.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_delays_its_own_key_only() {
        let pool = Arc::new(KeyedBlockingPool::new(2));
        let (release, gate) = mpsc::channel::<()>();
        let hanging = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run("slow", move || gate.recv().is_ok()).await }
        });
        while pool.free() == 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run("fast", || 1).await, Some(1));
        let waiting = pool.run("slow", || 2);
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_millis(10), &mut waiting).await.is_err());
        assert_eq!(pool.run("fast", || 3).await, Some(3), "whoever waits for a key holds no thread");
        release.send(()).unwrap();
        assert_eq!(waiting.await, Some(2));
        assert_eq!(hanging.await.unwrap(), Some(true));
    }

    #[tokio::test]
    async fn a_key_without_work_is_forgotten_and_a_panic_frees_its_thread() {
        let pool = KeyedBlockingPool::new(1);
        for key in ["a", "b", "c"] {
            assert_eq!(pool.run(key, || panic!("as a test")).await, None::<()>);
        }
        assert_eq!(pool.run("d", || 1).await, Some(1));
        assert_eq!((pool.keys.lock().unwrap().len(), pool.free()), (1, 1));
    }
}
