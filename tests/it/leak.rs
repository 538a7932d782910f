//! Planted secrets, and a search for them in everything that is printed.

use std::{
    fmt::Debug,
    io::{self, Write},
    sync::{Mutex, Once},
    time::SystemTime,
};

use qumulo_encryption_exporter::logging::{
    self,
    options::{LogFormat, LogLevel},
};

/// The access token of every cluster.
pub const TOKEN: &str = "access-v1:hunter2token==";

/// The password of every cluster's user.
pub const PASSWORD: &str = "the \"hunter2\" password";

/// The password of the proxy.
pub const PROXY_PASSWORD: &str = "proxy-hunter2";

/// Parts of every planted secret, also in base64 at each of the three alignments, and the beginning of every session token and
/// private key.
const NEEDLES: [&str; 6] = ["hunter2", "aHVudGVy", "bnRlcj", "dW50ZXIy", "session-v1:", "PRIVATE KEY"];

/// Every log line of the process.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a text contains a planted secret.
pub fn shows_secret(text: &str) -> bool {
    NEEDLES.iter().any(|needle| text.contains(needle))
}

/// Collects the log lines of the process at all levels.
pub fn collect_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = logging::subscriber(LogLevel::Debug, LogFormat::Logfmt, SystemTime::now, || Lines);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The log lines that contain `text`.
pub fn logged(text: &str) -> Vec<String> {
    LINES.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
}

/// Panics if `printable` or any log line contains a secret.
#[track_caller]
pub fn check(printable: &impl Debug) {
    for text in [format!("{printable:?}"), format!("{printable:#?}")] {
        assert!(!shows_secret(&text), "a secret shows in {text}");
    }
    let lines = LINES.lock().unwrap().clone();
    assert!(!lines.iter().any(|line| shows_secret(line)), "a secret shows in {lines:#?}");
}
