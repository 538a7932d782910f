use std::sync::{Mutex, MutexGuard, PoisonError};

/// For what several polls share. A panic while the lock was held leaves a complete value behind.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
