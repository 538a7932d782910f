//! Several clusters, described in YAML.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::spec::ClusterSpec;

/// A fleet: what a fleet file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    /// The clusters, with unique names.
    pub clusters: Vec<ClusterSpec>,
}

/// Why a fleet cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The text is not the YAML of a fleet. The message names line and column.
    #[error("{0}")]
    Syntax(String),
    /// A cluster has no name. Counted from 1.
    #[error("cluster number {0} has no name")]
    NoName(usize),
    /// Two clusters have the same name.
    #[error("two clusters are called `{0}`")]
    DuplicateName(String),
    /// Two clusters want the same address.
    #[error("cluster `{0}` wants the address of another")]
    DuplicateAddress(String),
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// The folder for what stays between two starts cannot be used.
    #[error("{}: cannot be written ({source}); name a folder with --directory", path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A cluster cannot be started.
    #[error("cannot start cluster `{name}`: {source}")]
    Start {
        /// The cluster.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

impl FleetSpec {
    /// The YAML of the demonstration fleet, with comments: a file to copy and edit.
    pub const DEMO: &str = include_str!("demo.yml");

    /// Reads the YAML of a fleet.
    ///
    /// # Errors
    ///
    /// [`FleetError::Syntax`] with line and column for what is not YAML, unknown keys and wrong
    /// types; names and addresses that are missing or not unique.
    pub fn parse(yaml: &str) -> Result<FleetSpec, FleetError> {
        // Without the excerpt of the file: fleet files hold tokens and end up in logs.
        let options = serde_saphyr::options! { with_snippet: false };
        let fleet: FleetSpec = serde_saphyr::from_str_with_options(yaml, options)
            .map_err(|error| FleetError::Syntax(error.to_string()))?;
        fleet.check()?;
        Ok(fleet)
    }

    /// The demonstration fleet: every kind of state once.
    pub fn demo() -> FleetSpec {
        // The text is part of the program and a test reads it; no fleet is the only sane rest.
        FleetSpec::parse(FleetSpec::DEMO).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), FleetError> {
        let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
        for (index, cluster) in self.clusters.iter().enumerate() {
            if cluster.name.is_empty() {
                return Err(FleetError::NoName(index + 1));
            }
            if !names.insert(&cluster.name) {
                return Err(FleetError::DuplicateName(cluster.name.clone()));
            }
            if cluster.port != 0 && !addresses.insert((cluster.host, cluster.port)) {
                return Err(FleetError::DuplicateAddress(cluster.name.clone()));
            }
        }
        Ok(())
    }
}
