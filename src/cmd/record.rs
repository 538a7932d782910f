//! `status --record`: what the clusters answered, in a file to attach to a report.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::bail;

use crate::recording::Recording;

/// An existing file stays as it is: it may be the only recording of what it holds.
pub fn check(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!("{}: exists already; remove it, or give --record another name", path.display());
    }
    Ok(())
}

/// Writes a new file, for its owner alone, and says on standard error what is in it.
pub fn write(path: &Path, recording: &Recording) -> anyhow::Result<()> {
    check(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(recording.text.as_bytes()));
    if let Err(err) = written {
        let words = match err.kind() {
            io::ErrorKind::NotFound => "its folder does not exist".to_owned(),
            kind => kind.to_string(),
        };
        bail!("{}: cannot be written: {words}", path.display());
    }
    let replaced = recording.replaced.iter().map(|(kind, count)| format!("{} ({count})", kind.label()));
    let replaced: Vec<String> = replaced.collect();
    let replaced = if replaced.is_empty() { "nothing".to_owned() } else { replaced.join(", ") };
    let _ = writeln!(
        io::stderr(),
        "{}: written, with what the clusters answered and what was made of it.\nReplaced by placeholders: {replaced}.\nLeft \
         out: tokens, passwords, session tokens, bodies that are not JSON, and the text of {} strings.\nRead it before you \
         share it.",
        path.display(),
        recording.strings
    );
    Ok(())
}
