//! Tells the build information which source and which compiler made the binary.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    println!("cargo::rerun-if-env-changed=QUMULO_ENCRYPTION_EXPORTER_REVISION");
    if env::var_os("QUMULO_ENCRYPTION_EXPORTER_REVISION").is_none()
        && let Some(revision) = output("git", &["rev-parse", "--short=12", "HEAD"])
    {
        println!("cargo::rustc-env=QUMULO_ENCRYPTION_EXPORTER_REVISION={revision}");
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    // `rustc 1.95.0 (59807616e 2026-03-21)`: the number is enough.
    if let Some(version) = output(&rustc, &["--version"]).and_then(|line| line.split(' ').nth(1).map(str::to_owned)) {
        println!("cargo::rustc-env=QUMULO_ENCRYPTION_EXPORTER_RUSTC={version}");
    }
}

/// The one line that a command prints, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
