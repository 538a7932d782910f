//! What Linux tells of this process.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::process::{LimitValue, Process as Proc};
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::catalog::PROCESS;

/// The values in the order of the catalog, each read on its own: a hardened service sees a part of `/proc` only.
pub fn read(started: Option<f64>) -> [Option<f64>; PROCESS.len()] {
    let me = Proc::myself().ok();
    let stat = me.as_ref().and_then(|me| me.stat().ok());
    let limits = me.as_ref().and_then(|me| me.limits().ok());
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value: LimitValue| match value {
        LimitValue::Value(value) => value as f64,
        // As client_golang tells "unlimited": the largest value of the kernel's type.
        LimitValue::Unlimited => u64::MAX as f64,
    };
    [
        stat.as_ref().map(|stat| (stat.utime + stat.stime) as f64 / ticks),
        limits.as_ref().map(|limits| limit(limits.max_open_files.soft_limit)),
        me.as_ref().and_then(|me| me.fd_count().ok()).map(|count| count as f64),
        stat.as_ref().map(|stat| (stat.rss * procfs::page_size()) as f64),
        started,
        stat.as_ref().map(|stat| stat.num_threads as f64),
        stat.as_ref().map(|stat| stat.vsize as f64),
        limits.as_ref().map(|limits| limit(limits.max_address_space.soft_limit)),
    ]
}

/// The clock less the process' own age, because `/proc/stat` with the time of the boot is hidden from a service with
/// `ProcSubset=pid`.
pub fn started() -> Option<f64> {
    let stat = Proc::myself().ok()?.stat().ok()?;
    let boot = clock_gettime(ClockId::Boottime);
    let up = boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9;
    let age = up - stat.starttime as f64 / procfs::ticks_per_second() as f64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    // The kernel counts in hundredths; more digits would be invented.
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
