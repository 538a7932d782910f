use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::document::{Document, Position};
use crate::{model::ClusterName, secret::looks_like_secret};

/// All errors of a configuration, so that they can be fixed together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// An error or a warning.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigError {
    pub cluster: Option<String>,
    pub file: Option<PathBuf>,
    /// A key path such as `global.poll_interval`, or a flag. Empty if the error concerns the whole file or cluster.
    pub key: String,
    pub position: Option<Position>,
    /// The problem and its solution. Follows the key and a colon. Never contains a secret.
    pub problem: String,
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// `key` is a key path such as `clusters[0].url`.
    pub fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(ConfigError { key: key.into(), problem: problem.into(), ..ConfigError::default() });
    }

    pub fn push(&mut self, error: ConfigError) {
        self.0.push(error);
    }

    /// An error of a whole file.
    pub fn of_file(file: &Path, problem: impl Into<String>) -> Self {
        Self(vec![ConfigError { file: Some(file.to_owned()), problem: problem.into(), ..ConfigError::default() }])
    }

    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// `Ok(value)` if there are no errors, otherwise `Err(self)`.
    ///
    /// # Errors
    ///
    /// `self`, if not empty.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Replaces the keys, for example by command-line flags.
    pub fn map_keys(self, key: impl Fn(&str) -> String) -> Self {
        Self(self.0.into_iter().map(|error| ConfigError { key: key(&error.key), ..error }).collect())
    }

    /// Adds file, position and cluster, and sorts by position. Errors caused by another one are removed: a value of a wrong type
    /// would also be reported as missing.
    pub fn locate(mut self, file: &Path, document: &Document<'_>) -> Self {
        let wrong: Vec<String> =
            self.0.iter().filter(|each| each.position.is_some()).map(|each| each.key.clone()).collect();
        let within = |key: &str, outer: &str| {
            key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.retain(|each| each.position.is_some() || !wrong.iter().any(|outer| within(&each.key, outer)));
        for error in self.0.iter_mut().filter(|error| error.file.is_none()) {
            error.file = Some(file.to_owned());
            error.position = error.position.or_else(|| document.position(&error.key));
            let Some((item, rest)) = error.key.strip_prefix("clusters[").and_then(|rest| rest.split_once(']')) else {
                continue;
            };
            let name = document.scalar(&format!("clusters[{item}].name"));
            error.cluster =
                name.filter(|name| ClusterName::new(name).is_ok() && !looks_like_secret(name)).map(str::to_owned);
            error.key = rest.trim_start_matches('.').to_owned();
        }
        self.0.sort_by_key(|error| error.position);
        self
    }
}

/// `clusters.yml:12:5: cluster "prod-east": url: has no host`, as far as known.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(Position { line, column }) = self.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(cluster) = &self.cluster {
            write!(f, "cluster \"{cluster}\": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}
