//! The status page: a report as HTML that works without a script, at any width, and on a screen reader. Pure.
//!
//! What clusters and the network said is text here and nothing else: maud escapes it, and characters that cannot be seen
//! or that turn the direction of writing are shown by their code.

mod cluster;
mod expiries;
pub mod runbooks;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::{ClusterReport, Report, Severity};

/// The stylesheet, for the hash in the Content-Security-Policy.
pub const STYLE: &str = include_str!("style.css");

/// A lock for the browser's tab, in the page itself: there is no further request.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 7h12v8H2z' \
                    fill='%230a58ca'/%3E%3Cpath d='M5 7V4a3 3 0 0 1 6 0v3' fill='none' stroke='%230a58ca' stroke-width='2'/%3E\
                    %3C/svg%3E";

/// Clusters on one page: a thousand would be slow to read for browsers and people.
const PER_PAGE: usize = 100;

/// What the reader wants to see: the page's query string.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// `page`, from 0.
    pub page: usize,
    /// `refresh`: after so many seconds the page is loaded anew, if the reader wants that.
    pub refresh: Option<u32>,
    /// `q`: a part of the name, in any case.
    pub search: String,
    /// `state`.
    pub state: Option<Severity>,
}

// === impl Selection ===

impl Selection {
    /// From the pairs of a query string. What is not understood is passed over.
    pub fn new<'a>(pairs: impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>) -> Self {
        let mut selection = Self::default();
        for (key, value) in pairs {
            match key.as_ref() {
                "state" => selection.state = Severity::from_label(&value).filter(|state| Severity::ALL.contains(state)),
                "refresh" => selection.refresh = value.parse().ok().filter(|seconds| (5..=3600).contains(seconds)),
                "q" => selection.search = value.into_owned(),
                // People count from 1.
                "page" => selection.page = value.parse::<usize>().unwrap_or(1).saturating_sub(1),
                _ => {}
            }
        }
        selection
    }

    /// Whether a cluster is wanted.
    pub fn admits(&self, cluster: &ClusterReport) -> bool {
        self.state.is_none_or(|state| cluster.severity() == state) && self.finds(cluster)
    }

    /// Whether the name is wanted.
    fn finds(&self, cluster: &ClusterReport) -> bool {
        cluster.name.to_lowercase().contains(&self.search.to_lowercase())
    }

    /// The link to another selection.
    fn link(&self, state: Option<Severity>, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(state) = state {
            query.append_pair("state", state.label());
        }
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if let Some(seconds) = self.refresh {
            query.append_pair("refresh", &seconds.to_string());
        }
        if page > 0 {
            query.append_pair("page", &(page + 1).to_string());
        }
        format!("?{}", query.finish())
    }
}

/// The exporter itself, as far as the page shows it.
#[derive(Clone, Copy, Debug)]
pub struct Exporter<'a> {
    /// Whether the configuration is in use as it is written.
    pub config_is_good: bool,
    /// The path of the metrics without its slash, so that links work behind any proxy.
    pub metrics: &'a str,
}

/// The page.
pub fn render(report: &Report, selection: &Selection, exporter: Exporter<'_>) -> String {
    let wanted: Vec<&ClusterReport> = report.clusters.iter().filter(|cluster| selection.admits(cluster)).collect();
    let shown: Vec<&ClusterReport> =
        wanted.iter().skip(selection.page.saturating_mul(PER_PAGE)).take(PER_PAGE).copied().collect();
    let body = html! {
        a.skip href="#clusters" { "To the clusters" }
        header {
            div.title {
                h1 { "Qumulo encryption" }
                p.soft { "As of " (instant(report.at)) ". " (refresh(selection)) }
            }
            @if !exporter.config_is_good {
                p.notice role="alert" {
                    strong { "The configuration, or a renewed certificate file, cannot be used." }
                    " The last good one stays; the log says what is wrong. "
                    a href="runbooks/QumuloEncryptionReloadFailed" { "Runbook" }
                }
            }
            (now(report))
            div.tools {
                nav aria-label="States" { (totals(report, selection)) }
                (search(selection))
            }
        }
        main #clusters tabindex="-1" {
            p role="status" { (summary(report, wanted.len(), shown.len(), selection)) }
            @if selection.search.is_empty() && selection.page == 0 { (expiries::picture(report)) }
            ul.clusters { @for each in &shown { li { (cluster::cluster(each, report.at, shown.len() == 1)) } } }
            (pages(wanted.len(), selection))
        }
        (footer(exporter.metrics))
    };
    document(&title(report), selection.refresh, &body)
}

