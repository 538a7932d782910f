use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::document::{Document, Position};
use crate::{model::ClusterName, secret::looks_like_secret};

/// What is wrong with a configuration: all of it, to be mended in one go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One error, or something that works but should not stay so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigError {
    /// The name of the cluster that it is about.
    pub cluster: Option<String>,
    /// The file that it is in.
    pub file: Option<PathBuf>,
    /// A key path such as `global.poll_interval`, or a flag. Empty where it is about the whole file or cluster.
    pub key: String,
    /// Line and column.
    pub position: Option<Position>,
    /// What it is and what to write instead. Never a secret.
    pub problem: String,
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// Adds one, at a key path such as `clusters[0].url`.
    pub fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(ConfigError { key: key.into(), problem: problem.into(), ..ConfigError::default() });
    }

    /// Adds one that knows where it is.
    pub fn push(&mut self, error: ConfigError) {
        self.0.push(error);
    }

    /// One about a file as a whole.
    pub fn of_file(file: &Path, problem: impl Into<String>) -> Self {
        Self(vec![ConfigError { file: Some(file.to_owned()), problem: problem.into(), ..ConfigError::default() }])
    }

    /// Adds those of `more`.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// `value`, unless there are errors.
    ///
    /// # Errors
    ///
    /// The errors.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The same under other keys: keys of a file become flags.
    pub fn map_keys(self, key: impl Fn(&str) -> String) -> Self {
        Self(self.0.into_iter().map(|error| ConfigError { key: key(&error.key), ..error }).collect())
    }

    /// The errors of `document`, in its order, with file, line, column and cluster. Those that follow from another one
    /// (what has the wrong type also seems to be missing) are left out.
    pub fn locate(mut self, file: &Path, document: &Document) -> Self {
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
            let name = document.text(&format!("clusters[{item}].name"));
            error.cluster =
                name.filter(|name| ClusterName::new(name).is_ok() && !looks_like_secret(name)).map(str::to_owned);
            error.key = rest.trim_start_matches('.').to_owned();
        }
        self.0.sort_by_key(|error| error.position);
        self
    }
}

// === impl ConfigError ===

impl ConfigError {
    /// Where it is: `clusters.yml:12:5: cluster "prod-east": url`, as far as known.
    fn location(&self) -> String {
        let mut location = String::new();
        if let Some(file) = &self.file {
            location.push_str(&file.display().to_string());
            if let Some(Position { line, column }) = self.position {
                location.push_str(&format!(":{line}:{column}"));
            }
        }
        let cluster = self.cluster.iter().map(|cluster| format!("cluster \"{cluster}\""));
        let key = Some(self.key.clone()).filter(|key| !key.is_empty());
        for part in cluster.chain(key) {
            if !location.is_empty() {
                location.push_str(": ");
            }
            location.push_str(&part);
        }
        location
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location();
        if location.is_empty() { f.write_str(&self.problem) } else { write!(f, "{location}: {}", self.problem) }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
