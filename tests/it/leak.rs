//! Planted secrets, and a watch over everything that is printed.

use std::{
    fmt::Debug,
    sync::{Mutex, Once},
    time::SystemTime,
};

use qumulo_encryption_exporter::logging::{
    layer::{LineSink, LogLayer},
    options::{LogFormat, LogLevel},
};
use tracing_subscriber::layer::SubscriberExt;

/// The access token of every cluster.
pub const TOKEN: &str = "access-v1:hunter2token==";

/// The password of every cluster's user.
pub const PASSWORD: &str = "the \"hunter2\" password";

/// The password of the proxy.
pub const PROXY_PASSWORD: &str = "proxy-hunter2";

/// What every planted secret holds, the same in base64 at each of its three alignments, what every session's token
/// begins with, and what every private key does.
const NEEDLES: [&str; 6] = ["hunter2", "aHVudGVy", "bnRlcj", "dW50ZXIy", "session-v1:", "PRIVATE KEY"];

/// Every log line of the process.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl LineSink for Lines {
    fn write(&self, line: String) {
        LINES.lock().unwrap().push(line);
    }
}

/// Whether a text shows a planted secret.
pub fn shows_secret(text: &str) -> bool {
    NEEDLES.iter().any(|needle| text.contains(needle))
}

/// Collects the process's log lines from here on, all levels.
pub fn collect_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let layer = LogLayer::new(LogLevel::Debug, LogFormat::Logfmt, Lines, SystemTime::now);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    });
}

/// The log lines so far that hold `text`.
pub fn logged(text: &str) -> Vec<String> {
    LINES.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
}

/// Fails if `printable` or any log line shows a secret.
#[track_caller]
pub fn check(printable: &impl Debug) {
    for text in [format!("{printable:?}"), format!("{printable:#?}")] {
        assert!(!shows_secret(&text), "a secret shows in {text}");
    }
    let lines = LINES.lock().unwrap().clone();
    assert!(!lines.iter().any(|line| shows_secret(line)), "a secret shows in {lines:#?}");
}
