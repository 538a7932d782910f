//! A server in a separate process, with its CPU time and memory.

use std::{
    ffi::OsStr,
    fs, io,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts a program on a free port and waits until it listens.
    pub async fn start(program: impl AsRef<OsStr>, arguments: impl FnOnce(u16) -> Vec<String>) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .args(arguments(port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, port };
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        Err(io::Error::other("does not listen"))
    }

    /// CPU time of all threads.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// The value of `RssAnon`, `VmRSS` or `VmHWM`, in megabytes.
    pub fn memory_mb(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
