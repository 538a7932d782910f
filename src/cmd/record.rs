//! The file of `status --record`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::bail;

use crate::recording::Recording;

/// Refuses a path that exists: the file may be the only recording of its kind.
pub fn check(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!("{}: already exists; remove it, or choose another file for --record", path.display());
    }
    Ok(())
}

/// Creates the file, readable by its owner only, and summarises it on standard error.
pub fn write(path: &Path, recording: &Recording) -> anyhow::Result<()> {
    check(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        // Half a recording would be in the way of the next attempt.
        file.write_all(recording.text.as_bytes()).inspect_err(|_| drop(fs::remove_file(path)))
    });
    if let Err(err) = written {
        let problem = match err.kind() {
            io::ErrorKind::NotFound => "its directory does not exist; create it".to_owned(),
            kind => kind.to_string(),
        };
        bail!("{}: cannot be written: {problem}", path.display());
    }
    let replaced: Vec<String> =
        recording.replaced.iter().map(|(kind, count)| format!("{} ({count})", kind.label())).collect();
    let replaced = if replaced.is_empty() { "nothing".to_owned() } else { replaced.join(", ") };
    let _ = writeln!(
        io::stderr(),
        "{}: the responses of the clusters, and the findings of the exporter.\nReplaced by placeholders: {replaced}.\nLeft out: \
         tokens, passwords, session tokens, bodies that are not JSON, and the text of {} strings.\nRead the file before you \
         share it.",
        path.display(),
        recording.strings
    );
    Ok(())
}