/// A page around its body, loaded anew after so many seconds if that is wanted.
fn document(title: &str, refresh: Option<u32>, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href=(ICON);
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// What a tab shows: the worst first.
fn title(report: &Report) -> String {
    let bad: Vec<String> = [Severity::Critical, Severity::Unknown, Severity::Warning]
        .into_iter()
        .filter(|severity| report.count(*severity) > 0)
        .map(|severity| format!("{} {}", report.count(severity), severity.label()))
        .collect();
    let bad = if bad.is_empty() { "all good".to_owned() } else { bad.join(", ") };
    format!("{bad} - Qumulo encryption")
}

/// Over the clusters that the search finds.
fn totals(report: &Report, selection: &Selection) -> Markup {
    let found: Vec<Severity> =
        report.clusters.iter().filter(|cluster| selection.finds(cluster)).map(ClusterReport::severity).collect();
    let count = |state| found.iter().filter(|severity| **severity == state).count();
    html! {
        ul.totals {
            li {
                a href=(selection.link(None, 0)) aria-current=[selection.state.is_none().then_some("true")] {
                    strong { (found.len()) } "all"
                }
            }
            @for state in Severity::ALL {
                li.(state.label()) {
                    a href=(selection.link(Some(state), 0))
                        aria-current=[(selection.state == Some(state)).then_some("true")] {
                        strong.state { (count(state)) } (state.label())
                    }
                }
            }
        }
    }
}

fn search(selection: &Selection) -> Markup {
    html! {
        form method="get" role="search" {
            label { span.soft { "Cluster " } input type="search" name="q" value=(selection.search); }
            @if let Some(state) = selection.state { input type="hidden" name="state" value=(state.label()); }
            button { "Find" }
            @if *selection != Selection::default() { a href="?" { "Show all" } }
        }
    }
}

fn summary(report: &Report, wanted: usize, shown: usize, selection: &Selection) -> String {
    if report.clusters.is_empty() {
        return "No clusters are configured.".to_owned();
    }
    let from = selection.page.saturating_mul(PER_PAGE);
    match (wanted, shown) {
        (0, _) => "No cluster matches.".to_owned(),
        (_, 0) => "This page is beyond the last one; the first is behind \u{201c}Show all\u{201d}.".to_owned(),
        _ if shown < wanted => format!("Clusters {} to {} of {wanted}, worst first.", from + 1, from + shown),
        (1, _) => "1 cluster.".to_owned(),
        _ => format!("{wanted} clusters, worst first."),
    }
}

fn pages(wanted: usize, selection: &Selection) -> Markup {
    let pages = wanted.div_ceil(PER_PAGE);
    html! {
        @if pages > 1 {
            nav aria-label="Pages" {
                ul {
                    @for page in 0..pages {
                        li {
                            a href=(selection.link(selection.state, page))
                                aria-current=[(page == selection.page).then_some("page")] { "Page " (page + 1) }
                        }
                    }
                }
            }
        }
    }
}

/// What must not be done now, and where.
fn now(report: &Report) -> Markup {
    let at_stake: Vec<&ClusterReport> =
        report.clusters.iter().filter(|cluster| cluster.restart_forbidden_by().is_some()).collect();
    html! {
        @if !at_stake.is_empty() {
            section.now role="note" aria-labelledby="now" {
                h2 #now { "Do not reboot, upgrade or power-cycle nodes of" }
                ul { @for cluster in at_stake { li { a href=(link_to(&cluster.name)) { (cluster.name) } } } }
            }
        }
    }
}

fn refresh(selection: &Selection) -> Markup {
    let (text, seconds) = match selection.refresh {
        None => ("Refresh every 30 seconds", Some(30)),
        Some(_) => ("Stop refreshing", None),
    };
    html! { a href=(Selection { refresh: seconds, ..selection.clone() }.link(selection.state, selection.page)) { (text) } "." }
}

/// The permanent link to one cluster.
fn link_to(name: &str) -> String {
    query("q", name)
}

/// A query string of one pair.
fn query(key: &str, value: &str) -> String {
    format!("?{}", url::form_urlencoded::Serializer::new(String::new()).append_pair(key, value).finish())
}

fn instant(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M UTC")) } }
}

fn footer(metrics: &str) -> Markup {
    html! {
        footer {
            nav aria-label="Exporter" {
                ul {
                    li { a href=(metrics) { "Metrics" } }
                    li { a href="api/v1/clusters" { "JSON" } }
                    li { a href="runbooks/" { "Runbooks" } }
                    li { a href="sd" { "Service discovery" } }
                    li { a href="-/healthy" { "Healthy" } }
                    li { a href="-/ready" { "Ready" } }
                }
            }
            p.soft {
                "qumulo-encryption-exporter " (env!("CARGO_PKG_VERSION")) " (revision "
                (env!("QUMULO_ENCRYPTION_EXPORTER_REVISION")) ")"
            }
        }
    }
}

#[cfg(test)]
mod tests;
