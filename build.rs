//! Tells the build information which source and which compiler made the binary.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    println!("cargo::rerun-if-env-changed=QUMULO_ENCRYPTION_EXPORTER_REVISION");
    // A package without a repository names its revision by the environment.
    let revision = env::var("QUMULO_ENCRYPTION_EXPORTER_REVISION").ok();
    let revision = revision.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=QUMULO_ENCRYPTION_EXPORTER_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    // `rustc 1.95.0 (59807616e 2026-03-21)`: the number is enough.
    let version = output(&rustc, &["--version"]).and_then(|line| line.split(' ').nth(1).map(str::to_owned));
    println!("cargo::rustc-env=QUMULO_ENCRYPTION_EXPORTER_RUSTC={}", version.as_deref().unwrap_or("unknown"));
}

/// The one line that a command prints, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
