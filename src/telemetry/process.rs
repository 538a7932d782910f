//! The standard process metrics, from `/proc/self`.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::process::{LimitValue, Limits, Process, Stat};
use rustix::time::{ClockId, clock_gettime};

use super::PullCollector;
use crate::metrics::catalog::PROCESS;

/// Reads `/proc` at each scrape, which takes about 0.1 ms.
///
/// # Errors
///
/// When the catalog has an error.
pub fn collector() -> prometheus::Result<PullCollector> {
    // Computed once, because the last digit would vary between scrapes.
    let started = started();
    PullCollector::new(PROCESS.to_vec(), move || read(started).to_vec())
}

/// The values in the order of the catalog, each read on its own: a hardened service sees only a part of `/proc`.
fn read(started: Option<f64>) -> [Option<f64>; PROCESS.len()] {
    let process = Process::myself().ok();
    let stat = process.as_ref().and_then(|process| process.stat().ok());
    let limits = process.as_ref().and_then(|process| process.limits().ok());
    let stat = |value: fn(&Stat) -> f64| stat.as_ref().map(value);
    let limit = |value: fn(&Limits) -> LimitValue| match value(limits.as_ref()?) {
        LimitValue::Value(value) => Some(value as f64),
        // As in client_golang: the largest value of the kernel's type.
        LimitValue::Unlimited => Some(u64::MAX as f64),
    };
    [
        stat(|stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64),
        limit(|limits| limits.max_open_files.soft_limit),
        process.as_ref().and_then(|process| process.fd_count().ok()).map(|count| count as f64),
        stat(|stat| (stat.rss * procfs::page_size()) as f64),
        started,
        stat(|stat| stat.num_threads as f64),
        stat(|stat| stat.vsize as f64),
        limit(|limits| limits.max_address_space.soft_limit),
    ]
}

/// When this process started, in Unix seconds: the clock minus the age of the process, because `/proc/stat` with the time of
/// the boot is hidden from a service with `ProcSubset=pid`.
fn started() -> Option<f64> {
    let stat = Process::myself().ok()?.stat().ok()?;
    let boot = clock_gettime(ClockId::Boottime);
    let up = boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9;
    let age = up - stat.starttime as f64 / procfs::ticks_per_second() as f64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    // The resolution of the kernel is a hundredth of a second.
    Some(((now - age) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_sensible_numbers() {
        let [cpu, max_fds, fds, rss, start, threads, virtual_memory, _] = read(started()).map(Option::unwrap);
        assert!(cpu >= 0.0 && (1.0..max_fds).contains(&fds) && threads >= 1.0);
        assert!(rss > 1e5 && rss < virtual_memory);
        let now = crate::clock::now().unix_seconds();
        assert!(start > now - 1e6 && start <= now + 1.0, "{start} {now}");
    }
}
