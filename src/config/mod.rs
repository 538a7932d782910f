//! The configuration: YAML or flags -> settings of the components, or all mistakes at once.
//!
//! The only place that knows the YAML. `raw` is the file as written, `resolve` turns it into what the program runs on
//! (defaults, paths, every check), and the components own their settings' types, so YAML can change its shape without
//! touching them. Reading the file is the only IO; files named in it are opened by those who need them.

mod duration;
mod mistakes;
mod raw;
mod resolve;
mod url;
mod yaml;

use std::path::{Path, PathBuf};

use self::raw::{Raw, RawAuthorization, RawCluster, RawTls};
pub use self::{
    mistakes::{Mistake, Mistakes},
    yaml::read as read_yaml,
};
use crate::{
    file::{self, FileError},
    poll,
};

/// What the program runs on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// In the order of the file.
    pub clusters: Vec<poll::Settings>,
    /// What works but should not stay so.
    pub warnings: Vec<String>,
}

/// One cluster given by flags or environment variables, without a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SingleCluster {
    /// `--cluster.ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--cluster.name`; the host of the URL by default.
    pub name: Option<String>,
    /// `--cluster.pin-sha256`
    pub pin_sha256: Vec<String>,
    /// `--cluster.token-file`
    pub token_file: Option<PathBuf>,
    /// `--cluster.url`
    pub url: String,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flags have mistakes.
    #[error("{0}")]
    Flags(Mistakes),
    /// The file has mistakes.
    #[error("{}\n{mistakes}", path.display())]
    Mistakes {
        /// All of them.
        mistakes: Mistakes,
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error(
        "the configuration file {}: {reason}; name another one with --config.file, or watch a single \
         cluster with --cluster.url and --cluster.token-file",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not. Told in the message, so it is no source in the sense of `std::error::Error`.
        reason: FileError,
    },
}

/// Reads a configuration file.
///
/// # Errors
///
/// When it cannot be read or has mistakes: the first of syntax and types, else all.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    understand(path, &read_text(path)?)
}

/// The text of a configuration file.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    file::read_text(path, file::MAX_TEXT).map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })
}

/// Understands the text of the configuration file at `path`.
///
/// # Errors
///
/// When it has mistakes.
pub fn understand(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(text, folder).map_err(|mistakes| ConfigError::Mistakes { mistakes, path: path.to_owned() })
}

/// Understands the text of a configuration file whose relative paths start at `folder`.
///
/// # Errors
///
/// When it has mistakes.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Mistakes> {
    resolve::resolve(&yaml::read(text)?, folder)
}

/// Understands a duration as Prometheus writes it: `90s`, `1m30s`, `500ms`.
///
/// # Errors
///
/// When it is none: what to write instead.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text).ok_or_else(|| duration::WANTED.to_owned())
}

/// Understands the flags of a single cluster. Relative paths stay relative to the current folder.
///
/// # Errors
///
/// When they have mistakes, all of them.
pub fn single(cluster: &SingleCluster) -> Result<Config, ConfigError> {
    let host = || self::url::host(&cluster.url).unwrap_or_else(|| "cluster".to_owned());
    let tls = RawTls { ca_file: cluster.ca_file.clone(), pin_sha256: cluster.pin_sha256.clone(), ..RawTls::default() };
    let raw = RawCluster {
        name: cluster.name.clone().unwrap_or_else(host),
        url: cluster.url.clone(),
        authorization: Some(RawAuthorization {
            credentials_file: cluster.token_file.clone(),
            ..RawAuthorization::default()
        }),
        tls_config: (tls.ca_file.is_some() || !tls.pin_sha256.is_empty()).then_some(tls),
        ..RawCluster::default()
    };
    resolve::resolve(&Raw { clusters: vec![raw], ..Raw::default() }, Path::new(""))
        .map_err(|mistakes| ConfigError::Flags(mistakes.map_places(flag)))
}

/// The flag behind a key, with its environment variable.
fn flag(key: &str) -> String {
    let flag = match key.strip_prefix("clusters[0].").unwrap_or(key) {
        "name" => "--cluster.name (QUMULO_CLUSTER_NAME)",
        "authorization.credentials_file" => "--cluster.token-file (QUMULO_TOKEN_FILE)",
        "tls_config.ca_file" => "--cluster.ca-file (QUMULO_CA_FILE)",
        "url" | "tls_config" => "--cluster.url (QUMULO_URL)",
        pin if pin.starts_with("tls_config.pin_sha256") => "--cluster.pin-sha256 (QUMULO_PIN_SHA256)",
        other => other,
    };
    flag.to_owned()
}

#[cfg(test)]
mod tests;
