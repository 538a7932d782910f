//! The folder where clusters save what must not change at the next start: port, certificate and credentials.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::spec::{ClusterSpec, derive_hex};

/// Creates the folder, accessible only to its owner.
pub fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|err| unwritable(folder, &err))
}

/// The path of a file of this cluster, `None` if it does not save anything.
pub fn file(spec: &ClusterSpec, extension: &str) -> Option<PathBuf> {
    let name = &spec.name;
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_file_name = name.len() <= 100 && name.chars().all(is_safe) && !name.starts_with('.');
    let stem = if is_file_name { name } else { &derive_hex("file", name) };
    Some(spec.folder.as_ref()?.join(format!("{stem}.{extension}")))
}

/// Writes a file that only its owner can read.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|err| unwritable(path, &err))
}

fn unwritable(path: &Path, err: &io::Error) -> io::Error {
    let message = format!("{}: cannot be written ({err}); name a folder with --directory", path.display());
    io::Error::new(err.kind(), message)
}
