//! Runs blocking work outside the async threads: file access, name resolution, password hashes.
//!
//! Each kind of work has its own [`KeyedBlockingPool`], so that one kind cannot occupy the threads of another. Within a pool, work
//! with the same key (a directory, a host) runs sequentially: a hanging file system or name server occupies one thread per
//! key and does not delay other keys. Callers set their own timeout; a thread stays occupied until its work ends.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

#[derive(Debug)]
pub struct KeyedBlockingPool {
    /// A semaphore with one permit for each key with running or waiting work.
    keys: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
    threads: Arc<Semaphore>,
}

// === impl KeyedBlockingPool ===

impl KeyedBlockingPool {
    /// Uses at most `threads` threads at the same time.
    pub fn new(threads: usize) -> Self {
        Self { keys: Mutex::default(), threads: Arc::new(Semaphore::new(threads)) }
    }

    /// Runs `work` on another thread, after earlier work with the same key. Cancel-safe: work that has started continues, work
    /// that has not is discarded. `None` if it panicked or the runtime shuts down.
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

    /// Whether work with this key is running.
    pub fn is_busy(&self, key: &str) -> bool {
        let keys = lock(&self.keys);
        keys.get(key).is_some_and(|turns| turns.available_permits() == 0)
    }

    pub fn free(&self) -> usize {
        self.threads.available_permits()
    }

    async fn turn(&self, key: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut keys = lock(&self.keys);
            match keys.get(key) {
                Some(turns) => Arc::clone(turns),
                None => {
                    // Running and waiting work holds a second reference.
                    keys.retain(|_, turns| Arc::strong_count(turns) > 1);
                    Arc::clone(keys.entry(key.into()).or_insert_with(|| Arc::new(Semaphore::new(1))))
                }
            }
        };
        turns.acquire_owned().await.ok()
    }
}

/// The key of a file: its folder, because a file system hangs as a whole.
pub fn folder_key(path: &Path) -> String {
    path.parent().unwrap_or(path).to_string_lossy().into_owned()
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
        assert_eq!(pool.run("fast", || 3).await, Some(3), "waiting for a key occupies no thread");
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
