//! The query string of the page.

use std::borrow::Cow;

use crate::report::{ClusterReport, Severity};

/// Default refresh interval of the overview, in seconds.
pub(super) const REFRESH: u32 = 60;

/// The parameters of the query string.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// `cluster`: the exact name. The view of one cluster does not refresh by default.
    pub cluster: Option<String>,
    /// `page`, counted from 0 here and from 1 in the query string.
    pub page: usize,
    /// `refresh`: interval in seconds; 0 disables it.
    pub refresh: Option<u32>,
    /// `q`: part of the name, ignoring case.
    pub search: String,
    pub state: Option<Severity>,
}

// === impl Selection ===

impl Selection {
    /// Ignores unknown keys and invalid values.
    pub fn new<'a>(pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let mut selection = Self::default();
        for (key, value) in pairs {
            match key.as_ref() {
                "cluster" => selection.cluster = Some(value.into_owned()),
                "state" => selection.state = Severity::from_label(&value).filter(|state| Severity::ALL.contains(state)),
                "refresh" => {
                    let seconds = value.parse().ok();
                    selection.refresh = seconds.filter(|seconds| *seconds == 0 || (5..=3600).contains(seconds));
                }
                "q" => selection.search = value.into_owned(),
                "page" => selection.page = value.parse::<usize>().unwrap_or(1).saturating_sub(1),
                _ => {}
            }
        }
        selection
    }

    /// Whether a cluster matches name, search and state.
    pub fn admits(&self, cluster: &ClusterReport) -> bool {
        self.state.is_none_or(|state| cluster.severity() == state) && self.matches_name(cluster)
    }

    /// Whether a cluster matches name and search.
    pub(super) fn matches_name(&self, cluster: &ClusterReport) -> bool {
        self.cluster.as_ref().is_none_or(|name| cluster.name == *name)
            && cluster.name.to_lowercase().contains(&self.search.to_lowercase())
    }

    /// Whether it differs from the overview's first page.
    pub(super) fn is_filtered(&self) -> bool {
        self.cluster.is_some() || self.page > 0 || !self.search.is_empty() || self.state.is_some()
    }

    /// `None` if the page does not refresh.
    pub(super) fn refresh_seconds(&self) -> Option<u32> {
        let default = if self.cluster.is_some() { 0 } else { REFRESH };
        Some(self.refresh.unwrap_or(default)).filter(|seconds| *seconds > 0)
    }

    /// The link to this selection with another state and page.
    pub(super) fn link(&self, state: Option<Severity>, page: usize) -> String {
        let parameters = [
            ("cluster", self.cluster.clone()),
            ("state", state.map(|state| state.label().to_owned())),
            ("q", Some(self.search.clone()).filter(|search| !search.is_empty())),
            ("refresh", self.refresh.map(|seconds| seconds.to_string())),
            ("page", (page > 0).then(|| (page + 1).to_string())),
        ];
        query_string(parameters.into_iter().filter_map(|(key, value)| Some((key, value?))))
    }
}

/// Permanent link to the view of one cluster.
pub(super) fn cluster_link(name: &str) -> String {
    query_string([("cluster", name)])
}

pub(super) fn query_string(parameters: impl IntoIterator<Item = (&'static str, impl AsRef<str>)>) -> String {
    format!("?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
}
