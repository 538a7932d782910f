//! The status page: a report as HTML that works without a script, at any width, and on a screen reader. Pure.
//!
//! What clusters and the network said is text here and nothing else: maud escapes it, and characters that cannot be seen
//! or that turn the direction of writing are shown by their code.

pub mod runbooks;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    model::{DateField, KmsCertificate},
    report::{Certificate, ClusterReport, Report, Severity, span, visible},
};

/// The stylesheet, for the hash in the Content-Security-Policy.
pub const STYLE: &str = include_str!("style.css");

/// Clusters on one page: a thousand would be slow to read for browsers and people.
const PER_PAGE: usize = 100;

/// What the reader wants to see: the page's query string.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// `page`, from 0.
    pub page: usize,
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
                "state" => selection.state = Severity::from_label(&value),
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
        self.state.is_none_or(|state| cluster.severity() == state)
            && cluster.name.to_lowercase().contains(&self.search.to_lowercase())
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
        if page > 0 {
            query.append_pair("page", &(page + 1).to_string());
        }
        format!("?{}", query.finish())
    }
}

/// The page. `metrics` is the path of the metrics without its slash, so that links work behind any proxy.
pub fn render(report: &Report, selection: &Selection, metrics: &str) -> String {
    let wanted: Vec<&ClusterReport> = report.clusters.iter().filter(|cluster| selection.admits(cluster)).collect();
    let shown: Vec<&ClusterReport> =
        wanted.iter().skip(selection.page.saturating_mul(PER_PAGE)).take(PER_PAGE).copied().collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(report)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#clusters" { "To the clusters" }
                header {
                    h1 { "Qumulo encryption" }
                    p.soft { "As of " (instant(report.at)) ". Reload the page to see what changed." }
                    nav aria-label="States" { (totals(report, selection)) }
                    (search(selection))
                }
                main #clusters tabindex="-1" {
                    p role="status" { (summary(report, wanted.len(), shown.len(), selection)) }
                    ul.clusters { @for each in &shown { li { (cluster(each, report.at)) } } }
                    (pages(wanted.len(), selection))
                }
                (footer(metrics))
            }
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

fn totals(report: &Report, selection: &Selection) -> Markup {
    html! {
        ul.totals {
            li {
                a href=(selection.link(None, 0)) aria-current=[selection.state.is_none().then_some("true")] {
                    strong { (report.clusters.len()) } "all"
                }
            }
            @for state in Severity::ALL {
                li.(state.label()) {
                    a href=(selection.link(Some(state), 0))
                        aria-current=[(selection.state == Some(state)).then_some("true")] {
                        strong.state { (report.count(state)) } (state.label())
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
        (_, 0) => "This page is beyond the last one.".to_owned(),
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

fn cluster(cluster: &ClusterReport, now: DateTime<Utc>) -> Markup {
    let severity = cluster.severity();
    html! {
        article.cluster.(severity.label()) {
            div.top {
                h2 { (cluster.name) }
                p.state { (mark(severity)) " " (severity.label()) }
            }
            @if !cluster.findings.is_empty() {
                ul.findings {
                    @for finding in &cluster.findings {
                        li {
                            strong { (visible(&finding.text)) "." } " " span.soft { (finding.advice) }
                            @if let Some(alert) = finding.alert() { " " a href=(format!("runbooks/{alert}")) { "Runbook" } }
                        }
                    }
                }
            }
            dl {
                (fact("Status", html! { (visible(&cluster.headline())) }))
                (fact("Key store", html! { (cluster.key_store()) }))
                @for each in &cluster.certificates { (certificate(each)) }
                @if let Some(at) = cluster.date(DateField::LastKeyRotationTime) {
                    (fact("Key age", html! { (span(seconds(at, now))) ", since " (day(at)) }))
                }
                @if let Some(at) = cluster.date(DateField::LastStatusUpdateTime) {
                    (fact("Cluster's own check", ago(at, now)))
                }
                @if let Some(at) = cluster.last_poll { (fact("Last poll", ago(at, now))) }
                @if cluster.up != Some(true) {
                    (fact("Last success", match cluster.last_success { Some(at) => ago(at, now), None => html! { "never" } }))
                }
                @if let Some(version) = cluster.version() { (fact("Qumulo Core", html! { (version) })) }
            }
        }
    }
}

/// A sign beside the colour, for those who do not see it. Not read aloud: the word follows.
fn mark(severity: Severity) -> Markup {
    let mark = match severity {
        Severity::Good | Severity::Info => "\u{2713}",
        Severity::Warning => "\u{25b2}",
        Severity::Unknown => "?",
        Severity::Critical => "\u{2715}",
    };
    html! { span aria-hidden="true" { (mark) } }
}

fn certificate(certificate: &Certificate) -> Markup {
    let name = match certificate.kind {
        KmsCertificate::Ca => "KMS authority's certificate",
        KmsCertificate::Client => "KMS client certificate",
    };
    let left = span(certificate.seconds_left);
    fact(
        name,
        html! {
            @if certificate.seconds_left > 0.0 { (left) " left" } @else { strong { "expired " (left) " ago" } }
            ", " (day(certificate.expires.utc()))
        },
    )
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (span(seconds(at, now))) " ago" } }
}

fn instant(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M UTC")) } }
}

/// Of something that is years away.
fn day(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (at.format("%Y-%m-%d")) } }
}

fn seconds(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).num_milliseconds().max(0) as f64 / 1e3
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
