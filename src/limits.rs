//! Limits of this process.

use std::thread::{Builder, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// The system starts no more threads.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error(
    "the system starts no more threads: raise what limits them (TasksMax of the unit, the pids limit of the container, ulimit -u)"
)]
pub struct SpawnError;

/// Starts a thread with this name and this many bytes of stack.
///
/// # Errors
///
/// When the system refuses.
pub fn start_thread<T: Send + 'static>(
    name: &str,
    stack: usize,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SpawnError> {
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(run).map_err(|_| SpawnError)
}

/// Starts and ends this many threads, to find out whether the system has them.
///
/// # Errors
///
/// When it refuses one of them.
pub fn try_threads(count: usize) -> Result<(), SpawnError> {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
    let start = |_| {
        let ended = ended.clone();
        start_thread("try", 64 * 1024, move || drop(ended.lock().map(|ended| ended.recv())))
    };
    let threads: Result<Vec<_>, _> = (0..count).map(start).collect();
    drop(end);
    threads?.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// The limit of open descriptors is below the minimum.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error(
    "the limit of open files is {0}, too low to listen and poll: raise it to {MIN_DESCRIPTORS} at least (LimitNOFILE= in a \
     systemd unit, ulimit -n)"
)]
pub struct TooFewDescriptors(u64);

/// For the program itself, some connections of clients, and some polls.
const MIN_DESCRIPTORS: u64 = 64;

/// Raises the limit of open descriptors.
///
/// # Errors
///
/// When it is too low: connections would stay unanswered.
pub fn check_descriptors() -> Result<(), TooFewDescriptors> {
    check(raise_descriptors())
}

fn check(limit: Option<u64>) -> Result<(), TooFewDescriptors> {
    limit.filter(|limit| *limit < MIN_DESCRIPTORS).map_or(Ok(()), |limit| Err(TooFewDescriptors(limit)))
}

/// Raises the soft limit of open descriptors to the hard one, as Go's runtime does: the soft limit of 1024 exists for
/// programs that use `select`, which this one does not. Returns the limit; `None` is unlimited.
pub fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // When refused, the soft limit stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// Prevents core dumps, which would contain credentials, and access to the memory by other processes of the same user
/// (`prctl(PR_SET_DUMPABLE)`).
pub fn forbid_dumps() {
    #[cfg(target_os = "linux")]
    // When refused, the setting of the system stays.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn no_picture_of_the_memory_is_left() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        forbid_dumps();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn too_few_descriptors_are_refused_with_the_number_that_is_enough() {
        for (limit, good) in [(Some(20), false), (Some(63), false), (Some(64), true), (None, true)] {
            assert_eq!(check(limit).is_ok(), good, "{limit:?}");
        }
        let words = TooFewDescriptors(24).to_string();
        assert!(
            words.contains("is 24") && words.contains("raise it to 64") && words.contains("LimitNOFILE="),
            "{words}"
        );
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_descriptors();
        assert_eq!(limit, getrlimit(Resource::Nofile).maximum);
    }
}
