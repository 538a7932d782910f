//! The status page: a report as HTML without scripts, for any screen width and for screen readers. Pure.
//!
//! Text from clusters and the network is escaped by maud; control characters and invisible characters are shown as escapes.

mod cluster;
mod expiries;
mod query;
pub mod runbooks;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::query::Selection;
use self::query::{REFRESH, cluster_link};
use crate::report::{ClusterReport, Finding, Report, Severity, visible};

/// The stylesheet, for the hash in the Content-Security-Policy.
pub const STYLE: &str = include_str!("style.css");

/// The favicon, embedded to avoid another request.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 7h12v8H2z' \
                    fill='%230a58ca'/%3E%3Cpath d='M5 7V4a3 3 0 0 1 6 0v3' fill='none' stroke='%230a58ca' stroke-width='2'/%3E\
                    %3C/svg%3E";

/// Clusters per page.
const PER_PAGE: usize = 100;

/// More good clusters than this are collapsed.
const MAX_GOOD_UNFOLDED: usize = 8;

/// The search box is shown for at least this many clusters.
const MIN_FOR_SEARCH: usize = 6;

/// Clusters that the warning lists by name.
const MAX_WARNED: usize = 12;

/// State of the exporter that the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Exporter<'a> {
    /// Whether the last reload succeeded.
    pub config_is_good: bool,
    /// Warnings about the configuration in use.
    pub config_warnings: &'a [String],
    /// Path of the metrics without the leading slash. Links are relative, so that they work behind any proxy.
    pub metrics: &'a str,
}

pub fn render(report: &Report, selection: &Selection, exporter: Exporter<'_>) -> String {
    let selected: Vec<&ClusterReport> = report.clusters.iter().filter(|cluster| selection.admits(cluster)).collect();
    let shown: Vec<&ClusterReport> =
        selected.iter().skip(selection.page.saturating_mul(PER_PAGE)).take(PER_PAGE).copied().collect();
    let warned: Vec<&ClusterReport> =
        report.clusters.iter().filter(|cluster| selection.cluster.is_none() || selection.admits(cluster)).collect();
    let overview = selection.cluster.is_none();
    let body = html! {
        a.skip href="#clusters" { "Skip to clusters" }
        header {
            div.title {
                h1 { "Qumulo encryption" }
                p.soft { "As of " (instant(report.at)) ". " (refresh(selection)) }
            }
            @if !exporter.config_is_good {
                p.notice role="alert" {
                    strong { "The configuration or a renewed certificate file is invalid." }
                    " The last valid one stays in use. See the log for the error. "
                    a href="runbooks/QumuloEncryptionReloadFailed" { "Runbook ReloadFailed" }
                }
            }
            (restart_warning(&warned))
            @if overview && !exporter.config_warnings.is_empty() {
                div.notice {
                    strong { "Warnings about the configuration:" }
                    ul { @for warning in exporter.config_warnings { li { (visible(warning)) } } }
                }
            }
            @if overview && report.clusters.len() > 1 {
                div.tools {
                    nav aria-label="States" { (totals(report, selection)) }
                    @if report.clusters.len() >= MIN_FOR_SEARCH || !selection.search.is_empty() { (search(selection)) }
                }
            }
        }
        main #clusters tabindex="-1" {
            p role="status" { (summary(report, selected.len(), shown.len(), selection)) }
            @if !overview { p { a href="./" { "All clusters" } } }
            (clusters(&shown, report, selection))
            (pages(selected.len(), selection))
            @if overview && selection.page == 0 { (expiries::table(&selected, report.at)) }
        }
        (footer(exporter.metrics))
    };
    document(&title(report, selection), selection.refresh_seconds(), &body)
}

/// The clusters of one page. Many good clusters are collapsed.
fn clusters(shown: &[&ClusterReport], report: &Report, selection: &Selection) -> Markup {
    let list = |clusters: &[&ClusterReport]| {
        html! { ul.clusters { @for each in clusters { li { (cluster::cluster(each, report.at, shown.len() == 1)) } } } }
    };
    let good = shown.iter().filter(|cluster| cluster.severity() == Severity::Good).count();
    // Sorted worst first, so the good ones are last.
    let (bad, rest) = shown.split_at(shown.len() - good);
    html! {
        @if good <= MAX_GOOD_UNFOLDED || selection.is_filtered() {
            (list(shown))
        } @else {
            @if !bad.is_empty() { (list(bad)) }
            details.fold { summary { span.state.good { (good) " good clusters" } } (list(rest)) }
        }
    }
}

/// `refresh` is the interval of the automatic reload, in seconds.
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

/// The title starts with the state, so that it is visible in a browser tab.
fn title(report: &Report, selection: &Selection) -> String {
    if let Some(name) = &selection.cluster {
        let cluster = report.clusters.iter().find(|cluster| cluster.name == *name);
        let state = cluster.map_or("not configured", |cluster| cluster.severity().label());
        return format!("{state} - {name} - Qumulo encryption");
    }
    let bad: Vec<String> = [Severity::Critical, Severity::Unknown, Severity::Warning]
        .into_iter()
        .filter(|severity| report.count(*severity) > 0)
        .map(|severity| format!("{} {}", report.count(severity), severity.label()))
        .collect();
    let bad = if bad.is_empty() { "all good".to_owned() } else { bad.join(", ") };
    format!("{bad} - Qumulo encryption")
}

