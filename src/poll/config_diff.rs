//! Which polling tasks to start and stop when the configuration changes. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use super::ClusterSettings;
use crate::model::ClusterName;

/// The effect of a configuration change, in numbers of clusters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

/// The steps from the current clusters to those of the new configuration.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct ConfigDiff {
    pub(super) changes: Changes,
    /// Indices of the clusters in the new list whose metadata is to be set.
    pub(super) set_metadata: Vec<usize>,
    /// Indices of the clusters in the new list for which a task is to be started.
    pub(super) start: Vec<(usize, Start)>,
    pub(super) stop: Vec<ClusterName>,
}

/// Whether a started task keeps the known status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// A new cluster, or a different address under the same name.
    Fresh,
    /// The same cluster with other settings.
    Continuing,
}

/// A cluster is identified by its URL: with a different URL, the known status does not apply.
pub(super) fn diff(current: &BTreeMap<ClusterName, ClusterSettings>, next: &[ClusterSettings]) -> ConfigDiff {
    let mut diff = ConfigDiff::default();
    for (index, settings) in next.iter().enumerate() {
        match current.get(&settings.name) {
            None => {
                diff.changes.added += 1;
                diff.start.push((index, Start::Fresh));
                diff.set_metadata.push(index);
            }
            Some(before) if before == settings => diff.changes.unchanged += 1,
            Some(before) => {
                diff.changes.changed += 1;
                let start = if before.client.url == settings.client.url { Start::Continuing } else { Start::Fresh };
                // A change of metadata alone does not restart the task.
                let polled = (&before.client, before.interval, before.stale_after);
                if polled != (&settings.client, settings.interval, settings.stale_after) {
                    diff.start.push((index, start));
                }
                diff.set_metadata.push(index);
            }
        }
    }
    let names: HashSet<&ClusterName> = next.iter().map(|settings| &settings.name).collect();
    diff.stop = current.keys().filter(|name| !names.contains(name)).cloned().collect();
    diff.changes.removed = diff.stop.len();
    diff
}

// === impl Changes ===

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, changed, removed, unchanged } = self;
        write!(f, "added={added} changed={changed} removed={removed} unchanged={unchanged}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        client::{self, Credential, ProxySettings, SecretSource, TransportSettings},
        model::{ClusterMetadata, Labels},
        secret::Secret,
    };

    fn cluster(name: &str, url: &str, seconds: u64) -> ClusterSettings {
        let time = Duration::from_secs(seconds);
        ClusterSettings {
            client: client::ClientSettings {
                credential: Credential::Token(SecretSource::Fixed(Secret::new("token"))),
                kms_probe: None,
                transport: TransportSettings { connect_timeout: time, proxy: ProxySettings::Direct, tls: None },
                timeout: time,
                url: url.parse().unwrap(),
            },
            interval: time,
            metadata: ClusterMetadata::default(),
            name: ClusterName::new(name).unwrap(),
            stale_after: time,
        }
    }

    #[track_caller]
    fn check(current: &[ClusterSettings], next: &[ClusterSettings], start: &[(usize, Start)], stop: &[&str]) {
        let current: BTreeMap<_, _> = current.iter().map(|each| (each.name.clone(), each.clone())).collect();
        let diff = diff(&current, next);
        assert_eq!(diff.start, start);
        assert_eq!(diff.stop.iter().map(ClusterName::as_str).collect::<Vec<_>>(), stop);
        let Changes { added, changed, removed, unchanged } = diff.changes;
        assert_eq!((added + changed, removed), (diff.set_metadata.len(), stop.len()));
        let untouched = next.iter().filter(|each| current.get(&each.name) == Some(each)).count();
        assert_eq!(unchanged, untouched);
        assert_eq!((added + changed + unchanged, removed + changed + unchanged), (next.len(), current.len()));
    }

    #[test]
    fn only_what_differs_is_touched() {
        let (a, b) = (cluster("a", "http://[::1]:1", 9), cluster("b", "http://[::1]:2", 9));
        let slower = cluster("a", "http://[::1]:1", 10);
        let moved = cluster("a", "http://[::1]:3", 9);
        let labelled = ClusterSettings {
            metadata: ClusterMetadata {
                labels: Labels::new([("site", "berlin")]).unwrap(),
                ..ClusterMetadata::default()
            },
            ..a.clone()
        };
        check(&[], &[], &[], &[]);
        check(&[a.clone(), b.clone()], &[labelled, b.clone()], &[], &[]);
        check(&[], &[a.clone(), b.clone()], &[(0, Start::Fresh), (1, Start::Fresh)], &[]);
        check(&[a.clone(), b.clone()], &[b.clone(), a.clone()], &[], &[]);
        check(&[a.clone(), b.clone()], &[b.clone(), slower], &[(1, Start::Continuing)], &[]);
        check(&[a.clone(), b.clone()], &[b.clone(), moved], &[(1, Start::Fresh)], &[]);
        check(&[a.clone(), b.clone()], std::slice::from_ref(&b), &[], &["a"]);
        check(std::slice::from_ref(&a), &[b], &[(0, Start::Fresh)], &["a"]);
    }
}
