//! Running clusters, and the file that they follow.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cluster::SimCluster,
    folder,
    spec::{ClusterSpec, FleetSpec},
};

/// How often the file is checked for changes.
const PERIOD: Duration = Duration::from_millis(250);

/// Running clusters, in the order of their description. Dropping it stops them.
#[derive(Default)]
pub struct Fleet {
    clusters: Vec<SimCluster>,
    folder: Option<PathBuf>,
}

/// Names of the clusters that [`Fleet::apply`] started, changed and stopped.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Changes {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The folder or a file in it cannot be written.
    #[error("{0}")]
    Folder(io::Error),
    /// Not a valid fleet file or recording.
    #[error("{0}")]
    Invalid(String),
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    // The field is not called `source`, because anyhow would print it a second time.
    #[error("cannot start cluster `{name}`: {cause}")]
    Start { name: String, cause: io::Error },
}

/// Reads a text file. The error says why that is not possible.
pub type ReadText = fn(&Path) -> Result<String, String>;

/// A fleet file, and its text when it was last read.
#[derive(Debug)]
pub struct FleetFile {
    path: PathBuf,
    read: ReadText,
    text: String,
}

// === impl Fleet ===

impl Fleet {
    /// Starts the clusters. If one of them cannot be started, all are stopped.
    pub async fn start(spec: FleetSpec) -> Result<Self, FleetError> {
        let mut fleet = Self::default();
        fleet.apply(spec).await?;
        Ok(fleet)
    }

    /// Starts the clusters with the ports and certificates of the previous start, which are saved in `folder`.
    pub async fn start_in(folder: &Path, spec: FleetSpec) -> Result<Self, FleetError> {
        folder::create(folder).map_err(FleetError::Folder)?;
        let mut fleet = Self { clusters: Vec::new(), folder: Some(folder.to_owned()) };
        fleet.apply(spec).await?;
        Ok(fleet)
    }

    /// Writes the access token or password of each cluster to a file in the folder. Without a folder, nothing is written.
    pub fn write_credentials(&self) -> Result<Vec<(&SimCluster, PathBuf)>, FleetError> {
        let mut files = Vec::with_capacity(self.clusters.len());
        for cluster in &self.clusters {
            let spec = cluster.spec();
            let (extension, secret) =
                if spec.auth.login { ("password", spec.auth.password.clone()) } else { ("token", spec.token()) };
            if let Some(path) = folder::file(&spec, extension) {
                folder::write(&path, &(secret + "\n")).map_err(FleetError::Folder)?;
                files.push((cluster, path));
            }
        }
        Ok(files)
    }

    /// Starts, changes and stops clusters by their names. A cluster whose host or port changes is restarted. If a cluster cannot
    /// be started, the rest is applied, and the first error is returned.
    pub(crate) async fn apply(&mut self, spec: FleetSpec) -> Result<Changes, FleetError> {
        let names: HashSet<&str> = spec.clusters.iter().map(|cluster| &*cluster.name).collect();
        // First, because another cluster can need the port.
        let removed = self.clusters.extract_if(.., |cluster| !names.contains(cluster.name()));
        let removed = removed.map(|cluster| cluster.name().to_owned()).collect();
        let mut changes = Changes { removed, ..Changes::default() };
        let mut result = Ok(());
        for next in spec.clusters {
            let name = next.name.clone();
            if let Err(cause) = self.apply_cluster(next, &mut changes).await {
                result = result.and(Err(FleetError::Start { name, cause }));
            }
        }
        result.map(|()| changes)
    }

    async fn apply_cluster(&mut self, mut next: ClusterSpec, changes: &mut Changes) -> io::Result<()> {
        next.folder.clone_from(&self.folder);
        let name = next.name.clone();
        match self.clusters.iter_mut().find(|cluster| cluster.name() == name) {
            None => {
                self.clusters.push(SimCluster::start(next).await?);
                changes.added.push(name);
            }
            Some(cluster) => {
                let current = cluster.spec();
                if current == next {
                    return Ok(());
                }
                if (current.host, current.port) == (next.host, next.port) {
                    cluster.set(next);
                } else {
                    *cluster = SimCluster::start(next).await?;
                }
                changes.changed.push(name);
            }
        }
        Ok(())
    }

    pub fn cluster(&self, name: &str) -> Option<&SimCluster> {
        self.iter().find(|cluster| cluster.name() == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &SimCluster> {
        self.clusters.iter()
    }
}

// === impl FleetFile ===

impl FleetFile {
    /// Reads and parses a fleet file.
    pub fn open(path: &Path, read: ReadText) -> Result<(Self, FleetSpec), FleetError> {
        let text = read(path).map_err(FleetError::Read)?;
        let spec = FleetSpec::parse(&text)?;
        Ok((Self { path: path.to_owned(), read, text }, spec))
    }

    /// Applies the file if its text has changed. If it cannot be read or is invalid, the fleet does not change. Each text is
    /// applied once.
    pub(crate) async fn refresh(&mut self, fleet: &mut Fleet) -> Result<Option<Changes>, FleetError> {
        let text = (self.read)(&self.path).map_err(FleetError::Read)?;
        if text == self.text {
            return Ok(None);
        }
        self.text = text;
        fleet.apply(FleetSpec::parse(&self.text)?).await.map(Some)
    }

    /// Waits for a change of the file that is applied to `fleet`, at least partly. Logs changes and errors. Cancel safe.
    pub async fn changed(&mut self, fleet: &mut Fleet) {
        let mut is_unreadable = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            let result = self.refresh(fleet).await;
            let was_unreadable = std::mem::replace(&mut is_unreadable, matches!(result, Err(FleetError::Read(_))));
            match result {
                Ok(None) => {}
                Ok(Some(Changes { added, changed, removed })) => {
                    let [added, changed, removed] = [added, changed, removed].map(|names| names.join(", "));
                    tracing::info!(added, changed, removed, "simulated fleet changed");
                    return;
                }
                // Reported once: editors replace files, and a file can be missing for a while.
                Err(FleetError::Read(_)) if was_unreadable => {}
                Err(err) => {
                    tracing::warn!(file = %self.path.display(), %err, "fleet file not applied");
                    if matches!(err, FleetError::Start { .. }) {
                        return;
                    }
                }
            }
        }
    }
}