/// Number of clusters by state, among those that match the search.
fn totals(report: &Report, selection: &Selection) -> Markup {
    let found: Vec<Severity> =
        report.clusters.iter().filter(|cluster| selection.matches_name(cluster)).map(ClusterReport::severity).collect();
    let count = |state| found.iter().filter(|severity| **severity == state).count();
    html! {
        ul.totals {
            li {
                a href=(selection.link(None, 0)) aria-current=[selection.state.is_none().then_some("true")] {
                    strong { (found.len()) } " all"
                }
            }
            @for state in Severity::ALL {
                @let colour = if count(state) > 0 { state.label() } else { "none" };
                li.(colour) {
                    a href=(selection.link(Some(state), 0))
                        aria-current=[(selection.state == Some(state)).then_some("true")] {
                        strong.state { (count(state)) } " " (state.label())
                    }
                }
            }
        }
    }
}

fn search(selection: &Selection) -> Markup {
    html! {
        form method="get" role="search" {
            label { span.soft { "Name " } input type="search" name="q" value=(selection.search); }
            @if let Some(state) = selection.state { input type="hidden" name="state" value=(state.label()); }
            @if let Some(seconds) = selection.refresh { input type="hidden" name="refresh" value=(seconds); }
            button { "Find clusters" }
            @if selection.is_filtered() { a href="./" { "Show all clusters" } }
        }
    }
}

fn summary(report: &Report, selected: usize, shown: usize, selection: &Selection) -> String {
    let all = report.clusters.len();
    if all == 0 {
        return "No clusters are configured.".to_owned();
    }
    if let (Some(name), 0) = (&selection.cluster, selected) {
        return format!("Cluster {} is not configured.", visible(name));
    }
    let from = selection.page.saturating_mul(PER_PAGE);
    let well = !selection.is_filtered() && report.count(Severity::Good) == all;
    match (selected, shown) {
        (1, _) if selection.cluster.is_some() => "Only this cluster is shown.".to_owned(),
        (0, _) => "No cluster matches.".to_owned(),
        (_, 0) => "This page does not exist.".to_owned(),
        (1, _) if well => "The cluster is good.".to_owned(),
        _ if well && shown == all => format!("All {all} clusters are good."),
        _ if shown < selected => format!("Clusters {} to {} of {selected}, worst first.", from + 1, from + shown),
        (1, _) => "1 cluster.".to_owned(),
        _ => format!("{selected} clusters, worst first."),
    }
}

fn pages(selected: usize, selection: &Selection) -> Markup {
    let pages = selected.div_ceil(PER_PAGE);
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

/// The clusters whose nodes must not be restarted, with the reason. Clusters whose status is not known come last.
fn restart_warning(clusters: &[&ClusterReport]) -> Markup {
    let forbidding = clusters.iter().filter_map(|cluster| Some((*cluster, cluster.restart_forbidden_by()?)));
    let (endangered, not_known): (Vec<_>, Vec<_>) = forbidding.partition(|(_, finding)| finding.kind.endangers_data());
    let all = endangered.len() + not_known.len();
    html! {
        @if all > 0 {
            section.warning-box.(if endangered.is_empty() { "unknown" } else { "critical" }) role="note" aria-labelledby="warning" {
                h2 #warning {
                    "Do not reboot, upgrade or power-cycle nodes of "
                    @match (all, endangered.first().or(not_known.first())) {
                        (1, Some((cluster, _))) => (cluster.name),
                        _ => "these clusters",
                    }
                }
                @if !endangered.is_empty() {
                    ul { @for (cluster, finding) in endangered.iter().take(MAX_WARNED) { li { (reason(cluster, finding)) } } }
                    @if endangered.len() > MAX_WARNED { p { "And of " (endangered.len() - MAX_WARNED) " more clusters, listed below." } }
                }
                @if !not_known.is_empty() {
                    p {
                        "The status is not known: "
                        @for (index, (cluster, finding)) in not_known.iter().take(MAX_WARNED).enumerate() {
                            @if index > 0 { ", " }
                            a href=(cluster_link(&cluster.name)) { (cluster.name) }
                            " (" a href=(runbook(finding)) { (runbook_name(finding)) } ")"
                        }
                        @if not_known.len() > MAX_WARNED { " and " (not_known.len() - MAX_WARNED) " more" }
                        "."
                    }
                }
            }
        }
    }
}

fn reason(cluster: &ClusterReport, finding: &Finding) -> Markup {
    html! {
        a href=(cluster_link(&cluster.name)) { (cluster.name) } ": " (visible(&finding.text))
        @if let Some(since) = finding.since { ", since " (instant(since)) }
        ". " a href=(runbook(finding)) { (runbook_name(finding)) }
    }
}

fn runbook(finding: &Finding) -> String {
    format!("runbooks/{}", finding.kind.alert())
}

/// Name of the runbook without the prefix that all alerts have.
fn runbook_name(finding: &Finding) -> String {
    format!("Runbook {}", finding.kind.alert().trim_start_matches("QumuloEncryption"))
}

fn refresh(selection: &Selection) -> Markup {
    html! {
        @if selection.cluster.is_none() {
            @match selection.refresh_seconds() {
                Some(seconds) => {
                    "Refreshes every " (crate::report::format_duration(seconds.into()).trim_start_matches("1 ")) ". "
                    a href=(Selection { refresh: Some(0), ..selection.clone() }.link(selection.state, selection.page)) {
                        "Stop refreshing"
                    }
                }
                None => a href=(Selection { refresh: None, ..selection.clone() }.link(selection.state, selection.page)) {
                    "Refresh every " (REFRESH) " seconds"
                },
            }
        }
    }
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
                    li { a href="runbooks/" { "All runbooks" } }
                    li { a href="sd" { "Service discovery for Prometheus" } }
                    li { a href="-/healthy" { "Health of the exporter" } }
                    li { a href="-/ready" { "Readiness of the exporter" } }
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
