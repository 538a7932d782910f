//! Several running clusters.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::cluster::SimCluster;
use super::fleet_spec::{FleetError, FleetSpec};
use super::persist;
use super::spec::ClusterSpec;

/// Running clusters, in the order of their description. Dropping it stops them all.
#[derive(Debug)]
pub struct Fleet {
    /// Where the clusters keep what stays between two starts, if anything does.
    folder: Option<PathBuf>,
    members: Vec<Member>,
}

/// What [`Fleet::apply`] did, as names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Clusters started.
    pub added: Vec<String>,
    /// Clusters that behave differently now.
    pub changed: Vec<String>,
    /// Clusters stopped.
    pub removed: Vec<String>,
}

#[derive(Debug)]
struct Member {
    cluster: SimCluster,
    /// The description last asked for. Not what the cluster says: a test may have changed that.
    wanted: ClusterSpec,
}

impl Fleet {
    /// Starts every cluster of a fleet.
    ///
    /// # Errors
    ///
    /// [`FleetError::Start`] for the first cluster that cannot be started; the others stop again.
    pub async fn start(spec: FleetSpec) -> Result<Fleet, FleetError> {
        let mut fleet = Fleet { folder: None, members: Vec::with_capacity(spec.clusters.len()) };
        fleet.apply(spec).await?;
        Ok(fleet)
    }

    /// The same with ports and certificates that are kept in a folder for the next start.
    ///
    /// # Errors
    ///
    /// As [`Fleet::start`], and [`FleetError::Folder`].
    pub async fn start_in(folder: &Path, spec: FleetSpec) -> Result<Fleet, FleetError> {
        let no_folder = |source| FleetError::Folder { path: folder.to_owned(), source };
        persist::create_folder(folder).map_err(no_folder)?;
        let mut fleet = Fleet { folder: Some(folder.to_owned()), members: Vec::new() };
        fleet.apply(spec).await?;
        Ok(fleet)
    }

    /// Writes the access token or the password of each cluster into a file of the folder, and tells which is whose.
    ///
    /// # Errors
    ///
    /// [`FleetError::Folder`] when one cannot be written.
    pub fn write_credentials(&self) -> Result<Vec<(&SimCluster, PathBuf)>, FleetError> {
        let mut files = Vec::with_capacity(self.members.len());
        for cluster in self.iter() {
            let spec = cluster.spec();
            let (extension, secret) =
                if spec.auth.login { ("password", spec.auth.password.clone()) } else { ("token", spec.token()) };
            let Some(path) = persist::file(&spec, extension) else { continue };
            let written = persist::write(&path, &(secret + "\n"));
            written.map_err(|source| FleetError::Folder { path: path.clone(), source })?;
            files.push((cluster, path));
        }
        Ok(files)
    }

    /// Makes the fleet what `spec` says, by the clusters' names: starts, changes and stops
    /// clusters, and leaves alone those whose description is the same. A cluster that has to
    /// listen elsewhere is started anew.
    ///
    /// # Errors
    ///
    /// [`FleetError::Start`] for the first cluster that cannot be started; the rest is done.
    pub async fn apply(&mut self, spec: FleetSpec) -> Result<Changes, FleetError> {
        let mut changes = Changes::default();
        self.remove_all_but(&spec, &mut changes);
        let mut first_error = None;
        for mut wanted in spec.clusters {
            wanted.folder = self.folder.clone();
            if let Err(error) = self.apply_one(wanted, &mut changes).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(changes), Err)
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&SimCluster> {
        self.iter().find(|cluster| cluster.name() == name)
    }

    /// All clusters.
    pub fn iter(&self) -> impl Iterator<Item = &SimCluster> {
        self.members.iter().map(|member| &member.cluster)
    }

    /// Stops what `spec` does not name. First of all, because its port may be wanted.
    fn remove_all_but(&mut self, spec: &FleetSpec, changes: &mut Changes) {
        let names: HashSet<_> = spec.clusters.iter().map(|cluster| &cluster.name).collect();
        self.members.retain(|member| {
            let stays = names.contains(&member.wanted.name);
            if !stays {
                changes.removed.push(member.wanted.name.clone());
            }
            stays
        });
    }

    async fn apply_one(&mut self, wanted: ClusterSpec, changes: &mut Changes) -> Result<(), FleetError> {
        let index = self.members.iter().position(|member| member.wanted.name == wanted.name);
        let Some(member) = index.and_then(|index| self.members.get_mut(index)) else {
            self.members.push(Member::start(wanted.clone()).await?);
            changes.added.push(wanted.name);
            return Ok(());
        };
        if member.wanted == wanted {
            return Ok(());
        }
        if (member.wanted.host, member.wanted.port) == (wanted.host, wanted.port) {
            member.cluster.set(wanted.clone());
            member.wanted = wanted.clone();
        } else {
            *member = Member::start(wanted.clone()).await?;
        }
        changes.changed.push(wanted.name);
        Ok(())
    }
}

impl Member {
    async fn start(wanted: ClusterSpec) -> Result<Member, FleetError> {
        match SimCluster::start(wanted.clone()).await {
            Ok(cluster) => Ok(Member { cluster, wanted }),
            Err(source) => Err(FleetError::Start { name: wanted.name, source }),
        }
    }
}
