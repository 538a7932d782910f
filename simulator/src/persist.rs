//! What a cluster keeps in a folder between two starts, so that a configuration that was made for it stays right: its port,
//! its certificate and the key.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::derived;
use super::spec::ClusterSpec;

/// Creates the folder, for its owner alone.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file of this cluster, `None` if it keeps nothing.
pub(super) fn file(spec: &ClusterSpec, extension: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let stem = if spec.name.len() <= 100 && spec.name.chars().all(is_plain) && !spec.name.starts_with('.') {
        spec.name.clone()
    } else {
        derived::hex("file", &spec.name)
    };
    Some(spec.folder.as_ref()?.join(format!("{stem}.{extension}")))
}

/// Writes a file for its owner alone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// The port of the last start.
pub(super) fn load_port(spec: &ClusterSpec) -> Option<u16> {
    fs::read_to_string(file(spec, "port")?).ok()?.trim().parse().ok()
}

pub(super) fn save_port(spec: &ClusterSpec, port: u16) -> io::Result<()> {
    file(spec, "port").map_or(Ok(()), |path| write(&path, &format!("{port}\n")))
}

/// Chain and key of the last start as one PEM, if they are what `spec` still wants.
pub(super) fn load_certificate(spec: &ClusterSpec, wanted: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    let text = fs::read_to_string(file(spec, "pem")?).ok()?;
    let until: i64 = text.lines().next()?.strip_prefix(&header(spec))?.parse().ok()?;
    (until > now.timestamp() || wanted <= now).then_some(text)
}

pub(super) fn save_certificate(spec: &ClusterSpec, until: DateTime<Utc>, pem: &str) -> io::Result<()> {
    let text = format!("{}{}\n{pem}", header(spec), until.timestamp());
    file(spec, "pem").map_or(Ok(()), |path| write(&path, &text))
}

/// The beginning of the first line, which is no part of the PEM.
fn header(spec: &ClusterSpec) -> String {
    let expiry = serde_json::Value::from(spec.certificate_expiry.as_str());
    format!("# certificate_expiry: {expiry}, certificate_is_ca: {}, until: ", spec.certificate_is_ca)
}
