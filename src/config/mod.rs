//! The configuration: turns YAML files or flags into the settings of the clusters, or returns all errors.
//!
//! Only this module knows the YAML format. `document` parses a file and validates it against its JSON Schema; `raw` has the types
//! that are deserialized from the valid part; `resolve` adds defaults, resolves paths and checks the values. The settings are
//! types of the components that use them. The only IO is reading the configuration files; credential and certificate files are
//! opened by the client.

mod document;
mod duration;
mod errors;
mod files;
mod hints;
mod raw;
mod resolve;
mod schedule;
#[cfg(test)]
mod schema;
mod tls_and_proxy;
mod url;

use std::path::{Path, PathBuf};

pub use self::{
    document::{Document, Position},
    duration::parse as duration,
    errors::{ConfigError, ConfigErrors},
    files::{SourceFile, Sources, read},
};
use self::{
    raw::{OneOrMore, Raw, RawAuthorization, RawCluster, RawClusterFile, RawShared, RawTls},
    resolve::{Names, Section, Shared},
};
use crate::poll;

/// JSON Schema of the configuration file.
const SCHEMA: &str = include_str!("../../deploy/config.schema.json");

/// JSON Schema of the files in `cluster_files`.
const CLUSTER_FILE_SCHEMA: &str = include_str!("../../deploy/cluster-file.schema.json");

/// Key paths of the configuration file and their descriptions, for the manual.
pub fn keys() -> Vec<(String, String)> {
    document::keys(SCHEMA)
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// In the order of the files.
    pub clusters: Vec<poll::ClusterSettings>,
    /// File, position and name of each cluster, as an error without a problem.
    origins: Vec<ConfigError>,
    pub warnings: ConfigErrors,
}

/// A cluster set by flags or environment variables, without a configuration file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SingleCluster {
    /// `--cluster.ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--cluster.name`. Default: the host of the URL.
    pub name: Option<String>,
    /// `--cluster.pin-sha256`
    pub pin_sha256: Vec<String>,
    /// `--cluster.token-file`
    pub token_file: Option<PathBuf>,
    /// `--cluster.url`
    pub url: String,
}

// === impl Config ===

impl Config {
    /// An error of the cluster with this index.
    pub fn error(&self, index: usize, problem: impl Into<String>) -> ConfigError {
        ConfigError { problem: problem.into(), ..self.origins.get(index).cloned().unwrap_or_default() }
    }
}

/// Reads and parses a configuration file and its `cluster_files`.
///
/// # Errors
///
/// As [`read`] and [`parse`].
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    parse(&read(path)?)
}

/// Parses a configuration file, the first of `sources`, and its `cluster_files`.
///
/// # Errors
///
/// All errors.
pub fn parse(sources: &Sources) -> Result<Config, ConfigErrors> {
    let (mut config, mut errors, mut names, mut global) =
        (Config::default(), ConfigErrors::default(), Names::default(), Shared::default());
    for (index, SourceFile { path, text }) in sources.files.iter().enumerate() {
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                errors.push(ConfigError { file: Some(path.clone()), ..error });
                continue;
            }
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut own, mut warnings) = (ConfigErrors::default(), ConfigErrors::default());
        let clusters = if index == 0 {
            let raw: Raw = document.read(SCHEMA, &mut own);
            if raw.clusters.is_none() && raw.cluster_files.is_none() {
                own.add("clusters", "is missing; set a list of clusters with `name` and `url`, or `[]` for none");
            }
            let mut section = Section { folder, key: "global".to_owned(), errors: &mut own, warnings: &mut warnings };
            global = section.global(&raw.global.unwrap_or_default());
            for index in &sources.unmatched {
                warnings.add(
                    format!("cluster_files[{index}]"),
                    "matches no file; check the pattern and the folder's permissions",
                );
            }
            raw.clusters
        } else {
            document.read::<RawClusterFile>(CLUSTER_FILE_SCHEMA, &mut own).clusters
        };
        for (index, raw) in clusters.iter().flatten().enumerate() {
            let key = format!("clusters[{index}]");
            let position = document.position(&key);
            let line = position.map(|position| position.line).unwrap_or_default();
            // How the error of another cluster refers to this one.
            let description = format!("the cluster at {}:{line}", path.file_name().unwrap_or_default().display());
            let mut section = Section { folder, key, errors: &mut own, warnings: &mut warnings };
            if let Some(settings) = section.cluster(raw, &global, &mut names, description) {
                let (cluster, file) = (Some(settings.name.as_str().to_owned()), Some(path.clone()));
                config.origins.push(ConfigError { cluster, file, position, ..ConfigError::default() });
                config.clusters.push(settings);
            }
        }
        errors.extend(own.locate(path, &document));
        config.warnings.extend(warnings.locate(path, &document));
    }
    if let Some(SourceFile { path, .. }) = sources.files.first()
        && config.clusters.is_empty()
    {
        config.warnings.extend(ConfigErrors::of_file(path, "has no clusters, so nothing is monitored"));
    }
    errors.or(config)
}

/// Checks the flags of a single cluster. Relative paths are relative to the working directory.
///
/// # Errors
///
/// All errors.
pub fn single(cluster: &SingleCluster) -> Result<Config, ConfigErrors> {
    let host = || self::url::host(&cluster.url).unwrap_or_else(|| "cluster".to_owned());
    let pins = cluster.pin_sha256.clone();
    let tls = RawTls {
        ca_file: cluster.ca_file.clone(),
        pin_sha256: (!pins.is_empty()).then_some(OneOrMore::More(pins)),
        ..RawTls::default()
    };
    let shared = RawShared {
        authorization: Some(RawAuthorization {
            credentials_file: cluster.token_file.clone(),
            ..RawAuthorization::default()
        }),
        tls_config: (tls.ca_file.is_some() || tls.pin_sha256.is_some()).then_some(tls),
        ..RawShared::default()
    };
    let raw = RawCluster {
        name: Some(cluster.name.clone().unwrap_or_else(host)),
        url: Some(cluster.url.clone()),
        shared,
        ..RawCluster::default()
    };
    let (mut errors, mut warnings) = (ConfigErrors::default(), ConfigErrors::default());
    let mut section =
        Section { folder: Path::new(""), key: "flags".to_owned(), errors: &mut errors, warnings: &mut warnings };
    let global = section.global(&RawShared::default());
    let settings = section.cluster(&raw, &global, &mut Names::default(), String::new());
    let config = Config { clusters: settings.into_iter().collect(), origins: vec![ConfigError::default()], warnings };
    errors.map_keys(flag).or(config)
}

/// The flag and environment variable of a key.
fn flag(key: &str) -> String {
    let flag = match key.strip_prefix("flags.").unwrap_or(key) {
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
