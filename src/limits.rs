//! Limits of this process.

use std::thread::{Builder, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// The system starts no more threads.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error(
    "the system starts no more threads: raise what limits them (TasksMax of the unit, the pids limit of the container, ulimit -u)"
)]
pub struct NoThread;

/// Starts a thread with this name and this many bytes of stack.
///
/// # Errors
///
/// When the system refuses.
pub fn start_thread<T: Send + 'static>(
    name: &str,
    stack: usize,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(run).map_err(|_| NoThread)
}

/// Raises the soft limit of open descriptors to the hard one, as Go's runtime does: the soft limit of 1024 exists for
/// programs that use `select`, which this one does not. Says what the limit is then; `None` is no limit.
pub fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the soft limit as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// Leaves no picture of the memory, which holds credentials, when the process dies, and lets no other process of its user
/// look into it (`prctl(PR_SET_DUMPABLE)`).
pub fn forbid_dumps() {
    #[cfg(target_os = "linux")]
    // A refusal leaves what the system is set up for.
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
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_descriptors();
        assert_eq!(limit, getrlimit(Resource::Nofile).maximum);
    }
}
